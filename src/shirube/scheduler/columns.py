"""The nodes as columns: one row a node, one array a property, kept up to date by small changes.

Resources that only some nodes have get a column when the first node or pod names them; a label key gets a column of
integer codes when the first pod asks for it; taints are coded by their whole set. A row is reused when its node goes.
Pods count on a node from the moment they are assumed there (before the binding is stored) until they end.

Two marks tell plugins what they may remember: `version` changes with any node's labels, taints or existence;
`touched_since` names the rows whose pods or capacity changed. `counts` keeps pods by selector and domain.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shirube.scheduler.counts import Counts
from shirube.scheduler.pod import CPU, EPHEMERAL, MEMORY, PODS, PodInfo, Port, amounts
from shirube.scheduler.surroundings import Surroundings

Object = dict[str, Any]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Bools = NDArray[np.bool_]
Taint = tuple[str, str, str]  # (key, value, effect)
_FIRST_ROWS = 64
_REMEMBERED_ROWS = 2_000_000  # of results by signature, a plugin


@dataclass(slots=True)
class Row:
    """What of a node is no number."""

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    ports: dict[Port, int] = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)  # by uid
    images: dict[str, int] = field(default_factory=dict)  # name -> bytes


class LabelColumn:
    """The values of one label key as codes; -1 where a node does not have it."""

    def __init__(self, rows: list[Row], key: str) -> None:
        self.key = key
        self.values: list[str] = []
        self.code_of: dict[str, int] = {}
        self.codes: Codes = np.full(len(rows), -1, dtype=np.int32)
        for at, row in enumerate(rows):
            self.set(at, row.labels.get(key))

    def set(self, at: int, value: str | None) -> None:
        code = -1
        if value is not None:
            code = self.code_of.setdefault(value, len(self.values))
            if code == len(self.values):
                self.values.append(value)
        self.codes[at] = code


class NodeColumns:
    """All nodes. `present` marks the rows in use; every array has the same length."""

    def __init__(self, surroundings: Surroundings | None = None) -> None:
        self.around = surroundings or Surroundings()
        self.rows: list[Row] = [Row() for _ in range(_FIRST_ROWS)]
        self.present: Bools = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self.unschedulable: Bools = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self.allocatable: dict[str, Ints] = {}
        self.requested: dict[str, Ints] = {}
        self.nonzero_cpu: Ints = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self.nonzero_memory: Ints = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self.taint_codes: Codes = np.zeros(_FIRST_ROWS, dtype=np.int32)
        self.taint_sets: list[tuple[Taint, ...]] = [()]
        self.version = 0
        self.nominated: dict[str, tuple[str, PodInfo]] = {}  # uid -> (node, pod): has a place, waits for it to be free
        self.promised: dict[int, dict[str, PodInfo]] = {}  # the same by row
        self.ports_used: dict[tuple[str, int], dict[int, int]] = {}  # (protocol, port) -> row -> how many
        self.image_rows: dict[str, dict[int, int]] = {}  # image -> row -> bytes
        self.counts = Counts(self)
        self._taint_index: dict[tuple[Taint, ...], int] = {(): 0}
        self._label_columns: dict[str, LabelColumn] = {}
        self._label_keys: Counter[str] = Counter()  # on how many nodes
        self._nowhere = LabelColumn(self.rows, "")  # of every key that no node has
        self._touched: list[int] = []
        self._touched_base = 0
        self._index: dict[str, int] = {}
        self._free = list(range(_FIRST_ROWS - 1, -1, -1))
        self._where: dict[str, tuple[int, PodInfo]] = {}
        self._early: dict[str, dict[str, PodInfo]] = {}  # pods of nodes that have not been seen yet
        self._by_priority: dict[int, dict[str, Ints]] = {}
        self._remembered: dict[str, OrderedDict[Any, Any]] = {}
        for name in (CPU, MEMORY, EPHEMERAL, PODS):
            self._column(name)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def size(self) -> int:
        return len(self.rows)

    def index(self, name: str) -> int | None:
        return self._index.get(name)

    def indexes(self) -> Ints:
        return np.flatnonzero(self.present)

    def names(self) -> Iterator[str]:
        return iter(self._index)

    def where(self, uid: str) -> int | None:
        """The row that a pod counts on."""
        found = self._where.get(uid)
        return None if found is None else found[0]

    def counted(self, uid: str) -> PodInfo | None:
        """A pod as it counts on its node."""
        found = self._where.get(uid)
        return None if found is None else found[1]

    def label(self, key: str) -> LabelColumn:
        column = self._label_columns.get(key)
        if column is None and not self._label_keys[key]:
            return self._nowhere
        if column is None:
            column = self._label_columns[key] = LabelColumn(self.rows, key)
        return column

    def remembered(self, plugin: str) -> OrderedDict[Any, Any]:
        """A plugin's results by signature: `remember` bounds them."""
        return self._remembered.setdefault(plugin, OrderedDict())

    def remember(self, memory: OrderedDict[Any, Any], key: Any, value: Any) -> Any:
        memory[key] = value
        if len(memory) > min(max(32, _REMEMBERED_ROWS // self.size), 1024):
            memory.popitem(last=False)
        return value

    def touched_since(self, position: int) -> tuple[list[int] | None, int]:
        """Rows that changed since a position, and the position now; None when they are too many to tell."""
        now = self._touched_base + len(self._touched)
        if position < self._touched_base or now - position > self.size // 4:
            return None, now
        return self._touched[position - self._touched_base :], now

    def _touch(self, at: int) -> None:
        self._touched.append(at)
        if len(self._touched) > 4 * self.size:
            drop = 2 * self.size
            del self._touched[:drop]
            self._touched_base += drop

    def _column(self, name: str) -> None:
        if name not in self.allocatable:
            self.allocatable[name] = np.zeros(self.size, dtype=np.int64)
            self.requested[name] = np.zeros(self.size, dtype=np.int64)

    # Nodes

    def set_node(self, node: Object) -> None:
        """Add a node, or take over what changed of it."""
        name = node["metadata"]["name"]
        at = self._index.get(name)
        new = at is None
        if at is None:
            at = self._free_row()
            self._index[name] = at
            self.rows[at] = Row(name)
            self.present[at] = True
        row, spec, status = self.rows[at], node.get("spec") or {}, node.get("status") or {}
        labels = dict(node["metadata"].get("labels") or {})
        taints = tuple((t["key"], t.get("value", ""), t["effect"]) for t in spec.get("taints") or [])
        unschedulable = bool(spec.get("unschedulable"))
        if new or (labels, taints, unschedulable) != (row.labels, row.taints, bool(self.unschedulable[at])):
            self._set_static(at, labels, taints, unschedulable)
        self._set_capacity(at, amounts(status.get("allocatable")))
        if "images" in status:
            self._set_images(
                at, {n: i.get("sizeBytes", 0) for i in status["images"] or [] for n in i.get("names") or []}
            )
        for info in self._early.pop(name, {}).values():
            self.add_pod(name, info)
        if new and self.nominated:
            for promised, info in list(self.nominated.values()):
                if promised == name:
                    self.nominate(name, info)

    def _set_static(self, at: int, labels: dict[str, str], taints: tuple[Taint, ...], unschedulable: bool) -> None:
        row = self.rows[at]
        self._label_keys.subtract(row.labels.keys())
        self._label_keys.update(labels.keys())
        row.labels, row.taints = labels, taints
        self.unschedulable[at] = unschedulable
        self._code_taints(at, taints)
        for key, column in list(self._label_columns.items()):
            column.set(at, labels.get(key))
            if len(column.values) > 4 * self.size:  # of nodes long gone
                self._label_columns[key] = LabelColumn(self.rows, key)
        self.version += 1

    def _code_taints(self, at: int, taints: tuple[Taint, ...]) -> None:
        if taints not in self._taint_index and len(self.taint_sets) > 4 * self.size:
            self.taint_sets, self._taint_index = [()], {(): 0}
            for other, row in enumerate(self.rows):
                self._code_taints(other, row.taints)
        code = self._taint_index.setdefault(taints, len(self.taint_sets))
        if code == len(self.taint_sets):
            self.taint_sets.append(taints)
        self.taint_codes[at] = code

    def _set_capacity(self, at: int, capacity: Mapping[str, int]) -> None:
        for resource in capacity:
            self._column(resource)
        for resource, column in self.allocatable.items():
            column[at] = capacity.get(resource, 0)
        self._touch(at)

    def _set_images(self, at: int, images: dict[str, int]) -> None:
        row = self.rows[at]
        if images == row.images:
            return
        for image in row.images:
            rows = self.image_rows[image]
            del rows[at]
            if not rows:
                del self.image_rows[image]
        row.images = images
        for image, size in images.items():
            self.image_rows.setdefault(image, {})[at] = size

    def remove_node(self, name: str) -> None:
        at = self._index.pop(name, None)
        if at is None:
            return
        for info in list(self.rows[at].pods.values()):
            self._take(at, info)
            self._early.setdefault(name, {})[info.uid] = info
        self.promised.pop(at, None)
        self._set_images(at, {})
        self._set_static(at, {}, (), False)
        self._set_capacity(at, {})
        self.rows[at] = Row()
        self.present[at] = False
        self._free.append(at)

    def _free_row(self) -> int:
        if not self._free:
            self._grow()
        return self._free.pop()

    def _grow(self) -> None:
        size = self.size

        def longer(column: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([column, np.zeros(size, dtype=column.dtype)])

        self.rows += [Row() for _ in range(size)]
        self._free = list(range(2 * size - 1, size - 1, -1))
        self.present, self.unschedulable = longer(self.present), longer(self.unschedulable)
        self.nonzero_cpu, self.nonzero_memory = longer(self.nonzero_cpu), longer(self.nonzero_memory)
        self.taint_codes = longer(self.taint_codes)
        for columns in (self.allocatable, self.requested, *self._by_priority.values()):
            for name in columns:
                columns[name] = longer(columns[name])
        for label in (self._nowhere, *self._label_columns.values()):
            label.codes = np.concatenate([label.codes, np.full(size, -1, dtype=np.int32)])
        self.counts.grow(size)
        self._remembered.clear()  # every result is as long as the columns were
        self.version += 1

    # Promises

    def nominate(self, node: str, info: PodInfo) -> None:
        """Promise a pod the place that others are making for it."""
        self.withdraw(info.uid)
        self.nominated[info.uid] = (node, info)
        at = self._index.get(node)
        if at is not None:
            self.promised.setdefault(at, {})[info.uid] = info
            self._touch(at)

    def withdraw(self, uid: str) -> str:
        """Take the promise back; the node that it was for, or ""."""
        node, _ = self.nominated.pop(uid, ("", None))
        at = self._index.get(node)
        if at is not None and uid in self.promised.get(at, ()):
            del self.promised[at][uid]
            if not self.promised[at]:
                del self.promised[at]
            self._touch(at)
        return node

    # Pods

    def add_pod(self, node: str, info: PodInfo) -> None:
        """Count a pod on a node; one that is counted already moves or is counted anew."""
        at = self._index.get(node)
        where = self._where.get(info.uid)
        if where is not None and where[0] == at and _counts_alike(where[1], info):
            self.rows[at].pods[info.uid] = info
            self._where[info.uid] = (at, info)
            return
        self.remove_pod(info.uid)
        if at is None:
            self._early.setdefault(node, {})[info.uid] = info
            return
        self.put(at, info)

    def remove_pod(self, uid: str) -> bool:
        """Stop counting a pod; whether it was counted."""
        found = self._where.get(uid)
        if found is not None:
            self._take(*found)
            return True
        return any(early.pop(uid, None) is not None for early in self._early.values())

    def put(self, at: int, info: PodInfo) -> None:
        """Count a pod, not counted anywhere, on a row."""
        self.rows[at].pods[info.uid] = info
        self._where[info.uid] = (at, info)
        self._count(at, info, 1)

    def _take(self, at: int, info: PodInfo) -> None:
        del self.rows[at].pods[info.uid]
        del self._where[info.uid]
        self._count(at, info, -1)

    def _count(self, at: int, info: PodInfo, sign: int) -> None:
        for resource, amount in info.requests.items():
            if resource not in self.requested:
                self._column(resource)
            self.requested[resource][at] += sign * amount
        self.requested[PODS][at] += sign
        shape = info.shape
        resized = dict(info.resized)
        self.nonzero_cpu[at] += sign * (shape.nonzero_cpu + resized.get(CPU, 0))
        self.nonzero_memory[at] += sign * (shape.nonzero_memory + resized.get(MEMORY, 0))
        if shape.ports:
            self._count_ports(at, info, sign)
        self.counts.count(at, info, sign)
        self._count_priority(at, info, sign)
        self._touch(at)

    def _count_priority(self, at: int, info: PodInfo, sign: int) -> None:
        columns = self._by_priority.setdefault(info.priority, {})
        for resource, amount in ((PODS, 1), *info.requests.items()):
            if resource not in columns:
                columns[resource] = np.zeros(self.size, dtype=np.int64)
            columns[resource][at] += sign * amount

    def requested_below(self, priority: int, resource: str, rows: Any = slice(None)) -> Ints:
        """What pods of a lower priority have of a resource."""
        total: Ints = self.present[rows].astype(np.int64) * 0
        for of, columns in self._by_priority.items():
            if of < priority and resource in columns:
                total += columns[resource][rows]
        return total

    def _count_ports(self, at: int, info: PodInfo, sign: int) -> None:
        ports = self.rows[at].ports
        for port in info.shape.ports:
            _add(ports, port, sign)
            rows = self.ports_used.setdefault((port[1], port[2]), {})
            _add(rows, at, sign)
            if not rows:
                del self.ports_used[port[1], port[2]]


def _counts_alike(a: PodInfo, b: PodInfo) -> bool:
    return a.shape is b.shape and a.terminating == b.terminating and a.resized == b.resized


def _add(table: dict[Any, int], key: Any, sign: int) -> None:
    left = table.get(key, 0) + sign
    if left:
        table[key] = left
    else:
        del table[key]
