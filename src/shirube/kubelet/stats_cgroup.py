"""What a control group uses, on cgroup v1 and v2: processor time, memory, processes.

A few file reads of microseconds each. A group that is gone, or a controller that the kernel lacks, reads as None.
*Working set* is what cannot be reclaimed at once: usage without inactive file pages, as upstream counts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_UNLIMITED = 1 << 60


@dataclass(frozen=True, slots=True)
class Usage:
    cpu: int | None = None  # nanoseconds since the group was made
    memory: int | None = None  # bytes
    working_set: int | None = None
    rss: int | None = None
    page_faults: int = 0
    major_page_faults: int = 0
    limit: int | None = None  # of memory, in bytes; None for none
    processes: int | None = None


def read(group: str, mount: Path = Path("/sys/fs/cgroup")) -> Usage:
    """`group` is a path below the mount; "" or "/" is the root."""
    if (mount / "cgroup.controllers").exists():
        return _unified(mount / group.strip("/"))
    return _separate(mount, group.strip("/"))


def _unified(directory: Path) -> Usage:
    cpu = _table(directory / "cpu.stat").get("usage_usec")
    memory, stat = _number(directory / "memory.current"), _table(directory / "memory.stat")
    if memory is None:
        return Usage(cpu * 1000 if cpu is not None else None)
    return Usage(
        cpu * 1000 if cpu is not None else None,
        memory,
        max(memory - stat.get("inactive_file", 0), 0),
        stat.get("anon"),
        stat.get("pgfault", 0),
        stat.get("pgmajfault", 0),
        _limit(_number(directory / "memory.max")),
        _number(directory / "pids.current"),
    )


def _separate(mount: Path, group: str) -> Usage:
    directory = mount / "memory" / group
    cpu = _number(mount / "cpuacct" / group / "cpuacct.usage")
    memory, stat = _number(directory / "memory.usage_in_bytes"), _table(directory / "memory.stat")
    processes = _number(mount / "pids" / group / "pids.current")
    if memory is None:
        return Usage(cpu, processes=processes)
    return Usage(
        cpu,
        memory,
        max(memory - stat.get("total_inactive_file", 0), 0),
        stat.get("total_rss"),
        stat.get("total_pgfault", 0),
        stat.get("total_pgmajfault", 0),
        _limit(_number(directory / "memory.limit_in_bytes")),
        processes,
    )


def _limit(value: int | None) -> int | None:
    return value if value is not None and value < _UNLIMITED else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    try:
        rows = (line.split() for line in path.read_text().splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2}
    except (OSError, ValueError):
        return {}
