"""`/stats/summary`: a snapshot in the form of upstream's `stats/v1alpha1` Summary. Pure."""

from __future__ import annotations

from typing import Any

from shirube.foundation.clock import rfc3339
from shirube.kubelet import pod as pods
from shirube.kubelet.runtime_state import NANO
from shirube.kubelet.stats import ContainerUsage, PodUsage, Snapshot
from shirube.kubelet.stats_cgroup import Usage
from shirube.kubelet.stats_disk import FileSystem, Used

Json = dict[str, Any]


def summary(
    snapshot: Snapshot,
    node_name: str,
    started: float,
    memory: tuple[int, int],
    node_fs: FileSystem,
    image_fs: FileSystem,
    pids: tuple[int, int],
) -> Json:
    """`memory` is the node's (total, available) in bytes, `pids` its (most, running)."""
    time = rfc3339(snapshot.at)
    total, available = memory
    node_memory = _memory(snapshot.node, time)
    # The root group does not tell all on cgroup v2; the kernel's own account does.
    node_memory |= {"availableBytes": available, "workingSetBytes": total - available}
    node_memory.setdefault("usageBytes", total - available)
    return {
        "node": {
            "nodeName": node_name,
            "startTime": rfc3339(started),
            "cpu": _cpu(snapshot.node, snapshot.node_rate, time),
            "memory": node_memory,
            "fs": _file_system(node_fs, time),
            "runtime": {"imageFs": _file_system(image_fs, time), "containerFs": _file_system(image_fs, time)},
            "rlimit": {"time": time, "maxpid": pids[0], "curproc": pids[1]},
            "systemContainers": [
                {
                    "name": "pods",
                    "startTime": rfc3339(started),
                    "cpu": _cpu(snapshot.pods_group, None, time),
                    "memory": _memory(snapshot.pods_group, time),
                }
            ],
        },
        "pods": [_pod(usage, time, node_fs, image_fs) for usage in snapshot.pods],
    }


def _pod(usage: PodUsage, time: str, node_fs: FileSystem, image_fs: FileSystem) -> Json:
    pod = usage.pod
    found: Json = {
        "podRef": {"name": pods.name(pod), "namespace": pods.namespace(pod), "uid": pods.uid(pod)},
        "startTime": (pod.get("status") or {}).get("startTime") or time,
        "containers": [_container(each, time, node_fs, image_fs) for each in usage.containers],
        "cpu": _cpu(usage.usage, usage.rate, time),
        "memory": _memory(usage.usage, time),
        "volume": [{"name": name, **_part(used, node_fs, time)} for name, used in usage.volumes.items()],
        "ephemeral-storage": _part(usage.disk, node_fs, time),
        "process_stats": {"process_count": usage.usage.processes or 0},
    }
    if usage.network is not None and usage.network.HasField("default_interface"):
        main = usage.network.default_interface
        interface = {
            "name": main.name,
            "rxBytes": main.rx_bytes.value,
            "rxErrors": main.rx_errors.value,
            "txBytes": main.tx_bytes.value,
            "txErrors": main.tx_errors.value,
        }
        found["network"] = {"time": time, **interface, "interfaces": [interface]}
    return found


def _container(usage: ContainerUsage, time: str, node_fs: FileSystem, image_fs: FileSystem) -> Json:
    return {
        "name": usage.record.name,
        "startTime": rfc3339(usage.record.started_at / NANO),
        "cpu": _cpu(usage.usage, usage.rate, time),
        "memory": _memory(usage.usage, time),
        "rootfs": _part(usage.layer, image_fs, time),
        "logs": _part(usage.logs, node_fs, time),
    }


def _cpu(usage: Usage, rate: int | None, time: str) -> Json:
    found: Json = {"time": time}
    if rate is not None:
        found["usageNanoCores"] = rate
    if usage.cpu is not None:
        found["usageCoreNanoSeconds"] = usage.cpu
    return found


def _memory(usage: Usage, time: str) -> Json:
    found: Json = {"time": time}
    if usage.memory is None:
        return found
    working = usage.working_set or 0
    if usage.limit is not None:
        found["availableBytes"] = max(usage.limit - working, 0)
    return found | {
        "usageBytes": usage.memory,
        "workingSetBytes": working,
        "rssBytes": usage.rss or 0,
        "pageFaults": usage.page_faults,
        "majorPageFaults": usage.major_page_faults,
    }


def _file_system(found: FileSystem, time: str) -> Json:
    return {
        "time": time,
        "availableBytes": found.available,
        "capacityBytes": found.capacity,
        "usedBytes": found.used,
        "inodesFree": found.inodes_free,
        "inodes": found.inodes,
        "inodesUsed": found.inodes - found.inodes_free,
    }


def _part(used: Used, of: FileSystem, time: str) -> Json:
    """What something takes of a file system."""
    return _file_system(of, time) | {"usedBytes": used.bytes, "inodesUsed": used.inodes}
