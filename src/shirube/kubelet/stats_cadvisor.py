"""`/metrics/cadvisor`: containers, pods and the machine under cAdvisor's names, which dashboards and alerts ask for.
Pure.

Rows of a pod as a whole have empty `container`, `image` and `name`; its network belongs to it, with an `interface`.
What a kernel's control groups do not tell is left out. Names and help texts are cAdvisor's:
https://github.com/google/cadvisor/blob/master/docs/storage/prometheus.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from shirube.kubelet import pod as pods
from shirube.kubelet.node_info import MachineInfo
from shirube.kubelet.runtime_state import NANO
from shirube.kubelet.stats import PodUsage, Snapshot
from shirube.kubelet.stats_cgroup import Details, Usage
from shirube.kubelet.stats_disk import Used
from shirube.kubelet.stats_metrics import Family, Sample, family_lines

Labels = dict[str, str]


class Row(NamedTuple):
    labels: Labels
    usage: Usage
    details: Details
    layer: Used | None
    started: float


def cadvisor_metrics(
    snapshot: Snapshot, machine: MachineInfo, group_of: Callable[[Any], str], read: Callable[[str], Details]
) -> bytes:
    """`group_of(pod)` is a pod's control group, `read(group)` what that tells beyond the snapshot."""
    rows = [row for usage in snapshot.pods for row in _rows(usage, group_of(usage.pod), read)]
    rows.append(Row(_labels("/"), snapshot.node, read(""), None, 0.0))
    families = [
        *(_of_rows(rows, *known) for known in _CONTAINERS),
        _per_cpu(rows),
        *(_network(snapshot, group_of, *known) for known in _NETWORK),
    ]
    stamp = int(snapshot.at * 1000)
    seen: list[Sample] = [(row.labels, snapshot.at) for row in rows]
    lines = [line for family in families for line in family_lines(*family, stamp)]
    lines += family_lines("container_last_seen", "gauge", "Last time a container was seen by the exporter", seen, stamp)
    ids = {"boot_id": machine.boot_id, "machine_id": machine.machine_id, "system_uuid": machine.system_uuid}
    lines += family_lines("machine_cpu_cores", "gauge", "Number of logical CPU cores.", [(ids, machine.cpus)], None)
    lines += family_lines(
        "machine_memory_bytes", "gauge", "Amount of memory installed on the machine.", [(ids, machine.memory)], None
    )
    return ("\n".join(lines) + "\n").encode()


def _labels(group: str, pod: pods.Pod | None = None, container: str = "", image: str = "", name: str = "") -> Labels:
    where = (
        {"namespace": pods.namespace(pod), "pod": pods.name(pod)} if pod is not None else {"namespace": "", "pod": ""}
    )
    return {"container": container, "id": group, "image": image, "name": name, **where}


def _rows(usage: PodUsage, group: str, read: Callable[[str], Details]) -> list[Row]:
    found = [Row(_labels(group, usage.pod), usage.usage, read(group), None, 0.0)]
    for each in usage.containers:
        record, own = each.record, f"{group}/{each.record.id}"
        labels = _labels(own, usage.pod, record.name, record.image, record.id)
        found.append(Row(labels, each.usage, read(own), each.layer, record.started_at / NANO))
    return found


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / NANO


_C, _G = "counter", "gauge"
_CONTAINERS: tuple[tuple[str, str, str, Callable[[Row], float | int | None]], ...] = (
    (
        "container_cpu_user_seconds_total",
        _C,
        "Cumulative user cpu time consumed in seconds.",
        lambda r: _seconds(r.details.cpu_user),
    ),
    (
        "container_cpu_system_seconds_total",
        _C,
        "Cumulative system cpu time consumed in seconds.",
        lambda r: _seconds(r.details.cpu_system),
    ),
    (
        "container_cpu_cfs_periods_total",
        _C,
        "Number of elapsed enforcement period intervals.",
        lambda r: r.details.periods if r.details.quota else None,
    ),
    (
        "container_cpu_cfs_throttled_periods_total",
        _C,
        "Number of throttled period intervals.",
        lambda r: r.details.throttled if r.details.quota else None,
    ),
    (
        "container_cpu_cfs_throttled_seconds_total",
        _C,
        "Total time duration the container has been throttled.",
        lambda r: _seconds(r.details.throttled_time) if r.details.quota else None,
    ),
    (
        "container_memory_usage_bytes",
        _G,
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        lambda r: r.usage.memory,
    ),
    ("container_memory_working_set_bytes", _G, "Current working set in bytes.", lambda r: r.usage.working_set),
    ("container_memory_rss", _G, "Size of RSS in bytes.", lambda r: r.usage.rss),
    ("container_memory_cache", _G, "Number of bytes of page cache memory.", lambda r: r.details.cache),
    ("container_memory_mapped_file", _G, "Size of memory mapped files in bytes.", lambda r: r.details.mapped_file),
    ("container_memory_swap", _G, "Container swap usage in bytes.", lambda r: r.usage.swap),
    ("container_memory_max_usage_bytes", _G, "Maximum memory usage recorded in bytes", lambda r: r.details.most_memory),
    ("container_memory_failcnt", _C, "Number of memory usage hits limits", lambda r: r.details.memory_failures),
    (
        "container_oom_events_total",
        _C,
        "Count of out of memory events observed for the container",
        lambda r: r.details.oom_kills,
    ),
    (
        "container_fs_usage_bytes",
        _G,
        "Number of bytes that are consumed by the container on this filesystem.",
        lambda r: r.layer.bytes if r.layer else None,
    ),
    ("container_fs_inodes_total", _G, "Number of Inodes", lambda r: r.layer.inodes if r.layer else None),
    ("container_fs_reads_bytes_total", _C, "Cumulative count of bytes read", lambda r: r.details.read_bytes),
    ("container_fs_writes_bytes_total", _C, "Cumulative count of bytes written", lambda r: r.details.written_bytes),
    ("container_processes", _G, "Number of processes running inside the container.", lambda r: r.usage.processes),
    ("container_spec_cpu_period", _G, "CPU period of the container.", lambda r: r.details.period),
    ("container_spec_cpu_quota", _G, "CPU quota of the container.", lambda r: r.details.quota),
    ("container_spec_cpu_shares", _G, "CPU share of the container.", lambda r: r.details.shares),
    ("container_spec_memory_limit_bytes", _G, "Memory limit for the container.", lambda r: r.usage.limit or 0),
    (
        "container_start_time_seconds",
        _G,
        "Start time of the container since unix epoch in seconds.",
        lambda r: r.started or None,
    ),
)
_NETWORK = (
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", "rx_bytes"),
    ("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", "rx_errors"),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", "tx_bytes"),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        "tx_errors",
    ),
)


def _of_rows(rows: list[Row], name: str, kind: str, text: str, value: Callable[[Row], float | int | None]) -> Family:
    return name, kind, text, [(row.labels, value(row)) for row in rows]


def _per_cpu(rows: list[Row]) -> Family:
    samples: list[Sample] = [({**row.labels, "cpu": "total"}, _seconds(row.usage.cpu)) for row in rows]
    return "container_cpu_usage_seconds_total", _C, "Cumulative cpu time consumed in seconds.", samples


def _network(snapshot: Snapshot, group_of: Callable[[Any], str], name: str, text: str, field: str) -> Family:
    samples: list[Sample] = []
    for usage in snapshot.pods:
        if usage.network is None or not usage.network.HasField("default_interface"):
            continue
        for interface in (usage.network.default_interface, *usage.network.interfaces):
            labels = {**_labels(group_of(usage.pod), usage.pod), "interface": interface.name}
            samples.append((labels, getattr(interface, field).value))
    return name, _C, text, samples
