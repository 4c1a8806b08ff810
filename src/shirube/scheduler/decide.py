"""One decision: which node takes a pod, or why none does. Pure given its source of chance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.plugins import FILTERS, SCORES
from shirube.scheduler.pod import PodInfo


@dataclass(slots=True)
class Decision:
    """`node` is "" when the pod fits nowhere; `reasons` then counts why, `plugins` says who said so."""

    node: str
    evaluated: int
    reasons: Counter[str] = field(default_factory=Counter)
    plugins: set[str] = field(default_factory=set)

    @property
    def message(self) -> str:
        """The event's text, as kube-scheduler's FitError words it."""
        if not self.evaluated:
            return "no nodes available to schedule pods"
        listed = sorted(f"{count} {reason}" for reason, count in self.reasons.items())
        return f"0/{self.evaluated} nodes are available: {', '.join(listed)}."


def decide(pod: PodInfo, nodes: NodeColumns, chance: Chance) -> Decision:
    """Filter, score, pick the best; among equals one by chance, so that nodes fill evenly."""
    at = nodes.indexes()
    result = Decision("", len(at))
    for name, plugin in FILTERS:
        if not len(at):
            return result
        reasons = plugin(pod, nodes, at)
        failed = reasons != ""
        if failed.any():
            result.plugins.add(name)
            for text in reasons[failed]:
                result.reasons.update(text.split("\n"))
            at = at[~failed]
    if not len(at):
        return result
    if len(at) == 1:
        return Decision(nodes.rows[int(at[0])].name, result.evaluated)
    total = np.zeros(len(at))
    for _, score, weight in SCORES:
        total += weight * score(pod, nodes, at)
    best = np.flatnonzero(total == total.max())
    chosen = at[best[chance.below(len(best))]]
    return Decision(nodes.rows[int(chosen)].name, result.evaluated)
