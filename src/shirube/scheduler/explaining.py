"""Why a pod is where it is, or nowhere: the scheduler's own plugins asked once more. Pure.

`World` holds what the asker may read; `explain` returns plain data (printed by `shirube why`, or as JSON): for a
waiting pod each plugin's verdict by group of nodes and the smallest changes that would make it fit; for a placed one
the scores as they are now, the pod itself taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shirube.client.informer import key_of
from shirube.scheduler.changes import smallest_changes
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import DEFAULT_NAME, Profile, diagnose, feasible
from shirube.scheduler.plugins.scheduling_gates import gated
from shirube.scheduler.pod import PodInfo, read

Object = dict[str, Any]
_FINISHED = ("Succeeded", "Failed")
_SCORED = 10  # nodes shown of a placed pod


@dataclass(slots=True)
class World:
    """Objects as the API gave them; a kind that may not be read is empty."""

    nodes: list[Object] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    namespaces: list[Object] = field(default_factory=list)
    services: list[Object] = field(default_factory=list)
    owners: list[tuple[str, Object]] = field(default_factory=list)  # (kind, object)
    tables: dict[str, list[Object]] = field(default_factory=dict)  # of `Surroundings`, by name
    slices: list[Object] = field(default_factory=list)  # of devices, and classes of and claims to them
    device_classes: list[Object] = field(default_factory=list)
    device_claims: list[Object] = field(default_factory=list)


def columns_of(world: World, without: str = "") -> NodeColumns:
    """The world as the scheduler sees it; `without` is the uid of a pod to leave out."""
    columns = NodeColumns()
    around = columns.around
    for namespace in world.namespaces:
        around.namespaces[namespace["metadata"]["name"]] = namespace["metadata"].get("labels") or {}
    for service in world.services:
        around.set_service(service)
    for kind, owner in world.owners:
        around.set_owner(kind, owner)
    for name, objects in world.tables.items():
        getattr(around, name).update({key_of(o): o for o in objects})
    for objects, put in (
        (world.slices, around.devices.set_slice),
        (world.device_classes, around.devices.set_class),
        (world.device_claims, around.devices.set_claim),
    ):
        for one in objects:
            put(one)
    for node in world.nodes:
        columns.set_node(node)
    for pod in world.pods:
        node = pod["spec"].get("nodeName")
        if node and pod["metadata"]["uid"] != without and (pod.get("status") or {}).get("phase") not in _FINISHED:
            try:
                columns.add_pod(node, read(pod))
            except (ValueError, KeyError, TypeError):
                continue  # the scheduler cannot read it either
    return columns


def profile_of(pod: Object, profiles: Mapping[str, Profile]) -> tuple[Profile, str]:
    """The profile that the pod asks for by its scheduler's name, and a note where nothing is known of that one."""
    name = pod["spec"].get("schedulerName") or DEFAULT_NAME
    if name in profiles:
        return profiles[name], ""
    note = (
        f"the pod waits for a scheduler called {name!r}, which must be running; the default plugins are shown, "
        "because its configuration is not known (--scheduler-config)"
    )
    return Profile.default(name), note


def explain(pod: Object, world: World, profiles: Mapping[str, Profile]) -> Object:
    """Plain data; its `state` is placed, gated, fits or waiting."""
    profile, note = profile_of(pod, profiles)
    placed = pod["spec"].get("nodeName", "")
    asked = {**pod, "spec": {k: v for k, v in pod["spec"].items() if k != "nodeName"}}
    info = read(asked)
    columns = columns_of(world, without=info.uid)
    found: Object = {
        "pod": info.key,
        "scheduler": info.shape.scheduler_name,
        "priority": info.priority,
        "requests": info.requests,
        "nodes": len(columns),
    }
    if placed:
        return {**found, "state": "placed", "node": placed, **scores(info, columns, profile, placed)}
    if note:
        found["note"] = note
    mask = feasible(info, columns, profile)
    fits = mask is not None and bool(mask.any())
    found["state"] = "fits" if fits else "waiting"
    if fits and mask is not None:
        found["feasible"] = [columns.rows[at].name for at in np.flatnonzero(mask)]
    else:
        found |= verdicts(info, columns, profile)
    if held := gated(info):
        found |= {"state": "gated", "message": held}
    if not fits or held:
        found["changes"] = smallest_changes(asked, world.nodes, columns, profile)
    return found


def verdicts(info: PodInfo, columns: NodeColumns, profile: Profile) -> Object:
    """Every node's first refusal, by plugin and reason."""
    diagnosis = diagnose(info, columns, profile)
    if diagnosis.forbidden[0]:
        plugin, reason = diagnosis.forbidden
        everywhere = sorted(columns.names())
        return {
            "message": diagnosis.message,
            "verdicts": [{"plugin": plugin, "reasons": [reason], "evictionCanHelp": False, "nodes": everywhere}],
        }
    lines = [
        {
            "plugin": plugin,
            "reasons": list(answer.reasons),
            "evictionCanHelp": answer.resolvable,
            "nodes": sorted(columns.rows[at].name for at in rows),
        }
        for plugin, groups in diagnosis.groups
        for answer, rows in groups
    ]
    return {"message": diagnosis.message, "verdicts": lines}


def scores(info: PodInfo, columns: NodeColumns, profile: Profile, placed: str) -> Object:
    """Weighted points of the best nodes, and of the pod's own, by today's state."""
    mask = feasible(info, columns, profile)
    if mask is None or not mask.any():
        return {"scores": [], "note": "no node would take the pod today"}
    points: dict[str, Any] = {}
    for plugin, weight in profile.scores:
        given = plugin.score(info, columns, mask)
        points[plugin.name] = np.broadcast_to(np.asarray(0 if given is None else given) * weight, mask.shape)
    total = np.sum(list(points.values()), axis=0)
    rows = sorted(np.flatnonzero(mask), key=lambda at: (-total[at], columns.rows[at].name))
    own = columns.index(placed)
    shown = rows[:_SCORED]
    if own is not None and mask[own] and own not in shown:
        shown.append(np.intp(own))
    lines = [
        {
            "node": columns.rows[at].name,
            "total": int(total[at]),
            "rank": 1 + int(np.count_nonzero(total[mask] > total[at])),
            "plugins": {name: int(column[at]) for name, column in points.items()},
        }
        for at in shown
    ]
    found: Object = {"scores": lines, "feasible": len(rows)}
    if own is None or not mask[own]:
        found["note"] = f"{placed} itself would not take the pod today"
    return found
