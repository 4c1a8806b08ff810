"""Decisions that others have a say in: our filters, then the extenders', then all scores together; victims likewise.

While extenders are asked the world goes on; the node chosen is checked once more before it is taken.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np

from shirube.api.gvr import NODES, PODS
from shirube.client.rest import Client
from shirube.foundation.chance import Chance
from shirube.scheduler.columns import Bools, NodeColumns
from shirube.scheduler.decide import Decision, Diagnosis, Profile, best_row, diagnose, feasible, totals
from shirube.scheduler.extender import EXTENDER, Extender
from shirube.scheduler.plugins.framework import Rejection
from shirube.scheduler.pod import PodInfo
from shirube.scheduler.preemption import Preemption, candidates, cheapest, ineligible, no_candidates

Object = dict[str, Any]
_MOST_CANDIDATES = 32  # nodes that extenders are asked about


async def decide_with(
    extenders: list[Extender], client: Client, pod: PodInfo, nodes: NodeColumns, chance: Chance, profile: Profile
) -> Decision:
    """As `decide`. Raises ExtenderError when one that must be heard does not answer, ApiError when the API does not."""
    mask = feasible(pod, nodes, profile)
    if mask is None or not mask.any():
        return Decision("", diagnose(pod, nodes, profile))
    whole = await client.get(PODS, pod.name, pod.namespace)
    candidates = await _nodes(extenders, client, nodes, mask)
    refused: dict[Rejection, list[int]] = {}
    for extender in extenders:
        if not extender.filter_verb or not candidates:
            continue
        found = await extender.filter(whole, candidates)
        left = set(found.names)
        for node in candidates:
            name = node["metadata"]["name"]
            at = nodes.index(name)
            if name not in left and at is not None:
                reason = found.unresolvable.get(name) or found.failed.get(name) or "node(s) refused by an extender"
                refused.setdefault(Rejection((reason,), name not in found.unresolvable), []).append(at)
        candidates = [n for n in candidates if n["metadata"]["name"] in left]
    if not candidates:
        return Decision("", _diagnosis(pod, nodes, profile, refused))
    mask = _only(candidates, nodes)
    total = np.zeros(nodes.size, dtype=np.int64) + totals(pod, nodes, profile, mask)
    for extender in extenders:
        if extender.prioritize_verb:
            for name, points in (await extender.prioritize(whole, candidates)).items():
                at = nodes.index(name)
                if at is not None and at < len(total):
                    total[at] += points
    again = feasible(pod, nodes, profile)
    if again is None or len(again) != len(mask) or not (mask & again).any():
        return Decision("", diagnose(pod, nodes, profile))
    return Decision(nodes.rows[best_row(nodes, mask & again, total, chance)].name)


async def preempt_with(
    extenders: list[Extender],
    client: Client,
    pod: PodInfo,
    nodes: NodeColumns,
    profile: Profile,
    diagnosis: Diagnosis,
    chance: Chance,
    leaving: Set[str],
) -> Preemption:
    """As `preempt`, of the candidates that every extender leaves."""
    if reason := ineligible(pod, nodes, leaving):
        return Preemption(message=reason)
    found = candidates(pod, nodes, profile, diagnosis, chance, most=_MOST_CANDIDATES)
    names = {nodes.rows[at].name: at for at in list(found)[:_MOST_CANDIDATES]}
    known = {victim.uid: victim for at in names.values() for victim in found[at][0]}
    whole = await client.get(PODS, pod.name, pod.namespace)
    said = {
        name: ([await _victim(client, v, extenders) for v in found[at][0]], found[at][1]) for name, at in names.items()
    }
    for extender in extenders:
        if said:
            said = await extender.preempt(whole, said)
    left = {
        at: ([known[v["metadata"]["uid"]] for v in victims], violations)
        for name, (victims, violations) in said.items()
        if (at := nodes.index(name)) is not None
    }
    return cheapest(left, nodes) if left else Preemption(message=no_candidates(nodes, diagnosis))


async def _victim(client: Client, victim: PodInfo, extenders: list[Extender]) -> Object:
    if all(e.names_only for e in extenders):
        return {"metadata": {"uid": victim.uid}}
    return await client.get(PODS, victim.name, victim.namespace)


async def _nodes(extenders: list[Extender], client: Client, nodes: NodeColumns, mask: Bools) -> list[Object]:
    names = {nodes.rows[at].name for at in np.flatnonzero(mask)}
    if all(e.names_only for e in extenders):
        return [{"metadata": {"name": name}} for name in sorted(names)]
    listed = (await client.list(NODES))["items"]
    return [n for n in listed if n["metadata"]["name"] in names]


def _only(candidates: list[Object], nodes: NodeColumns) -> Bools:
    mask = np.zeros(nodes.size, dtype=np.bool_)
    mask[[at for n in candidates if (at := nodes.index(n["metadata"]["name"])) is not None]] = True
    return mask


def _diagnosis(pod: PodInfo, nodes: NodeColumns, profile: Profile, refused: dict[Rejection, list[int]]) -> Diagnosis:
    found = diagnose(pod, nodes, profile, promises=not refused)
    taken = {int(at) for _, groups in found.groups for _, rows in groups for at in rows}
    groups = [
        (rejection, np.array([at for at in rows if at not in taken], dtype=np.int64))
        for rejection, rows in refused.items()
    ]
    found.groups.append((EXTENDER, [g for g in groups if len(g[1])]))
    return found
