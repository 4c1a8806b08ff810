"""One decision: which node takes a pod, or why none does. Pure given its source of chance.

Filters that look at node objects alone are combined once for all pods alike; the others keep their own results and
follow changes. Every node is considered; among equals chance decides, so that nodes fill evenly.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins import FILTERS, SCORES
from shirube.scheduler.plugins.framework import Filter, Groups, Plugin, Score, same
from shirube.scheduler.pod import PodInfo

DEFAULT_NAME = "default-scheduler"


@dataclass(slots=True)
class Profile:
    """The plugins behind one scheduler name."""

    name: str = DEFAULT_NAME
    filters: list[Filter] = field(default_factory=list)
    scores: list[tuple[Score, int]] = field(default_factory=list)
    preempts: bool = True
    candidates_percentage: int = 10  # of the nodes, that an attempt to preempt plans …
    least_candidates: int = 100  # … but so many at least
    volume_seconds: float = 600.0  # how long a pod waits for its volumes, and for its devices, to be bound
    device_seconds: float = 600.0

    @classmethod
    def default(cls, name: str = DEFAULT_NAME) -> Profile:
        filters = [kind() for kind in FILTERS]
        return cls(name, filters, default_scores(filters))


def default_scores(made: list[Filter]) -> list[tuple[Score, int]]:
    """The default scores; a plugin that filters too is one instance."""
    by_name: dict[str, Plugin] = {p.name: p for p in made}
    found: list[tuple[Score, int]] = []
    for kind, weight in SCORES:
        plugin = by_name.get(kind.name)
        found.append((plugin if isinstance(plugin, Score) else kind(), weight))
    return found


@dataclass(slots=True)
class Diagnosis:
    """Why no node took a pod: by plugin, groups of rows with their reasons."""

    evaluated: int
    forbidden: tuple[str, str] = ("", "")  # (plugin, reason) when no node would do whatever it looks like
    groups: list[tuple[str, Groups]] = field(default_factory=list)
    preemption: str = ""  # what preemption found
    deallocation: str = "no new claims to deallocate"  # what became of the pod's own claims

    @property
    def plugins(self) -> frozenset[str]:
        """Whose word would have to change: what the queue waits for."""
        return frozenset([self.forbidden[0]]) if self.forbidden[0] else frozenset(name for name, _ in self.groups)

    @property
    def message(self) -> str:
        """The event's text, as kube-scheduler's FitError words it."""
        if not self.evaluated:
            return "no nodes available to schedule pods"
        tail = f" {self.deallocation}, preemption: {self.preemption}" if self.preemption else ""
        if self.forbidden[0]:
            return f"0/{self.evaluated} nodes are available: {self.forbidden[1]}.{tail}"
        counted: Counter[str] = Counter()
        for _, groups in self.groups:
            for answer, rows in groups:
                for reason in answer.reasons:
                    counted[reason] += len(rows)
        return f"0/{self.evaluated} nodes are available: {listed(counted)}.{tail}"

    def resolvable(self, size: int) -> Bools:
        """Rows where evicting pods might help."""
        mask = np.zeros(size, dtype=np.bool_)
        for _, groups in self.groups:
            for answer, rows in groups:
                if answer.resolvable:
                    mask[rows] = True
        return mask


def listed(counted: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counted.items()))


@dataclass(slots=True)
class Decision:
    """`node` is "" when the pod fits nowhere; `diagnosis` then says why."""

    node: str
    diagnosis: Diagnosis | None = None

    @property
    def message(self) -> str:
        return "" if self.diagnosis is None else self.diagnosis.message


def feasible(pod: PodInfo, nodes: NodeColumns, profile: Profile) -> Bools | None:
    """Rows that every filter accepts; None when a plugin forbids the pod altogether."""
    mask = _static(pod, nodes, profile)
    for plugin in profile.filters:
        if plugin.static or not plugin.applies(pod, nodes):
            continue
        if plugin.forbids(pod, nodes):
            return None
        mask = mask & plugin.fits(pod, nodes)
    if nodes.promised:
        mask = _beside_nominated(pod, nodes, profile, mask)
    return mask


def _static(pod: PodInfo, nodes: NodeColumns, profile: Profile) -> Bools:
    """What the filters say that look at node objects alone. Not to be changed by the caller."""
    memory = nodes.remembered(f"static-{profile.name}")
    key = (pod.shape.node_key, pod.node_name)
    known = memory.get(key)
    if known is None or known[0] != nodes.version:
        mask = nodes.present.copy()
        for plugin in profile.filters:
            if plugin.static and plugin.applies(pod, nodes):
                mask &= plugin.fits(pod, nodes)
        known = nodes.remember(memory, key, (nodes.version, mask))
    found: Bools = known[1]
    return found


def _beside_nominated(pod: PodInfo, nodes: NodeColumns, profile: Profile, mask: Bools) -> Bools:
    """Rows where the pod fits also once the pods that have been promised a place there are in it."""
    rows = np.fromiter(nodes.promised, np.int64, len(nodes.promised))
    for at in rows[mask[rows]].tolist():
        others = promised_to(pod, nodes, at)
        if not others:
            continue
        mask = mask.copy()
        for other in others:
            nodes.put(at, other)
        try:
            mask[at] = fits_row(pod, nodes, profile, at)
        finally:
            for other in others:
                nodes.remove_pod(other.uid)
    return mask


def promised_to(pod: PodInfo, nodes: NodeColumns, at: int) -> list[PodInfo]:
    """Other pods, no less important, that are promised a place on a row and not there yet."""
    return [
        other
        for uid, other in nodes.promised.get(at, {}).items()
        if uid != pod.uid and other.priority >= pod.priority and nodes.where(uid) is None
    ]


def fits_row(pod: PodInfo, nodes: NodeColumns, profile: Profile, at: int) -> bool:
    """Whether the filters that depend on pods accept one row."""
    return all(
        plugin.accepts(pod, nodes, at) for plugin in profile.filters if not plugin.static and plugin.applies(pod, nodes)
    )


def diagnose(pod: PodInfo, nodes: NodeColumns, profile: Profile, *, promises: bool = True) -> Diagnosis:
    """Each node's first refusal. What no plugin refuses is promised to others, unless the caller knows better."""
    rows = nodes.indexes()
    found = Diagnosis(len(rows))
    if not len(rows):
        return found
    for plugin in profile.filters:
        if plugin.applies(pod, nodes) and (reason := plugin.forbids(pod, nodes)):
            found.forbidden = (plugin.name, reason)
            return found
    for plugin in profile.filters:
        if not len(rows) or not plugin.applies(pod, nodes):
            continue
        fits = plugin.fits(pod, nodes)[rows]
        if not fits.all():
            found.groups.append((plugin.name, plugin.rejections(pod, nodes, rows[~fits])))
            rows = rows[fits]
    if len(rows) and promises:
        reason = "node(s) are reserved for pods that preempted others there"
        found.groups.append(("NodeResourcesFit", same(reason, rows, resolvable=True)))
    return found


def totals(pod: PodInfo, nodes: NodeColumns, profile: Profile, mask: Bools) -> Ints | int:
    """The weighted sum of scores; values outside the mask mean nothing."""
    total: Ints | int = 0
    for plugin, weight in profile.scores:
        points = plugin.score(pod, nodes, mask)
        if points is not None:
            total = total + (points if weight == 1 else points * weight)
    return total


def decide(pod: PodInfo, nodes: NodeColumns, chance: Chance, profile: Profile) -> Decision:
    """Filter, score, pick the best; a node that the pod was promised comes first."""
    mask = feasible(pod, nodes, profile)
    if mask is None:
        return Decision("", diagnose(pod, nodes, profile))
    if pod.nominated:
        at = nodes.index(pod.nominated)
        if at is not None and mask[at]:
            return Decision(pod.nominated)
    if not mask.any():
        return Decision("", diagnose(pod, nodes, profile))
    return Decision(nodes.rows[best_row(nodes, mask, totals(pod, nodes, profile, mask), chance)].name)


def best_row(nodes: NodeColumns, mask: Bools, total: Ints | int, chance: Chance) -> int:
    """Of the rows in the mask one with the most points."""
    if isinstance(total, int):
        best = np.flatnonzero(mask)
    else:
        inside = np.where(mask, total, -1)
        best = np.flatnonzero(inside == inside.max())
    return int(best[chance.below(len(best))] if len(best) > 1 else best[0])
