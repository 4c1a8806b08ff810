"""The nodes as columns: one row a node, one array a property, kept up to date by small changes.

Resources that only some nodes have get a column when the first node or pod names them. A row is reused when its node
goes. Pods count on a node from the moment they are assumed there (before the binding is stored) until they end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shirube.scheduler.pod import CPU, EPHEMERAL, MEMORY, PODS, PodInfo, Port, amounts

Object = dict[str, Any]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_FIRST_ROWS = 64


@dataclass(slots=True)
class _Row:
    """What of a node is no number."""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[tuple[str, str, str], ...] = ()  # (key, value, effect)
    ports: dict[Port, int] = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)  # by uid


class NodeColumns:
    """All nodes. `present` marks the rows in use; every array has the same length."""

    def __init__(self) -> None:
        self.rows: list[_Row] = [_Row() for _ in range(_FIRST_ROWS)]
        self.present: Bools = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self.unschedulable: Bools = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self.allocatable: dict[str, Ints] = {}
        self.requested: dict[str, Ints] = {}
        self.nonzero_cpu: Ints = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self.nonzero_memory: Ints = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self._index: dict[str, int] = {}
        self._where: dict[str, tuple[int, PodInfo]] = {}
        self._early: dict[str, dict[str, PodInfo]] = {}  # pods of nodes that have not been seen yet
        for name in (CPU, MEMORY, EPHEMERAL, PODS):
            self._column(name)

    def __len__(self) -> int:
        return len(self._index)

    def index(self, name: str) -> int | None:
        return self._index.get(name)

    def indexes(self) -> Ints:
        return np.flatnonzero(self.present)

    def _column(self, name: str) -> None:
        if name not in self.allocatable:
            self.allocatable[name] = np.zeros(len(self.rows), dtype=np.int64)
            self.requested[name] = np.zeros(len(self.rows), dtype=np.int64)

    # Nodes

    def set_node(self, node: Object) -> None:
        """Add a node, or take over what changed of it."""
        name = node["metadata"]["name"]
        at = self._index.get(name)
        if at is None:
            at = self._free_row()
            self._index[name] = at
            self.rows[at] = _Row(name)
            self.present[at] = True
        row = self.rows[at]
        row.labels = {**(node["metadata"].get("labels") or {})}
        spec = node.get("spec") or {}
        row.taints = tuple((t["key"], t.get("value", ""), t["effect"]) for t in spec.get("taints") or [])
        self.unschedulable[at] = bool(spec.get("unschedulable"))
        capacity = amounts((node.get("status") or {}).get("allocatable"))
        for resource in capacity:
            self._column(resource)
        for resource, column in self.allocatable.items():
            column[at] = capacity.get(resource, 0)
        for info in self._early.pop(name, {}).values():
            self.add_pod(name, info)

    def remove_node(self, name: str) -> None:
        at = self._index.pop(name, None)
        if at is None:
            return
        for info in list(self.rows[at].pods.values()):
            self._take(at, info)
            self._early.setdefault(name, {})[info.uid] = info
        self.rows[at] = _Row()
        self.present[at] = False
        self.unschedulable[at] = False
        for column in self.allocatable.values():
            column[at] = 0

    def _free_row(self) -> int:
        free = np.flatnonzero(~self.present)
        if len(free):
            return int(free[0])
        size = len(self.rows)
        self.rows += [_Row() for _ in range(size)]
        self.present = np.concatenate([self.present, np.zeros(size, dtype=np.bool_)])
        self.unschedulable = np.concatenate([self.unschedulable, np.zeros(size, dtype=np.bool_)])
        more = np.zeros(size, dtype=np.int64)
        self.nonzero_cpu = np.concatenate([self.nonzero_cpu, more])
        self.nonzero_memory = np.concatenate([self.nonzero_memory, more])
        for columns in (self.allocatable, self.requested):
            for name in columns:
                columns[name] = np.concatenate([columns[name], more])
        return size

    # Pods

    def add_pod(self, node: str, info: PodInfo) -> None:
        """Count a pod on a node; one that is counted already moves or is counted anew."""
        self.remove_pod(info.uid)
        at = self._index.get(node)
        if at is None:
            self._early.setdefault(node, {})[info.uid] = info
            return
        row = self.rows[at]
        row.pods[info.uid] = info
        self._where[info.uid] = (at, info)
        self._count(at, info, 1)
        for port in info.ports:
            row.ports[port] = row.ports.get(port, 0) + 1

    def remove_pod(self, uid: str) -> bool:
        """Stop counting a pod; whether it was counted."""
        found = self._where.get(uid)
        if found is not None:
            self._take(*found)
            return True
        return any(early.pop(uid, None) is not None for early in self._early.values())

    def _take(self, at: int, info: PodInfo) -> None:
        row = self.rows[at]
        del row.pods[info.uid]
        del self._where[info.uid]
        self._count(at, info, -1)
        for port in info.ports:
            row.ports[port] -= 1
            if not row.ports[port]:
                del row.ports[port]

    def _count(self, at: int, info: PodInfo, sign: int) -> None:
        for resource, amount in info.requests.items():
            self._column(resource)
            self.requested[resource][at] += sign * amount
        self.requested[PODS][at] += sign
        self.nonzero_cpu[at] += sign * info.nonzero_cpu
        self.nonzero_memory[at] += sign * info.nonzero_memory
