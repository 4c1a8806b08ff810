"""What admission took and decided, under upstream's metric names (`apiserver_admission_…`).

Every write passes here some thirty times, so that a histogram is a plain list and its first bucket one comparison.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

STEP = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
WEBHOOK = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
POLICY = (0.0000005, 0.001, 0.01, 0.1, 1.0)
MAX_SERIES = 10_000  # names of webhooks and policies are chosen by people

_Key = tuple[str, ...]

# name -> (help, labels); histograms by their buckets
_COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "apiserver_admission_webhook_rejection_count": (
        "Admission webhook rejection count.",
        ("name", "type", "operation", "error_type", "rejection_code"),
    ),
    "apiserver_admission_webhook_fail_open_count": (
        "Admission webhooks that could not be called and were passed by.",
        ("name", "type"),
    ),
    "apiserver_admission_webhook_request_total": (
        "Admission webhook requests by their outcome.",
        ("name", "type", "operation", "code", "rejected"),
    ),
    "apiserver_admission_match_condition_evaluation_errors_total": (
        "Match conditions that could not be evaluated.",
        ("name", "kind", "type", "operation"),
    ),
    "apiserver_admission_match_condition_exclusions_total": (
        "Requests that match conditions kept away from their webhook or policy.",
        ("name", "kind", "type", "operation"),
    ),
}
_HISTOGRAMS: dict[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "apiserver_admission_step_admission_duration_seconds": (
        "Admission by step: mutating or validating plugins together.",
        ("type", "operation", "rejected"),
        STEP,
    ),
    "apiserver_admission_controller_admission_duration_seconds": (
        "Admission by plugin.",
        ("name", "type", "operation", "rejected"),
        STEP,
    ),
    "apiserver_admission_webhook_admission_duration_seconds": (
        "Admission by webhook.",
        ("name", "type", "operation", "rejected"),
        WEBHOOK,
    ),
    "apiserver_validating_admission_policy_check_duration_seconds": (
        "Evaluations of validating policies by what came of them.",
        ("policy", "policy_binding", "error_type", "enforcement_action"),
        POLICY,
    ),
    "apiserver_mutating_admission_policy_check_duration_seconds": (
        "Evaluations of mutating policies by what came of them.",
        ("policy", "policy_binding", "error_type"),
        POLICY,
    ),
}
# Counted by the histograms themselves.
_COUNTS_OF_CHECKS = {
    "apiserver_validating_admission_policy_check_total": "apiserver_validating_admission_policy_check_duration_seconds",
    "apiserver_mutating_admission_policy_check_total": "apiserver_mutating_admission_policy_check_duration_seconds",
}


class AdmissionMetrics:
    def __init__(self) -> None:
        self._counters: dict[str, dict[_Key, int]] = {name: {} for name in _COUNTERS}
        self._histograms: dict[str, dict[_Key, list[float]]] = {name: {} for name in _HISTOGRAMS}

    @staticmethod
    def of(server: ServerContext) -> AdmissionMetrics:
        found: AdmissionMetrics | None = server.extensions.get("admission-metrics")
        if found is None:
            found = server.extensions["admission-metrics"] = AdmissionMetrics()
        return found

    def count(self, name: str, *key: str) -> None:
        series = self._counters[name]
        if key in series or len(series) < MAX_SERIES:
            series[key] = series.get(key, 0) + 1

    def histogram(self, name: str, *key: str) -> list[float]:
        """The list to `observe` in: a count per bucket, one for the rest, the sum."""
        series = self._histograms[name]
        found = series.get(key)
        if found is None:
            found = [0.0] * (len(_HISTOGRAMS[name][2]) + 2)
            if len(series) < MAX_SERIES:
                series[key] = found
        return found

    def families(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        for name, (text, labels) in _COUNTERS.items():
            # The library appends _total to every counter; upstream's names are kept where they have none.
            family = CounterMetricFamily(name, text, labels=labels)
            for key, number in self._counters[name].items():
                family.add_metric(key, number)
            if not name.endswith("_total"):
                family.samples = [s._replace(name=name) for s in family.samples]
            yield family
        for name, (text, labels, bounds) in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for key, counts in self._histograms[name].items():
                total, buckets = 0.0, []
                for bound, count in zip([*map(str, bounds), "+Inf"], counts[:-1], strict=True):
                    total += count
                    buckets.append((bound, total))
                histogram.add_metric(key, buckets, counts[-1])
            yield histogram
        for name, source in _COUNTS_OF_CHECKS.items():
            checks = CounterMetricFamily(name, "Evaluations of policies.", labels=_HISTOGRAMS[source][1])
            for key, counts in self._histograms[source].items():
                checks.add_metric(key, sum(counts[:-1]))
            yield checks


def observe(histogram: list[float], bounds: tuple[float, ...], seconds: float) -> None:
    histogram[0 if seconds <= bounds[0] else bisect.bisect_left(bounds, seconds)] += 1
    histogram[-1] += seconds
