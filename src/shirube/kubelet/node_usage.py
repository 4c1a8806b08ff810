"""What the node as a whole has left, read from the kernel and the runtime; serves the statistics API.

Memory that is available is the kernel's own estimate (`MemAvailable`): the control group at the root may be that
of a container which holds the whole node, and would then not see what else fills the machine.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from shirube.foundation import meminfo
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.node_info import MachineInfo
from shirube.kubelet.stats import NodeStats, Snapshot, image_file_system
from shirube.kubelet.stats_cadvisor import cadvisor_metrics
from shirube.kubelet.stats_disk import FileSystem, file_system
from shirube.kubelet.stats_summary import summary


def memory() -> tuple[int, int]:
    """(total, available) in bytes."""
    found = meminfo.read()
    return found["MemTotal"], found.get("MemAvailable", 0)


def pids() -> tuple[int, int]:
    """(how many there may be, how many there are): threads, as the kernel counts them."""
    most = min(int(Path("/proc/sys/kernel/pid_max").read_text()), int(Path("/proc/sys/kernel/threads-max").read_text()))
    return most, int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


class NodeUsage:
    def __init__(
        self,
        name: str,
        root: Path,
        runtime: Runtime,
        stats: NodeStats,
        configuration: dict[str, Any],
        started: float,
        machine: MachineInfo,
    ) -> None:
        self._machine = machine
        self._name = name
        self._root = root
        self._runtime = runtime
        self._configuration = configuration
        self._image_path: Path | None = None
        self._started = started
        self.stats = stats

    async def snapshot(self) -> Snapshot:
        """Processor and memory, which metrics servers ask for every few seconds: no disk is measured for them."""
        return await self.stats.snapshot(disk=False)

    async def cadvisor(self) -> bytes:
        snapshot = await self.stats.snapshot()
        return cadvisor_metrics(snapshot, self._machine, self.stats.group_of, self.stats.details)

    def working_set(self) -> int:
        total, available = memory()
        return total - available

    def configuration(self) -> dict[str, Any]:
        return {"kubeletconfig": self._configuration}

    async def summary(self, cpu_and_memory_only: bool) -> dict[str, Any]:
        snapshot = await self.stats.snapshot(disk=not cpu_and_memory_only)
        node_fs, image_fs = await self.file_systems()
        return summary(snapshot, self._name, self._started, memory(), node_fs, image_fs, pids())

    async def file_systems(self) -> tuple[FileSystem, FileSystem]:
        """The agent's (nodefs) and the images' (imagefs). Raises OSError."""
        if self._image_path is None:
            try:
                self._image_path = image_file_system(await self._runtime.call("ImageFsInfo"), self._root)
            except CriError:
                self._image_path = None
        images = self._image_path or self._root
        return await asyncio.to_thread(lambda: (file_system(self._root), file_system(images)))
