"""VolumeBinding: nodes that reach the pod's volumes, and volumes for claims that wait for the pod's node (KEP-490).

Bound claims: the volume's node affinity decides. Claims of a class with `WaitForFirstConsumer`: a free volume that the
node reaches, or a class that can provision there (allowed topologies, published capacity). `plan` says what must be
written before the pod is bound; the binding cycle writes it and waits for the volume controllers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from shirube.api import quantity
from shirube.api.selectors import label_selector_from
from shirube.client.informer import key_of
from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import Filter, Groups, all_of
from shirube.scheduler.plugins.node_affinity import any_term
from shirube.scheduler.plugins.volumes import (
    NO_PROVISIONER,
    claims_of,
    class_name,
    is_bound,
    modes,
    waits_for_consumer,
)
from shirube.scheduler.pod import PodInfo

Object = dict[str, Any]
_NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
_BIND_CONFLICT = "node(s) didn't find available persistent volumes to bind"
_NO_SPACE = "node(s) did not have enough free storage"
_NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"


class VolumePlan(NamedTuple):
    """Before binding: give volumes to claims, and ask for volumes on the node."""

    bind: tuple[tuple[str, str], ...]  # (claim, volume)
    provision: tuple[str, ...]  # claims


class VolumeBinding(Filter):
    name = "VolumeBinding"

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        return any("claim" in v for v in pod.shape.volumes)

    def forbids(self, pod: PodInfo, nodes: NodeColumns) -> str:
        around = nodes.around
        for name, claim, ephemeral in claims_of(pod, around):
            if claim is None:
                if ephemeral:
                    return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
                return f'persistentvolumeclaim "{name}" not found'
            if claim.get("status", {}).get("phase") == "Lost":
                lost = claim["spec"].get("volumeName")
                return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{lost}"'
            if claim["metadata"].get("deletionTimestamp"):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if not is_bound(claim) and not waits_for_consumer(claim, around):
                return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits = np.ones(nodes.size, dtype=np.bool_)
        for _, mask in self._verdicts(pod, nodes):
            fits &= mask
        return fits

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        return all_of(rows, [(reason, False, ~mask) for reason, mask in self._verdicts(pod, nodes)])

    def _verdicts(self, pod: PodInfo, nodes: NodeColumns) -> Iterator[tuple[str, Bools]]:
        around = nodes.around
        waiting = []
        for _, claim, _ in claims_of(pod, around):
            if claim is None:
                continue
            if not is_bound(claim):
                waiting.append(claim)
                continue
            volume = around.volumes.get(claim["spec"]["volumeName"])
            if volume is None:
                yield _NO_VOLUME, np.zeros(nodes.size, dtype=np.bool_)
            else:
                yield _NODE_CONFLICT, reaching(volume, nodes)
        if waiting:
            yield from self._waiting(waiting, nodes)

    def _waiting(self, claims: list[Object], nodes: NodeColumns) -> Iterator[tuple[str, Bools]]:
        """Which nodes could serve claims that are bound after the node is known."""
        candidates = [_candidates(c, nodes) for c in _by_size(claims)]
        for one in candidates:
            static = np.zeros(nodes.size, dtype=np.bool_)
            for _, mask in one.volumes:
                static |= mask
            yield _BIND_CONFLICT, static | one.provisionable
            yield _NO_SPACE, static | ~one.provisionable | one.spacious
        if len(claims) > 1 and any(one.volumes for one in candidates):
            # Two claims may want the same volume: only a matching node by node is exact.
            yield _BIND_CONFLICT, np.array([_served(candidates, at) for at in range(nodes.size)], dtype=np.bool_)

    def plan(self, pod: PodInfo, nodes: NodeColumns, at: int) -> VolumePlan:
        """What to write so that the pod's claims are served on a row."""
        waiting = [c for _, c, _ in claims_of(pod, nodes.around) if c is not None and not is_bound(c)]
        taken: dict[str, str] = {}
        provision = []
        for claim in _by_size(waiting):
            volume = _smallest(_candidates(claim, nodes).volumes, taken.values(), at)
            if volume:
                taken[claim["metadata"]["name"]] = volume
            else:
                provision.append(claim["metadata"]["name"])
        return VolumePlan(tuple(taken.items()), tuple(provision))


class _Candidates(NamedTuple):
    """What could serve a claim: volumes with the nodes that reach them, and nodes where one can be made."""

    claim: Object
    volumes: list[tuple[Object, Bools]]
    provisionable: Bools
    spacious: Bools


def _by_size(claims: list[Object]) -> list[Object]:
    """The smallest claim chooses first, as upstream has it."""
    return sorted(claims, key=_wanted)


def _wanted(claim: Object) -> int:
    return quantity.value(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0"))


def _candidates(claim: Object, nodes: NodeColumns) -> _Candidates:
    provisionable, spacious = _provisionable(claim, nodes)
    if node := nodes.around.storage_node(claim):  # its volume is being made there, for whichever pod came first
        at = nodes.index(node)
        there = np.zeros(nodes.size, dtype=np.bool_)
        there[[] if at is None else at] = True
        return _Candidates(claim, [], provisionable & there, spacious)
    volumes = [(v, reaching(v, nodes)) for v in _free_volumes(claim, nodes)]
    return _Candidates(claim, volumes, provisionable, spacious)


def _smallest(volumes: list[tuple[Object, Bools]], taken: Collection[str], at: int) -> str:
    """The first that a row reaches and nobody has taken; "" for none."""
    names = (v["metadata"]["name"] for v, mask in volumes if mask[at])
    return next((str(name) for name in names if name not in taken), "")


def _served(candidates: list[_Candidates], at: int) -> bool:
    """Whether every claim gets a volume of its own on a row, or one can be made for it there."""
    taken: set[str] = set()
    for one in candidates:
        if name := _smallest(one.volumes, taken, at):
            taken.add(name)
        elif not (one.provisionable[at] and one.spacious[at]):
            return False
    return True


def reaching(volume: Object, nodes: NodeColumns) -> Bools:
    """Nodes that a volume's affinity allows."""
    required = ((volume["spec"].get("nodeAffinity")) or {}).get("required")
    if required is None:
        return np.ones(nodes.size, dtype=np.bool_)
    return any_term(required.get("nodeSelectorTerms") or [], nodes)


def _free_volumes(claim: Object, nodes: NodeColumns) -> list[Object]:
    """Volumes that the claim could have, the smallest first; those reserved for it alone where there are any."""
    spec, metadata = claim["spec"], claim["metadata"]
    wanted = _wanted(claim)
    selector = label_selector_from(spec["selector"]) if spec.get("selector") else None
    reserved, found = [], []
    for volume in nodes.around.volumes.values():
        own = volume["spec"]
        if class_name(volume) != class_name(claim) or not modes(claim) <= modes(volume):
            continue
        if (own.get("volumeMode") or "Filesystem") != (spec.get("volumeMode") or "Filesystem"):
            continue
        if (own.get("volumeAttributesClassName") or "") != (spec.get("volumeAttributesClassName") or ""):
            continue
        capacity = quantity.value((own.get("capacity") or {}).get("storage", "0"))
        if capacity < wanted or volume["metadata"].get("deletionTimestamp"):
            continue
        if nodes.around.volume_taken(volume["metadata"]["name"], key_of(claim)):
            continue
        holder = own.get("claimRef")
        if holder:
            mine = holder.get("namespace") == metadata["namespace"] and holder.get("name") == metadata["name"]
            if mine and holder.get("uid", metadata["uid"]) == metadata["uid"]:
                reserved.append((capacity, volume))
            continue
        if selector is not None and not selector.matches(volume["metadata"].get("labels") or {}):
            continue
        if (volume.get("status") or {}).get("phase") == "Available":
            found.append((capacity, volume))
    # A claim that a volume is kept for takes no other.
    return [v for _, v in sorted(reserved or found, key=lambda f: f[0])]


def _provisionable(claim: Object, nodes: NodeColumns) -> tuple[Bools, Bools]:
    """Where the claim's class can make a volume, and where its driver says that there is room."""
    none, everywhere = np.zeros(nodes.size, dtype=np.bool_), np.ones(nodes.size, dtype=np.bool_)
    kind = nodes.around.classes.get(class_name(claim))
    if kind is None or kind.get("provisioner") in (None, "", NO_PROVISIONER):
        return none, everywhere
    terms = [
        {
            "matchExpressions": [
                {"key": e["key"], "operator": "In", "values": e.get("values") or []}
                for e in term.get("matchLabelExpressions") or []
            ]
        }
        for term in kind.get("allowedTopologies") or []
    ]
    allowed = any_term(terms, nodes) if terms else everywhere
    driver = nodes.around.csi_drivers.get(kind["provisioner"])
    if driver is None or not driver.get("spec", {}).get("storageCapacity"):
        return allowed, everywhere
    return allowed, _with_room(claim, kind["metadata"]["name"], nodes)


def _with_room(claim: Object, class_name: str, nodes: NodeColumns) -> Bools:
    wanted = _wanted(claim)
    room = np.zeros(nodes.size, dtype=np.bool_)
    for capacity in nodes.around.capacities.values():
        limit = capacity.get("maximumVolumeSize") or capacity.get("capacity")
        if capacity.get("storageClassName") != class_name or limit is None or quantity.value(limit) < wanted:
            continue
        if "nodeTopology" not in capacity:
            continue
        selector = label_selector_from(capacity["nodeTopology"])
        for at in nodes.indexes():
            if selector.matches(nodes.rows[at].labels):
                room[at] = True
    return room
