"""NodeResourcesBalancedAllocation: nodes whose resources would be used evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import MAX_SCORE, Score
from shirube.scheduler.plugins.node_resources_fit import Kept
from shirube.scheduler.pod import CPU, MEMORY, PodInfo

Object = dict[str, Any]


class NodeResourcesBalancedAllocation(Score):
    name = "NodeResourcesBalancedAllocation"

    def __init__(self, args: Object | None = None) -> None:
        super().__init__()
        resources = (args or {}).get("resources") or ({"name": CPU}, {"name": MEMORY})
        self._resources = [r["name"] for r in resources]

    def score(self, pod: PodInfo, nodes: NodeColumns, mask: Bools) -> Ints | int | None:
        if not any(pod.requests.get(r) for r in self._resources):
            return None  # such pods would all go to one node
        memory = nodes.remembered(self.memory)
        key = (pod.shape.fit_key, pod.resized)
        kept = memory.get(key)
        if kept is None:
            kept = nodes.remember(memory, key, Kept(np.zeros(nodes.size, dtype=np.int64)))
        rows = kept.stale(nodes)
        if rows is not None:
            kept.values[rows] = self._balance(pod, nodes, rows)
        return kept.values

    def _balance(self, pod: PodInfo, nodes: NodeColumns, rows: Any) -> Ints:
        fractions: list[NDArray[np.float64]] = []
        have: list[Bools] = []
        for resource in self._resources:
            amount = pod.requests.get(resource, 0)
            if resource not in nodes.allocatable or (not amount and "/" in resource):
                continue
            capacity = nodes.allocatable[resource][rows]
            used = nodes.requested[resource][rows] + amount
            fractions.append(np.minimum(used / np.maximum(capacity, 1), 1.0))
            have.append(capacity > 0)
        if len(fractions) == 2:
            deviation = np.where(have[0] & have[1], np.abs((fractions[0] - fractions[1]) / 2), 0.0)
        elif fractions:
            deviation = _deviation(np.array(fractions), np.array(have))
        else:
            deviation = np.zeros(nodes.size)[rows]
        return ((1 - deviation) * MAX_SCORE).astype(np.int64)


def _deviation(fractions: NDArray[np.float64], have: Bools) -> NDArray[np.float64]:
    """The standard deviation of those that the node has."""
    count = np.maximum(have.sum(axis=0), 1)
    mean = (fractions * have).sum(axis=0) / count
    squares: NDArray[np.float64] = (((fractions - mean) ** 2) * have).sum(axis=0)
    two = np.abs(np.where(have, fractions - mean, 0)).max(axis=0)  # of two, the deviation is half their distance
    return np.where(count == 2, two, np.sqrt(squares / count))
