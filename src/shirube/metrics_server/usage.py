"""Readings of node agents to rates: pure.

CPU is a counter; a rate needs two readings of the same container. One that started less than a minute before its
first reading has used what the counter says since its start. A pod shows when each of its containers does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

YOUNG_SECONDS = 60.0
_CPU, _MEMORY, _START = "cpu_usage_seconds_total", "memory_working_set_bytes", "start_time_seconds"

Container = tuple[str, str, str]  # namespace, pod, container


class Point(NamedTuple):
    at: float  # seconds since 1970
    cpu: float  # seconds used up to then
    memory: int  # bytes, working set
    started: float = 0.0  # seconds since 1970; 0 when not known


class Usage(NamedTuple):
    at: float  # of the later reading
    window: float  # seconds between the two
    cpu: float  # cores
    memory: int  # bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """One node at one moment."""

    node: Point | None
    containers: Mapping[Container, Point] = field(default_factory=dict)


class BadReading(ValueError):
    """A node agent's answer is not what it should be."""


def parse(text: str, now: float) -> Reading:
    """`/metrics/resource` of a node agent. Raises BadReading."""
    amounts: dict[Container | None, dict[str, float]] = {}
    stamps: dict[Container | None, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                of, _, what = sample.name.partition("_")
                if what not in (_CPU, _MEMORY, _START) or of not in ("node", "container"):
                    continue
                labels = sample.labels
                key = None if of == "node" else (labels["namespace"], labels["pod"], labels["container"])
                amounts.setdefault(key, {})[what] = float(sample.value)
                if sample.timestamp is not None:
                    stamps[key] = float(sample.timestamp)
    except (ValueError, KeyError) as error:
        raise BadReading(f"cannot read the node's metrics: {error}") from error
    points = {
        key: point for key, found in amounts.items() if (point := _point(found, stamps.get(key, now))) is not None
    }
    node = points.pop(None, None)
    return Reading(node, {key: point for key, point in points.items() if key is not None})


def _point(found: Mapping[str, float], at: float) -> Point | None:
    if _CPU not in found or _MEMORY not in found:
        return None
    return Point(at, found[_CPU], int(found[_MEMORY]), found.get(_START, 0.0))


def rate(before: Point | None, now: Point) -> Usage | None:
    """None while there is nothing to compare with, or the counter began anew."""
    if before is not None and before.started == now.started and before.at < now.at and before.cpu <= now.cpu:
        window = now.at - before.at
        return Usage(now.at, window, (now.cpu - before.cpu) / window, now.memory)
    age = now.at - now.started
    if now.started and 0 < age <= YOUNG_SECONDS:
        return Usage(now.at, age, now.cpu / age, now.memory)
    return None


class Book:
    """The last two readings of every node."""

    def __init__(self) -> None:
        self._readings: dict[str, tuple[Reading | None, Reading]] = {}

    def record(self, node: str, reading: Reading) -> None:
        old = self._readings.get(node)
        self._readings[node] = (old[1] if old is not None else None, reading)

    def keep_only(self, nodes: set[str]) -> None:
        for name in self._readings.keys() - nodes:
            del self._readings[name]

    def forget(self, node: str) -> None:
        """It does not answer: what it said last is not how it is."""
        self._readings.pop(node, None)

    def nodes(self) -> dict[str, Usage]:
        found = {}
        for name, (before, now) in self._readings.items():
            if now.node is None:
                continue
            usage = rate(before.node if before is not None else None, now.node)
            if usage is not None:
                found[name] = usage
        return found

    def pods(self, namespace: str = "") -> dict[tuple[str, str], dict[str, Usage]]:
        """(namespace, pod) to its containers; `namespace` "" is all."""
        found: dict[tuple[str, str], dict[str, Usage]] = {}
        unknown: set[tuple[str, str]] = set()
        for before, now in self._readings.values():
            for key, point in now.containers.items():
                if namespace and key[0] != namespace:
                    continue
                usage = rate(before.containers.get(key) if before is not None else None, point)
                if usage is None:
                    unknown.add(key[:2])
                else:
                    found.setdefault(key[:2], {})[key[2]] = usage
        return {key: containers for key, containers in found.items() if key not in unknown}
