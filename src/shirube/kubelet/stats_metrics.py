"""`/metrics/resource` (what metrics-server reads for `kubectl top`) and `/metrics/cadvisor`, of a snapshot. Pure.

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
    containers = [(_labels(usage.pod, c.record.name), c) for usage in snapshot.pods for c in usage.containers]
    by_pod = [(_labels(usage.pod), usage) for usage in snapshot.pods]
    stamp = int(snapshot.at * 1000)
    counter, gauge = "counter", "gauge"
    families: tuple[Family, ...] = (
        (
            "container_cpu_usage_seconds_total",
            counter,
            "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
            [(labels, _seconds(c.usage.cpu)) for labels, c in containers],
        ),
        (
            "container_memory_working_set_bytes",
            gauge,
            "[STABLE] Current working set of the container in bytes",
            [(labels, c.usage.working_set) for labels, c in containers],
        ),
        (
            "container_start_time_seconds",
            gauge,
            "[STABLE] Start time of the container since unix epoch in seconds",
            [(labels, c.record.started_at / NANO) for labels, c in containers],
        ),
        (
            "node_cpu_usage_seconds_total",
            counter,
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            [({}, _seconds(snapshot.node.cpu))],
        ),
        (
            "node_memory_working_set_bytes",
            gauge,
            "[STABLE] Current working set of the node in bytes",
            [({}, node_working_set)],
        ),
        (
            "pod_cpu_usage_seconds_total",
            counter,
            "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
            [(labels, _seconds(usage.usage.cpu)) for labels, usage in by_pod],
        ),
        (
            "pod_memory_working_set_bytes",
            gauge,
            "[STABLE] Current working set of the pod in bytes",
            [(labels, usage.usage.working_set) for labels, usage in by_pod],
        ),
    )
    lines = [line for family in families for line in _family(*family, stamp)]
    lines += _family("resource_scrape_error", gauge, "[STABLE] 1 if there was an error", [({}, 0)], None)
    return ("\n".join(lines) + "\n").encode()


def cadvisor_metrics(snapshot: Snapshot) -> bytes:
    stamp = int(snapshot.at * 1000)
    rows = []
    for usage in snapshot.pods:
        for each in usage.containers:
            more = {"id": each.record.id, "image": each.record.image, "name": each.record.id}
            rows.append(({**_labels(usage.pod, each.record.name), **more}, each))
    families: tuple[Family, ...] = (
        (
            "container_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed in seconds.",
            [({**labels, "cpu": "total"}, _seconds(c.usage.cpu)) for labels, c in rows],
        ),
        (
            "container_memory_usage_bytes",
            "gauge",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
            [(labels, c.usage.memory) for labels, c in rows],
        ),
        (
            "container_memory_working_set_bytes",
            "gauge",
            "Current working set in bytes.",
            [(labels, c.usage.working_set) for labels, c in rows],
        ),
        (
            "container_memory_rss",
            "gauge",
            "Size of RSS in bytes.",
            [(labels, c.usage.rss) for labels, c in rows],
        ),
        (
            "container_fs_usage_bytes",
            "gauge",
            "Number of bytes that are consumed by the container on this filesystem.",
            [(labels, c.layer.bytes) for labels, c in rows],
        ),
        (
            "container_processes",
            "gauge",
            "Number of processes running inside the container.",
            [(labels, c.usage.processes) for labels, c in rows],
        ),
    )
    lines = [line for family in families for line in _family(*family, stamp)]
    return ("\n".join(lines) + "\n").encode()


def _labels(pod: pods.Pod, container: str = "") -> dict[str, str]:
    named = {"namespace": pods.namespace(pod), "pod": pods.name(pod)}
    return {"container": container, **named} if container else named


def _seconds(nanoseconds: int | None) -> float | None:
    return nanoseconds / NANO if nanoseconds is not None else None


def _family(name: str, kind: str, text: str, samples: Iterable[Sample], stamp: int | None) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        if value is None:
            continue
        shown = ",".join(f'{key}="{escape(text)}"' for key, text in labels.items())
        number = f"{value:.9g}" if isinstance(value, float) and value < 1e6 else repr(value)
        end = f" {stamp}" if stamp is not None else ""
        lines.append(f"{name}{{{shown}}} {number}{end}" if shown else f"{name} {number}{end}")
    return lines
