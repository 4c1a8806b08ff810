"""`/metrics/resource`, of a snapshot: what metrics-server reads for `kubectl top`. Pure.

Names, labels and help texts are upstream's: https://kubernetes.io/docs/reference/instrumentation/node-metrics/.
"""

from __future__ import annotations

from collections.abc import Iterable

from shirube.kubelet import pod as pods
from shirube.kubelet.runtime_state import NANO
from shirube.kubelet.server_metrics import escape
from shirube.kubelet.stats import Snapshot

Sample = tuple[dict[str, str], float | int | None]
Family = tuple[str, str, str, list[Sample]]


def resource_metrics(snapshot: Snapshot, node_working_set: int) -> bytes:
    lines = [
        line
        for families in (_of_containers(snapshot), _of_node(snapshot, node_working_set), _of_pods(snapshot))
        for family in families
        for line in family_lines(*family, int(snapshot.at * 1000))
    ]
    lines += family_lines("resource_scrape_error", "gauge", "[STABLE] 1 if there was an error", [({}, 0)], None)
    return ("\n".join(lines) + "\n").encode()


def _of_containers(snapshot: Snapshot) -> tuple[Family, ...]:
    each = [(_labels(usage.pod, c.record.name), c) for usage in snapshot.pods for c in usage.containers]
    return (
        (
            "container_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
            [(labels, _seconds(c.usage.cpu)) for labels, c in each],
        ),
        (
            "container_memory_working_set_bytes",
            "gauge",
            "[STABLE] Current working set of the container in bytes",
            [(labels, c.usage.working_set) for labels, c in each],
        ),
        (
            "container_swap_usage_bytes",
            "gauge",
            "[STABLE] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
            [(labels, c.usage.swap) for labels, c in each],
        ),
        (
            "container_start_time_seconds",
            "gauge",
            "[STABLE] Start time of the container since unix epoch in seconds",
            [(labels, c.record.started_at / NANO) for labels, c in each],
        ),
    )


def _of_node(snapshot: Snapshot, working_set: int) -> tuple[Family, ...]:
    return (
        (
            "node_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            [({}, _seconds(snapshot.node.cpu))],
        ),
        (
            "node_memory_working_set_bytes",
            "gauge",
            "[STABLE] Current working set of the node in bytes",
            [({}, working_set)],
        ),
    )


def _of_pods(snapshot: Snapshot) -> tuple[Family, ...]:
    each = [(_labels(usage.pod), usage.usage) for usage in snapshot.pods]
    return (
        (
            "pod_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
            [(labels, _seconds(usage.cpu)) for labels, usage in each],
        ),
        (
            "pod_memory_working_set_bytes",
            "gauge",
            "[STABLE] Current working set of the pod in bytes",
            [(labels, usage.working_set) for labels, usage in each],
        ),
        (
            "pod_swap_usage_bytes",
            "gauge",
            "[STABLE] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
            [(labels, usage.swap) for labels, usage in each],
        ),
    )


def _labels(pod: pods.Pod, container: str = "") -> dict[str, str]:
    named = {"namespace": pods.namespace(pod), "pod": pods.name(pod)}
    return {"container": container, **named} if container else named


def _seconds(nanoseconds: int | None) -> float | None:
    return nanoseconds / NANO if nanoseconds is not None else None


def family_lines(name: str, kind: str, text: str, samples: Iterable[Sample], stamp: int | None) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        if value is None:
            continue
        shown = ",".join(f'{key}="{escape(text)}"' for key, text in labels.items())
        number = f"{value:.9g}" if isinstance(value, float) and value < 1e6 else repr(value)
        end = f" {stamp}" if stamp is not None else ""
        lines.append(f"{name}{{{shown}}} {number}{end}" if shown else f"{name} {number}{end}")
    return lines
