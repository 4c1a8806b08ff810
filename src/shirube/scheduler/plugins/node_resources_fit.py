"""NodeResourcesFit: enough of everything that is asked for; scored by least, most, or a shape of requested to capacity.

Results are kept by the amounts that pods ask for, and only rows that changed since are computed again.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import MAX_SCORE, Filter, Groups, Score, all_of
from shirube.scheduler.pod import CPU, MEMORY, PODS, PodInfo

Object = dict[str, Any]
_WHOLE = slice(None)
_DEFAULT_RESOURCES: tuple[Object, ...] = ({"name": CPU, "weight": 1}, {"name": MEMORY, "weight": 1})


class Kept:
    """A result per row and how far it has followed the columns."""

    __slots__ = ("position", "values")

    def __init__(self, values: Any) -> None:
        self.values = values
        self.position = -1

    def stale(self, nodes: NodeColumns) -> Any:
        """Rows to compute anew: an index for NumPy, None when there are none."""
        if self.position < 0:
            _, self.position = nodes.touched_since(0)
            return _WHOLE
        rows, self.position = nodes.touched_since(self.position)
        if rows is None:
            return _WHOLE
        if not rows:
            return None
        # One row, by far the most frequent, as a slice: NumPy is several times faster with a view.
        first = rows[0]
        return slice(first, first + 1) if len(rows) == 1 or rows.count(first) == len(rows) else rows


class NodeResourcesFit(Filter, Score):
    name = "NodeResourcesFit"

    def __init__(self, args: Object | None = None) -> None:
        super().__init__()
        args = args or {}
        strategy = args.get("scoringStrategy") or {}
        self._strategy = strategy.get("type") or "LeastAllocated"
        self._resources = [
            (r["name"], int(r.get("weight") or 1)) for r in strategy.get("resources") or _DEFAULT_RESOURCES
        ]
        points = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or []
        self._shape = [(int(p["utilization"]), int(p["score"]) * (MAX_SCORE // 10)) for p in points]
        self._ignored = set(args.get("ignoredResources") or ())
        self._ignored_groups = set(args.get("ignoredResourceGroups") or ())

    # Filter

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        memory = nodes.remembered(self.memory)
        delegated = _delegated(pod, nodes)
        key = ("fits", pod.shape.fit_key, pod.resized, delegated)
        kept = memory.get(key)
        if kept is None:
            kept = nodes.remember(memory, key, Kept(np.zeros(nodes.size, dtype=np.bool_)))
        rows = kept.stale(nodes)
        if rows is not None:
            fits = nodes.requested[PODS][rows] < nodes.allocatable[PODS][rows]
            for resource, amount in self._asked(pod):
                if resource not in nodes.allocatable:
                    fits = fits & (resource in delegated)
                    continue
                enough = nodes.requested[resource][rows] + amount <= nodes.allocatable[resource][rows]
                fits &= (enough | (nodes.allocatable[resource][rows] == 0)) if resource in delegated else enough
            kept.values[rows] = fits
        return kept.values

    def accepts(self, pod: PodInfo, nodes: NodeColumns, at: int) -> bool:
        """One row without remembering all: a thousand waiting pods are asked at each event."""
        if nodes.requested[PODS].item(at) >= nodes.allocatable[PODS].item(at):
            return False
        delegated = _delegated(pod, nodes)
        return all(
            (resource in delegated and (resource not in nodes.allocatable or not nodes.allocatable[resource].item(at)))
            or (
                resource in nodes.allocatable
                and nodes.requested[resource].item(at) + amount <= nodes.allocatable[resource].item(at)
            )
            for resource, amount in self._asked(pod)
        )

    def _asked(self, pod: PodInfo) -> list[tuple[str, int]]:
        return [
            (resource, amount)
            for resource, amount in pod.requests.items()
            if amount > 0 and resource not in self._ignored and resource.split("/")[0] not in self._ignored_groups
        ]

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        asked = sorted(self._asked(pod), key=lambda a: (a[0] not in (CPU, MEMORY), a[0]))
        delegated = _delegated(pod, nodes)
        answers = [("Too many pods", True, nodes.requested[PODS] >= nodes.allocatable[PODS])]
        for resource, amount in asked:
            reason = f"Insufficient {resource}"
            if resource not in nodes.allocatable:
                if resource in delegated:
                    continue
                answers.append((reason, False, np.ones(nodes.size, dtype=np.bool_)))
                continue
            capacity = nodes.allocatable[resource]
            lacking = nodes.requested[resource] + amount > capacity
            if resource in delegated:
                lacking &= capacity > 0
            answers.append((reason, True, lacking & (amount <= capacity)))
            answers.append((reason, False, lacking & (amount > capacity)))
        return all_of(rows, answers)

    # Score

    def score(self, pod: PodInfo, nodes: NodeColumns, mask: Bools) -> Ints | int | None:
        memory = nodes.remembered(self.memory)
        key = ("score", pod.shape.fit_key, pod.resized)
        kept = memory.get(key)
        if kept is None:
            kept = nodes.remember(memory, key, Kept(np.zeros(nodes.size, dtype=np.int64)))
        rows = kept.stale(nodes)
        if rows is not None:
            kept.values[rows] = self._allocation(pod, nodes, rows)
        return kept.values

    def _allocation(self, pod: PodInfo, nodes: NodeColumns, rows: Any) -> Ints:
        total: Any = 0
        weights: Any = 0
        for resource, weight in self._resources:
            if resource not in nodes.allocatable:
                continue
            capacity = nodes.allocatable[resource][rows]
            used = used_with(pod, nodes, resource, rows)
            if used is None:
                continue
            have = capacity > 0
            one = np.where(have, self._one(used, np.maximum(capacity, 1)), 0)
            total = total + one * weight
            # By ratio a resource without points does not count at all, as upstream has it.
            counts = have & (one > 0) if self._strategy == "RequestedToCapacityRatio" else have
            weights = weights + counts * weight
        if isinstance(total, int):
            return np.zeros(nodes.size, dtype=np.int64)[rows]
        if self._strategy == "RequestedToCapacityRatio":
            return np.floor(total / np.maximum(weights, 1) + 0.5).astype(np.int64)
        return total // np.maximum(weights, 1)

    def _one(self, used: Ints, capacity: Ints) -> Ints:
        if self._strategy == "LeastAllocated":
            return np.where(used > capacity, 0, (capacity - used) * MAX_SCORE // capacity)
        if self._strategy == "MostAllocated":
            return np.minimum(used, capacity) * MAX_SCORE // capacity
        utilization = np.where(used > capacity, 100, used * 100 // capacity)
        return self._curve(utilization)

    def _curve(self, at: Ints) -> Ints:
        """Between the points of the shape a straight line, cut off to whole numbers toward zero."""
        points = self._shape
        result = np.full(at.shape, points[-1][1], dtype=np.int64)
        for (x0, y0), (x1, y1) in reversed(list(pairwise(points))):
            rise = (y1 - y0) * (at - x0)
            between = y0 + np.sign(rise) * (np.abs(rise) // (x1 - x0))
            result = np.where(at <= x1, between, result)
        return np.where(at <= points[0][0], points[0][1], result)


def _delegated(pod: PodInfo, nodes: NodeColumns) -> tuple[str, ...]:
    """Extended resources that DynamicResources sees to where no device plugin has them."""
    if not pod.shape.extended:
        return ()
    return tuple(sorted({r.resource for r in pod.shape.extended if r.resource in nodes.around.devices.extended}))


def used_with(pod: PodInfo, nodes: NodeColumns, resource: str, rows: Any) -> Ints | None:
    """What would be used of a resource with the pod there, as the scores count it; None: it does not matter."""
    if resource == CPU:
        return nodes.nonzero_cpu[rows] + pod.shape.nonzero_cpu
    if resource == MEMORY:
        return nodes.nonzero_memory[rows] + pod.shape.nonzero_memory
    amount = pod.requests.get(resource, 0)
    if not amount and "/" in resource:
        return None  # an extended resource that the pod does not ask for
    return nodes.requested[resource][rows] + amount
