"""What the machine is: processors, memory, disk, kernel, identities. Read once when the agent starts."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shirube.foundation import meminfo

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}


@dataclass(frozen=True, slots=True)
class MachineInfo:
    cpus: int
    memory: int  # bytes
    disk: int  # bytes, of the file system that holds the agent's root
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    os_image: str
    architecture: str
    huge_pages: Mapping[int, int] = field(default_factory=dict)  # bytes of a page -> bytes of all
    swap: int = 0  # bytes


def machine_info(root_dir: Path) -> MachineInfo:
    disk = os.statvfs(root_dir)
    memory = meminfo.read()
    machine_id = _text("/etc/machine-id")
    return MachineInfo(
        cpus=len(os.sched_getaffinity(0)),
        memory=memory["MemTotal"],
        disk=disk.f_blocks * disk.f_frsize,
        machine_id=machine_id,
        system_uuid=_text("/sys/class/dmi/id/product_uuid") or machine_id,
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        os_image=_os_image(),
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        huge_pages=huge_pages(),
        swap=memory.get("SwapTotal", 0),
    )


def huge_pages(directory: Path = Path("/sys/kernel/mm/hugepages")) -> dict[int, int]:
    """Of each size that the kernel has (bytes): how many bytes of such pages were set aside."""
    found = {}
    for entry in sorted(directory.glob("hugepages-*kB")):
        size = int(entry.name.removeprefix("hugepages-").removesuffix("kB")) * 1024
        found[size] = int(_text(str(entry / "nr_hugepages")) or 0) * size
    return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return platform.system()
