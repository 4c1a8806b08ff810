"""DefaultPreemption: which pods of lower priority must go so that one can run. Pure.

Upstream's rules: on each node that evicting could help, take away all pods of lower priority, give back as many as
fit, the most important and the budget-protected first; of the nodes choose the one with the fewest broken disruption
budgets, the lowest highest victim, the smallest sum of priorities, the fewest victims, the latest started.

For pods that only need resources the rows' plans are kept by amounts and priority, and only rows that changed are
planned anew. Other pods are tried row by row against all filters. Either way an attempt plans at most a tenth of the
nodes anew (at least 100), starting anywhere, as upstream does; kept plans compete with the new ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shirube.api.selectors import LabelSelector
from shirube.foundation.chance import Chance
from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.decide import Diagnosis, Profile, fits_row, listed, promised_to
from shirube.scheduler.matching import selector_of
from shirube.scheduler.plugins.node_resources_fit import Kept
from shirube.scheduler.pod import PODS, PodInfo

Object = dict[str, Any]
Rank = tuple[int, int, int, int, int]  # violations, highest, sum, count, start reversed: the smaller the better
_NOT_HELPFUL = "Preemption is not helpful for scheduling"
_LEAVING = "not eligible due to a terminating pod on the nominated node."
_NO_VICTIMS = "No preemption victims found for incoming pod"
_OFFSET = 2**31  # makes every priority positive, so that a sum grows with each victim


@dataclass(slots=True)
class Preemption:
    """`node` is "" when nothing can be gained; `message` then says why."""

    node: str = ""
    victims: list[PodInfo] = field(default_factory=list)
    message: str = ""


@dataclass(slots=True)
class _Plans:
    """For pods of one priority and amounts: each row's plan, and the rows that have one as columns to compare."""

    kept: Kept
    ranks: Ints  # one line for each part of a `Rank`, one column a row
    pending: Bools  # rows to plan when their turn comes
    budgets: int


class Budgets:
    """Disruption budgets, counted down while victims are chosen."""

    def __init__(self, budgets: dict[str, Object]) -> None:
        self._by_namespace: dict[str, list[tuple[str, LabelSelector, int, frozenset[str]]]] = {}
        for key, budget in budgets.items():
            selector, status = selector_of(budget["spec"].get("selector")), budget.get("status") or {}
            if selector.nothing or selector.empty:
                continue
            line = (
                key,
                selector,
                int(status.get("disruptionsAllowed", 0)),
                frozenset(status.get("disruptedPods") or ()),
            )
            self._by_namespace.setdefault(budget["metadata"]["namespace"], []).append(line)

    def violators(self, pods: list[PodInfo]) -> set[str]:
        """Of pods evicted in this order, the uids of those whose eviction would break a budget."""
        left: dict[str, int] = {}
        found = set()
        for pod in pods:
            for key, selector, allowed, disrupted in self._by_namespace.get(pod.namespace, ()):
                if pod.name in disrupted or not selector.matches(pod.shape.labels):
                    continue
                left[key] = left.get(key, allowed) - 1
                if left[key] < 0:
                    found.add(pod.uid)
        return found


Candidates = dict[int, tuple[list[PodInfo], int]]  # row -> victims, and how many budgets they break


def preempt(
    pod: PodInfo,
    nodes: NodeColumns,
    profile: Profile,
    diagnosis: Diagnosis,
    chance: Chance,
    leaving: Set[str] = frozenset(),
) -> Preemption:
    """The node and the pods to evict, for a pod that has just been refused everywhere.

    `leaving`: uids of pods whose eviction is on its way.
    """
    if reason := ineligible(pod, nodes, leaving):
        return Preemption(message=reason)
    found = candidates(pod, nodes, profile, diagnosis, chance, most=1)
    return cheapest(found, nodes) if found else Preemption(message=no_candidates(nodes, diagnosis))


def ineligible(pod: PodInfo, nodes: NodeColumns, leaving: Set[str]) -> str:
    """Why the pod must not evict anybody now; "" when it may."""
    if not pod.shape.preempts:
        return "not eligible due to preemptionPolicy=Never."
    promised = nodes.nominated.get(pod.uid)
    at = nodes.index(promised[0]) if promised else None
    if at is not None and any(
        (p.terminating or p.uid in leaving) and p.priority < pod.priority for p in nodes.rows[at].pods.values()
    ):
        return _LEAVING
    return ""


def waits_for_victims(message: str) -> bool:
    """Whether a pod was told that its victims are still there."""
    return message == _LEAVING


def candidates(
    pod: PodInfo, nodes: NodeColumns, profile: Profile, diagnosis: Diagnosis, chance: Chance, *, most: int
) -> Candidates:
    """Rows where evicting helps, the best `most` of them at least as far as resources alone decide."""
    own = nodes.withdraw(pod.uid)  # a place of its own must not be in its way
    try:
        helpful = diagnosis.resolvable(nodes.size) & nodes.present
        budgets = Budgets(nodes.around.budgets)
        if _simple(pod, nodes, profile):
            return _by_resources(pod, nodes, helpful, budgets, chance, most, _wanted(nodes, profile))
        return _by_filters(pod, nodes, profile, helpful, budgets, chance)
    finally:
        if own:
            nodes.nominate(own, pod)


def cheapest(found: Candidates, nodes: NodeColumns) -> Preemption:
    at = min(found, key=lambda at: _rank(*found[at]))
    return Preemption(nodes.rows[at].name, found[at][0])


def no_candidates(nodes: NodeColumns, diagnosis: Diagnosis) -> str:
    helped = int((diagnosis.resolvable(nodes.size) & nodes.present).sum())
    counted = Counter({_NOT_HELPFUL: diagnosis.evaluated - helped, _NO_VICTIMS: helped})
    return f"0/{diagnosis.evaluated} nodes are available: {listed(+counted)}."


def _wanted(nodes: NodeColumns, profile: Profile) -> int:
    """How many rows an attempt plans."""
    return max(profile.least_candidates, len(nodes) * profile.candidates_percentage // 100, 1)


def _simple(pod: PodInfo, nodes: NodeColumns, profile: Profile) -> bool:
    """Whether resources alone stand in its way, as far as pods can."""
    return all(
        plugin.static or plugin.name == "NodeResourcesFit" or not plugin.applies(pod, nodes)
        for plugin in profile.filters
    )


def _important_first(pod: PodInfo) -> tuple[int, str]:
    return (-pod.priority, pod.started or "~")  # one that has not started is the least important of its priority


# Resources alone


def _by_resources(
    pod: PodInfo, nodes: NodeColumns, helpful: Bools, budgets: Budgets, chance: Chance, most: int, wanted: int
) -> Candidates:
    plans = _plans(pod, nodes, helpful, budgets, chance, wanted)
    rows = np.flatnonzero(helpful & (plans.ranks[3] > 0))
    if most == 1:
        for part in range(5 if len(rows) else 0):
            values = plans.ranks[part][rows]
            rows = rows[values == values.min()]
    else:
        rows = np.array(sorted(rows.tolist(), key=lambda at: tuple(plans.ranks[:, at])), dtype=np.int64)
    return {int(at): _row_victims(pod, nodes, int(at), budgets) for at in rows[:most]}


def _plans(pod: PodInfo, nodes: NodeColumns, helpful: Bools, budgets: Budgets, chance: Chance, wanted: int) -> _Plans:
    memory = nodes.remembered("preemption")
    key = (pod.shape.fit_key, pod.priority)
    plans: _Plans | None = memory.get(key)
    if plans is None or plans.budgets != nodes.around.version:
        empty = np.zeros((5, nodes.size), dtype=np.int64)
        plans = _Plans(Kept(None), empty, np.zeros(nodes.size, dtype=np.bool_), nodes.around.version)
        nodes.remember(memory, key, plans)
    stale = plans.kept.stale(nodes)
    if stale is not None:
        plans.pending[stale] = True
        plans.ranks[:, stale] = 0
    rows = np.flatnonzero(plans.pending & helpful)
    if not len(rows):
        return plans
    roomy = _roomy(pod, nodes, rows)
    plans.pending[rows[~roomy]] = False
    rows = rows[roomy]
    if len(rows) > wanted:
        start = chance.below(len(rows))
        rows = np.concatenate([rows[start:], rows[:start]])[:wanted]
    for at in rows.tolist():
        plans.ranks[:, at] = _rank(*_row_victims(pod, nodes, at, budgets))
        plans.pending[at] = False
    return plans


def _roomy(pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Bools:
    """Rows where the pod would fit if every pod of lower priority were gone, and where there is one."""
    lower = nodes.requested_below(pod.priority, PODS, rows)
    fits = (lower > 0) & nodes.present[rows]
    fits &= nodes.requested[PODS][rows] - lower < nodes.allocatable[PODS][rows]
    for i in np.flatnonzero(fits & np.isin(rows, list(nodes.promised))) if nodes.promised else ():
        if promised_to(pod, nodes, int(rows[i])):
            fits[i] = _roomy_beside(pod, nodes, int(rows[i]))
    for resource, amount in pod.requests.items():
        if amount > 0 and resource in nodes.allocatable:
            used = nodes.requested[resource][rows] - nodes.requested_below(pod.priority, resource, rows)
            fits &= used + amount <= nodes.allocatable[resource][rows]
    return fits


def _roomy_beside(pod: PodInfo, nodes: NodeColumns, at: int) -> bool:
    """As `_roomy`, with the pods that are promised a place on the row in it."""
    free, _ = _emptied(pod, nodes, at)
    return min(free.values()) >= 0


def _emptied(pod: PodInfo, nodes: NodeColumns, at: int) -> tuple[dict[str, int], list[PodInfo]]:
    """What is left on a row with the pod and the promised there and all of lower priority gone; and these."""
    asked = [(r, a) for r, a in pod.requests.items() if a > 0]
    free = {r: int(nodes.allocatable[r][at] - nodes.requested[r][at]) - a for r, a in asked if r in nodes.allocatable}
    free[PODS] = int(nodes.allocatable[PODS][at] - nodes.requested[PODS][at]) - 1
    lower = [p for p in nodes.rows[at].pods.values() if p.priority < pod.priority]
    for other in lower:
        _give(free, other, 1)
    for other in promised_to(pod, nodes, at):
        _give(free, other, -1)
    return free, lower


def _row_victims(pod: PodInfo, nodes: NodeColumns, at: int, budgets: Budgets) -> tuple[list[PodInfo], int]:
    """The pods to evict from a row where evicting all of lower priority would do."""
    free, lower = _emptied(pod, nodes, at)

    def stays(other: PodInfo) -> bool:
        _give(free, other, -1)
        if min(free.values()) >= 0:
            return True
        _give(free, other, 1)
        return False

    return _reprieve(lower, budgets, stays)


def _give(free: dict[str, int], pod: PodInfo, sign: int) -> None:
    free[PODS] += sign
    for resource, amount in pod.requests.items():
        if resource in free:
            free[resource] += sign * amount


def _reprieve(lower: list[PodInfo], budgets: Budgets, stays: Callable[[PodInfo], bool]) -> tuple[list[PodInfo], int]:
    """Of pods that were all taken away, those that cannot come back, and how many budgets' pods are among them."""
    lower = sorted(lower, key=_important_first)
    protected = budgets.violators(lower)
    victims = [p for p in lower if p.uid in protected and not stays(p)]
    violations = len(victims)
    victims += [p for p in lower if p.uid not in protected and not stays(p)]
    return sorted(victims, key=_important_first), violations


def _rank(victims: list[PodInfo], violations: int) -> Rank:
    if not victims:
        return 0, 0, 0, 0, 0
    highest = victims[0].priority
    started = min(_moment(p.started) for p in victims if p.priority == highest)
    return violations, highest, sum(p.priority + _OFFSET for p in victims), len(victims), -started


def _moment(started: str) -> int:
    """A start time as a number that sorts like it; what has not started is the latest."""
    digits = "".join(c for c in started if c.isdigit())[:14]
    return int(digits) if digits else 10**14


# Everything


def _by_filters(
    pod: PodInfo, nodes: NodeColumns, profile: Profile, helpful: Bools, budgets: Budgets, chance: Chance
) -> Candidates:
    possible = np.flatnonzero(helpful)
    rows = possible[_roomy(pod, nodes, possible)].tolist()
    start = chance.below(len(rows)) if rows else 0
    found: Candidates = {}
    for at in [*rows[start:], *rows[:start]]:
        tried = _try_row(pod, nodes, profile, at, budgets)
        if tried is not None and tried[0]:
            found[at] = tried
        if len(found) == _wanted(nodes, profile):
            break
    return found


def _try_row(
    pod: PodInfo, nodes: NodeColumns, profile: Profile, at: int, budgets: Budgets
) -> tuple[list[PodInfo], int] | None:
    lower = [p for p in nodes.rows[at].pods.values() if p.priority < pod.priority]
    promised = promised_to(pod, nodes, at)
    for other in lower:
        nodes.remove_pod(other.uid)
    for other in promised:
        nodes.put(at, other)

    def stays(other: PodInfo) -> bool:
        nodes.put(at, other)
        if fits_row(pod, nodes, profile, at):
            return True
        nodes.remove_pod(other.uid)
        return False

    try:
        return _reprieve(lower, budgets, stays) if fits_row(pod, nodes, profile, at) else None
    finally:
        for other in promised:
            nodes.remove_pod(other.uid)
        for other in lower:
            if nodes.where(other.uid) is None:
                nodes.put(at, other)
