"""What priority and fairness did, counted cheaply and shown under upstream's metric names."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shirube.apiserver.fairness.levels import Level, Levels

WAITS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
RUNS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
SEATS = (1, 2, 4, 10)
_PREFIX = "apiserver_flowcontrol_"


class Histogram:
    """Counts by bucket, the last for the rest, and the sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def shown(self, least: int = 0) -> tuple[list[tuple[str, float]], float]:
        """(buckets as Prometheus counts them, the sum), with `least` more of the first bucket's bound."""
        total, buckets = float(least), []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        return buckets, self._sum + least * self._bounds[0]


@dataclass(eq=False, slots=True)
class Counts:
    """Of one flow schema in one level."""

    at_once: int = 0  # requests that took one free seat
    left: int = 0  # of these, those that are done
    dispatched: int = 0  # all others, and the next two as well
    running: int = 0
    seats: int = 0
    waiting: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    waits: Histogram = field(default_factory=lambda: Histogram(WAITS))
    refused_waits: Histogram = field(default_factory=lambda: Histogram(WAITS))
    runs: Histogram = field(default_factory=lambda: Histogram(RUNS))
    estimates: Histogram = field(default_factory=lambda: Histogram(SEATS))

    def waited(self, seconds: float) -> None:
        self.waits.add(seconds)

    def refuse(self, reason: str, seconds: float) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
        self.refused_waits.add(seconds)

    def estimated(self, seats: int) -> None:
        self.estimates.add(seats)


_LEVELS: tuple[tuple[str, str, Callable[[Levels, Level], int]], ...] = (
    ("nominal_limit_seats", "Seats by share.", lambda _, v: v.nominal),
    ("lower_limit_seats", "Seats that are never lent.", lambda _, v: v.lower_limit),
    (
        "upper_limit_seats",
        "Seats with all that may be borrowed.",
        lambda all_levels, v: v.nominal + (v.most_borrowed if v.most_borrowed is not None else all_levels.total),
    ),
    ("current_limit_seats", "Seats that could be in use now.", lambda all_levels, v: all_levels.limit(v)),
    ("demand_seats", "Seats in use and wanted.", lambda _, v: v.seats + v.waiting),
)
_CLASSES: tuple[tuple[str, str, Callable[[Counts], int]], ...] = (
    ("current_executing_requests", "Requests being run.", lambda c: c.running + c.at_once - c.left),
    ("current_executing_seats", "Seats in use.", lambda c: c.seats + c.at_once - c.left),
    ("current_inqueue_requests", "Requests waiting.", lambda c: c.waiting),
)


def families(levels: Levels, counts: Mapping[tuple[str, str], Counts]) -> Iterator[Any]:
    """Metrics of levels, and of schemas in them; `counts` by (level, schema)."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    for name, text, of_level in _LEVELS:
        gauge = GaugeMetricFamily(_PREFIX + name, text, labels=["priority_level"])
        for level in levels.by_name.values():
            gauge.add_metric([level.name], of_level(levels, level))
        yield gauge
    labels = ["priority_level", "flow_schema"]
    for name, text, of_class in _CLASSES:
        gauge = GaugeMetricFamily(_PREFIX + name, text, labels=labels)
        for key, counted in counts.items():
            gauge.add_metric(list(key), of_class(counted))
        yield gauge
    dispatched = CounterMetricFamily(_PREFIX + "dispatched_requests", "Requests that got seats.", labels=labels)
    rejected = CounterMetricFamily(
        _PREFIX + "rejected_requests", "Requests that were sent away.", labels=[*labels, "reason"]
    )
    waits = HistogramMetricFamily(
        _PREFIX + "request_wait_duration_seconds", "Time in queues.", labels=[*labels, "execute"]
    )
    runs = HistogramMetricFamily(_PREFIX + "request_execution_seconds", "Time in seats.", labels=labels)
    estimates = HistogramMetricFamily(_PREFIX + "work_estimated_seats", "Seats that requests take.", labels=labels)
    for key, counted in counts.items():
        dispatched.add_metric(list(key), counted.dispatched + counted.at_once)
        for reason, number in counted.refused.items():
            rejected.add_metric([*key, reason], number)
        waits.add_metric([*key, "true"], *counted.waits.shown(counted.at_once))
        if counted.refused:
            waits.add_metric([*key, "false"], *counted.refused_waits.shown())
        runs.add_metric(list(key), *counted.runs.shown())
        estimates.add_metric(list(key), *counted.estimates.shown(counted.at_once))
    yield from (dispatched, rejected, waits, runs, estimates)
