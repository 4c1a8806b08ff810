"""What the node, its pods and their containers use: one snapshot, from which every form is made.

Processor and memory come from the control groups; writable layers and networks from the runtime; logs and volumes
are measured on the disk, at most once a minute. `stats_summary` and `stats_metrics` turn a snapshot into what
clients read; the eviction loop ranks pods by it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shirube.kubelet import pod as pods
from shirube.kubelet import stats_cgroup
from shirube.kubelet.cgroups import Cgroups
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.paths import Paths
from shirube.kubelet.pod_registry import PodRegistry
from shirube.kubelet.runtime_state import Container, PodRuntime
from shirube.kubelet.stats_cgroup import Usage
from shirube.kubelet.stats_disk import DiskUsage, Used
from shirube.kubelet.volumes.table import volume_type

# Volumes whose space is the node's own.
LOCAL_VOLUMES = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "downwardAPI": "downward-api",
    "projected": "projected",
}
_RATE_SECONDS = 1.0  # below it two samples say nothing


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    record: Container
    usage: Usage
    rate: int | None  # nanocores
    layer: Used
    logs: Used


@dataclass(frozen=True, slots=True)
class PodUsage:
    pod: pods.Pod
    usage: Usage
    rate: int | None
    containers: tuple[ContainerUsage, ...] = ()
    volumes: Mapping[str, Used] = field(default_factory=dict)  # local ones, by name
    network: Any = None  # CRI `NetworkUsage`

    @property
    def disk(self) -> Used:
        """Writable layers, logs and local volumes that are not in memory."""
        parts = [part for c in self.containers for part in (c.layer, c.logs)]
        parts += [used for name, used in self.volumes.items() if name in _on_disk(self.pod)]
        return Used(sum(part.bytes for part in parts), sum(part.inodes for part in parts))


def _on_disk(pod: pods.Pod) -> set[str]:
    found = pod["spec"].get("volumes") or ()
    return {v["name"] for v in found if (v.get("emptyDir") or {}).get("medium", "") == ""}


@dataclass(frozen=True, slots=True)
class Snapshot:
    at: float  # seconds since the epoch
    node: Usage
    node_rate: int | None
    pods_group: Usage
    pods: tuple[PodUsage, ...]


class Clockwork(Protocol):
    """`foundation.clock.Clock`."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...


class NodeStats:
    def __init__(
        self,
        registry: PodRegistry,
        runtime: Runtime,
        cgroups: Cgroups,
        paths: Paths,
        disk: DiskUsage,
        clock: Clockwork,
    ) -> None:
        self._registry = registry
        self._runtime = runtime
        self._cgroups = cgroups
        self._paths = paths
        self._disk = disk
        self._clock = clock
        self._samples: dict[str, tuple[float, int, int | None]] = {}  # group -> (when, nanoseconds, rate)

    async def snapshot(self, *, disk: bool = True, max_age: float = 60.0) -> Snapshot:
        """Everything as it is now. Without `disk` nothing is measured that the control groups do not tell."""
        layers = await self._layers() if disk else {}
        found = []
        for pod in self._registry.list():
            worker = self._registry.worker_of(pods.uid(pod))
            if worker is None or not worker.runtime.sandboxes:
                continue
            found.append(await self._pod(pod, worker.runtime, layers, disk, max_age))
        self._forget(found)
        node, rate = self._group("")
        below, _ = self._group(self._cgroups.root)
        return Snapshot(self._clock.now(), node, rate, below, tuple(found))

    def group_of(self, pod: pods.Pod) -> str:
        return self._cgroups.pod_path(pod)

    def details(self, group: str) -> stats_cgroup.Details:
        return stats_cgroup.details(group, self._cgroups.mount)

    def _group(self, group: str) -> tuple[Usage, int | None]:
        usage = stats_cgroup.read(group, self._cgroups.mount)
        if usage.cpu is None:
            return usage, None
        now, before = self._clock.monotonic(), self._samples.get(group)
        rate = before[2] if before is not None else None
        if before is not None and now - before[0] >= _RATE_SECONDS:
            rate = max(int((usage.cpu - before[1]) / (now - before[0])), 0)
        if before is None or now - before[0] >= _RATE_SECONDS:
            self._samples[group] = (now, usage.cpu, rate)
        return usage, rate

    async def _pod(
        self,
        pod: pods.Pod,
        runtime: PodRuntime,
        layers: Mapping[str, Used],
        disk: bool,
        max_age: float,
    ) -> PodUsage:
        group = self._cgroups.pod_path(pod)
        usage, rate = self._group(group)
        containers = []
        for record in runtime.running():
            mine, my_rate = self._group(f"{group}/{record.id}")
            logs = Used(0, 0)
            if disk:
                logs = await self._disk.of(self._paths.pod_logs(pod) / record.name, max_age)
            containers.append(ContainerUsage(record, mine, my_rate, layers.get(record.id, Used(0, 0)), logs))
        volumes = await self._volumes(pod, max_age) if disk else {}
        network = await self._network(runtime) if disk else None
        return PodUsage(pod, usage, rate, tuple(containers), volumes, network)

    async def _volumes(self, pod: pods.Pod, max_age: float) -> dict[str, Used]:
        found = {}
        for volume in pod["spec"].get("volumes") or ():
            if (plugin := LOCAL_VOLUMES.get(volume_type(volume))) is not None:
                path = self._paths.volume(pods.uid(pod), f"kubernetes.io/{plugin}", volume["name"])
                found[volume["name"]] = await self._disk.of(path, max_age)
        return found

    async def _layers(self) -> dict[str, Used]:
        """Writable layers by container ID; nothing of what the runtime cannot tell."""
        layers: dict[str, Used] = {}
        # containerd fails the whole list when a container ends meanwhile; the next one is complete.
        with contextlib.suppress(CriError):
            for stats in (await self._runtime.call("ListContainerStats")).stats:
                layer = stats.writable_layer
                layers[stats.attributes.id] = Used(layer.used_bytes.value, layer.inodes_used.value)
        return layers

    async def _network(self, runtime: PodRuntime) -> Any:
        """What has gone over a running pod's interfaces, as CRI's `NetworkUsage`.

        Asked for each pod: containerd's list of all fails for as long as the sandbox of a pod that has ended is there.
        """
        if runtime.sandbox is None or not runtime.sandbox.ready:
            return None
        try:
            answer = await self._runtime.call("PodSandboxStats", pod_sandbox_id=runtime.sandbox.id)
        except CriError:
            return None  # it ends just now, or the runtime cannot tell: clients see no network
        return answer.stats.linux.network

    def _forget(self, found: list[PodUsage]) -> None:
        alive = {"", self._cgroups.root}
        for usage in found:
            group = self._cgroups.pod_path(usage.pod)
            alive.add(group)
            alive.update(f"{group}/{c.record.id}" for c in usage.containers)
        for gone in self._samples.keys() - alive:
            del self._samples[gone]


def image_file_system(answer: Any, otherwise: Path) -> Path:
    """Where images are, from CRI's `ImageFsInfo`."""
    for known in answer.image_filesystems:
        if known.fs_id.mountpoint:
            return Path(known.fs_id.mountpoint)
    return otherwise
