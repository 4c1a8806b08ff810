"""What the kernel says of the machine's memory, in bytes: /proc/meminfo."""

from __future__ import annotations

from pathlib import Path


def read() -> dict[str, int]:
    """Bytes by the kernel's names: MemTotal, MemAvailable, SwapTotal, …; no names that count something else."""
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value.split()[0]) * 1024
    return found
