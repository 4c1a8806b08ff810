"""DynamicResources: nodes whose devices could serve the pod's claims (KEP-4381), and what to write once one is chosen.

Allocated claims: the nodes that their allocation can be used from. The others: a search per node (`devices.allocator`);
answers are kept by what the claims ask for, and only nodes whose devices changed since are searched again. Extended
resources that a class of devices provides are one more claim, on nodes where no device plugin has them.

A selector that fails on a device excludes that device's node and is named as its reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.devices.allocator import Result, TimedOut, allocate
from shirube.scheduler.devices.claims import (
    FAILED,
    SPECIAL,
    Asked,
    Mapping,
    asked,
    device_states,
    forbidden,
    provided,
    special_claim,
)
from shirube.scheduler.devices.result import allocation
from shirube.scheduler.devices.selecting import AllocationError
from shirube.scheduler.plugins.framework import Filter, Groups, Rejection, Score, normalised
from shirube.scheduler.plugins.node_affinity import any_term
from shirube.scheduler.plugins.node_resources_fit import Kept
from shirube.scheduler.pod import PodInfo

Object = dict[str, Any]
_UNAVAILABLE = "resourceclaim not available on the node"
_IMPOSSIBLE = "cannot allocate all claims"
_TIMED_OUT = "timed out trying to allocate devices"
_MOST_ALTERNATIVES = 8
_MOST_TIMED_OUT = 4  # searches without an end in a row: the other nodes wait for the pod's next attempt


class ClaimPlan(NamedTuple):
    """A claim to reserve for the pod, after its allocation is written where there is a new one."""

    key: str
    uid: str
    allocation: Object | None


class DevicePlan(NamedTuple):
    claims: tuple[ClaimPlan, ...]
    special: Object | None = None  # spec.devices of the claim to make for extended resources
    special_allocation: Object | None = None
    mappings: tuple[Mapping, ...] = ()

    def assumed(self, pod: PodInfo) -> list[tuple[str, Object]]:
        """What is taken from now on, by the claims' keys."""
        found = [(c.key, c.allocation) for c in self.claims if c.allocation is not None]
        if self.special_allocation is not None:
            found.append((special_key(pod), self.special_allocation))
        return found


def special_key(pod: PodInfo) -> str:
    """Of the claim for extended resources before it has a name."""
    return f"{pod.namespace}/{SPECIAL}/{pod.uid}"


@dataclass(slots=True)
class _Answers:
    """Per row, for pods that ask alike."""

    version: int  # of the nodes
    position: int  # in the inventory's log
    touched: Kept  # capacity: where a device plugin has an extended resource
    fits: Bools
    ranks: Ints  # points for alternatives that come first
    reasons: dict[int, str] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)  # rows whose turn has not come


class DynamicResources(Filter, Score):
    name = "DynamicResources"

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        if pod.claims:
            return True
        return bool(pod.shape.extended) and bool(provided(pod, nodes.around.devices))

    def forbids(self, pod: PodInfo, nodes: NodeColumns) -> str:
        return forbidden(pod, nodes.around.devices)

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits = self._available(pod, nodes)
        answers = self._answers(pod, nodes)
        return fits if answers is None else fits & answers.fits

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        available, answers = self._available(pod, nodes), self._answers(pod, nodes)
        by_reason: dict[str, list[int]] = {}
        for at in rows.tolist():
            # The search comes first, as upstream has it: what it says of a node is what the event says.
            impossible = answers is not None and not answers.fits[at]
            reason = answers.reasons.get(at, _IMPOSSIBLE) if impossible and answers is not None else _UNAVAILABLE
            assert impossible or not available[at]
            by_reason.setdefault(reason, []).append(at)
        return [(Rejection((r,), False), np.array(found, dtype=np.int64)) for r, found in by_reason.items()]

    def score(self, pod: PodInfo, nodes: NodeColumns, mask: Bools) -> Ints | int | None:
        if not self.applies(pod, nodes):
            return None
        answers = self._answers(pod, nodes)
        return None if answers is None or not answers.ranks.any() else normalised(answers.ranks, mask)

    # Allocated claims

    @staticmethod
    def _available(pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits = np.ones(nodes.size, dtype=np.bool_)
        for one in asked(pod, nodes.around.devices):
            fits &= _usable_from(one, nodes)
        return fits

    def idle(self, pod: PodInfo, nodes: NodeColumns) -> Asked | None:
        """An allocated claim of the pod, used by nobody else, that keeps it from some node."""
        for one in asked(pod, nodes.around.devices):
            others = [c for c in one.consumers if c.get("uid") != pod.uid]
            if one.allocation is not None and not others and not _usable_from(one, nodes)[nodes.present].all():
                return one
        return None

    # Claims to allocate

    def _answers(self, pod: PodInfo, nodes: NodeColumns) -> _Answers | None:
        """None when there is nothing to allocate."""
        inventory = nodes.around.devices
        waiting = [one for one in asked(pod, inventory) if one.allocation is None]
        special = provided(pod, inventory)
        if not waiting and not special:
            return None
        memory = nodes.remembered(self.memory)
        key = (*(orjson.dumps(one.devices) for one in waiting), pod.shape.extended if special else ())
        found: _Answers | None = memory.get(key)
        if found is None or found.version != nodes.version:
            empty = np.zeros(nodes.size, dtype=np.bool_)
            found = _Answers(nodes.version, -1, Kept(None), empty, np.zeros(nodes.size, dtype=np.int64))
            nodes.remember(memory, key, found)
        timed_out = 0
        found.waiting.update(self._stale(found, nodes, special))
        for at in sorted(found.waiting):
            if timed_out < _MOST_TIMED_OUT:
                self._ask(found, pod, waiting, special, nodes, at)
                timed_out += found.reasons.get(at) == _TIMED_OUT
                found.waiting.discard(at)
            else:
                found.fits[at], found.ranks[at], found.reasons[at] = False, 0, _TIMED_OUT
        return found

    @staticmethod
    def _stale(answers: _Answers, nodes: NodeColumns, special: set[str]) -> list[int]:
        changed, answers.position = nodes.around.devices.changed_since(answers.position)
        rows: set[int] = set()
        touched = answers.touched.stale(nodes) if special else None
        if changed is None or (isinstance(touched, slice) and touched.start is None):
            return nodes.indexes().tolist()
        rows.update(at for name in changed if (at := nodes.index(name)) is not None)
        if isinstance(touched, slice):
            rows.add(touched.start)
        elif touched is not None:
            rows.update(touched)
        return [at for at in rows if nodes.present[at]]

    def _ask(
        self, answers: _Answers, pod: PodInfo, waiting: list[Asked], special: set[str], nodes: NodeColumns, at: int
    ) -> None:
        answers.reasons.pop(at, None)
        try:
            found = self._search(pod, waiting, special, nodes, at)
        except AllocationError as error:
            found, answers.reasons[at] = None, str(error)
        except TimedOut:
            found, answers.reasons[at] = None, _TIMED_OUT
        answers.fits[at] = found is not None
        answers.ranks[at] = _rank(found or [])

    def _search(
        self, pod: PodInfo, waiting: list[Asked], special: set[str], nodes: NodeColumns, at: int
    ) -> list[list[Result]] | None:
        """Results of each claim, the one for extended resources last."""
        inventory = nodes.around.devices
        names, specs = [one.key for one in waiting], [one.devices for one in waiting]
        if here := _not_plugged(special, nodes, at):
            names.append(SPECIAL)
            specs.append(special_claim(pod, here, inventory)[0])
        if not specs:
            return []
        pools = inventory.pools_for(nodes.rows[at].name)
        if not pools and all(spec.get("requests") for spec in specs):
            return None
        return allocate(names, specs, inventory, pools, lambda place: _reaches(place, nodes, at))

    # The chosen node

    def plan(self, pod: PodInfo, nodes: NodeColumns, at: int, chance: Chance) -> DevicePlan | None:
        """What to write before the pod is bound to a row's node; None when that is nothing."""
        inventory, node = nodes.around.devices, nodes.rows[at].name
        mine = asked(pod, inventory)
        waiting = [one for one in mine if one.allocation is None]
        special = provided(pod, inventory)
        results = self._search(pod, waiting, special, nodes, at) if waiting or special else []
        if results is None:
            raise AllocationError(_IMPOSSIBLE)
        made = {
            one.key: allocation(one.devices, found, inventory.classes, node, chance)
            for one, found in zip(waiting, results, strict=False)
        }
        claims = tuple(
            ClaimPlan(one.key, one.claim["metadata"]["uid"], made.get(one.key))
            for one in mine
            if one.allocation is None or not one.reserved_for(pod)
        )
        if here := _not_plugged(special, nodes, at):
            devices, mappings = special_claim(pod, here, inventory)
            wanted = allocation(devices, results[-1], inventory.classes, node, chance)
            return DevicePlan(claims, devices, wanted, tuple(mappings))
        return DevicePlan(claims) if claims else None


def _usable_from(one: Asked, nodes: NodeColumns) -> Bools:
    if FAILED in device_states(one.claim):
        return np.zeros(nodes.size, dtype=np.bool_)
    selector = (one.allocation or {}).get("nodeSelector")
    if selector is None:
        return np.ones(nodes.size, dtype=np.bool_)
    return any_term(selector.get("nodeSelectorTerms") or [], nodes)


def _not_plugged(resources: set[str], nodes: NodeColumns, at: int) -> set[str]:
    """Of extended resources those that no device plugin of a row's node has."""
    return {r for r in resources if r not in nodes.allocatable or nodes.allocatable[r].item(at) == 0}


def _reaches(place: Object, nodes: NodeColumns, at: int) -> bool:
    """Whether a slice, or a device that selects nodes itself, is for a row's node."""
    if name := place.get("nodeName"):
        return bool(name == nodes.rows[at].name)
    if place.get("allNodes"):
        return True
    if selector := place.get("nodeSelector"):
        return bool(any_term(selector.get("nodeSelectorTerms") or [], nodes)[at])
    return False


def _rank(results: list[list[Result]]) -> int:
    """The earlier the alternatives that were taken stand in their lists, the more (KEP-4816)."""
    taken = {
        (r.request.claim, r.request.full_name): r.request.rank for c in results for r in c if r.request.alternative
    }
    return sum(_MOST_ALTERNATIVES - rank for rank in taken.values())
