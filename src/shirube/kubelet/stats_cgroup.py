"""What a control group uses, on cgroup v1 and v2: processor time, memory, processes.

A few file reads of microseconds each. A group that is gone, or a controller that the kernel lacks, reads as None.
*Working set* is what cannot be reclaimed at once: usage without inactive file pages, as upstream counts it.
"""

from __future__ import annotations

import os
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
    swap: int | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """What only `/metrics/cadvisor` tells. None for what this kernel does not say."""

    cpu_user: int | None = None  # nanoseconds, as the next and throttled_time
    cpu_system: int | None = None
    periods: int | None = None
    throttled: int | None = None
    throttled_time: int | None = None
    period: int | None = None  # microseconds, as the quota
    quota: int | None = None  # None for none
    shares: int | None = None
    cache: int | None = None
    mapped_file: int | None = None
    most_memory: int | None = None
    memory_failures: int | None = None
    oom_kills: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None


_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def details(group: str, mount: Path = Path("/sys/fs/cgroup")) -> Details:
    if (mount / "cgroup.controllers").exists():
        return _unified_details(mount / group.strip("/"))
    return _separate_details(mount, group.strip("/"))


def _unified_details(directory: Path) -> Details:
    cpu, memory = _table(directory / "cpu.stat"), _table(directory / "memory.stat")
    events = _table(directory / "memory.events")
    quota, _, period = _text(directory / "cpu.max").partition(" ")
    rows = [dict(p.split("=") for p in line.split()[1:]) for line in _text(directory / "io.stat").splitlines()]

    def nano(key: str) -> int | None:
        return cpu[key] * 1000 if key in cpu else None

    return Details(
        nano("user_usec"),
        nano("system_usec"),
        cpu.get("nr_periods"),
        cpu.get("nr_throttled"),
        nano("throttled_usec"),
        int(period) if period.isdigit() else None,
        int(quota) if quota.isdigit() else None,
        _shares_of(_number(directory / "cpu.weight")),
        memory.get("file"),
        memory.get("file_mapped"),
        _number(directory / "memory.peak"),
        events.get("max"),
        events.get("oom_kill"),
        sum(int(row.get("rbytes", 0)) for row in rows) if rows else None,
        sum(int(row.get("wbytes", 0)) for row in rows) if rows else None,
    )


def _shares_of(weight: int | None) -> int | None:
    """Version 1's shares, from which runtimes make weights."""
    return None if weight is None else 2 + (weight - 1) * 262142 // 9999


def _separate_details(mount: Path, group: str) -> Details:
    cpu, memory = mount / "cpu" / group, mount / "memory" / group
    times, throttling = _table(mount / "cpuacct" / group / "cpuacct.stat"), _table(cpu / "cpu.stat")
    stat, oom = _table(memory / "memory.stat"), _table(memory / "memory.oom_control")
    quota = _number(cpu / "cpu.cfs_quota_us")
    transfers = [
        line.split() for line in _text(mount / "blkio" / group / "blkio.throttle.io_service_bytes").splitlines()
    ]

    def moved(what: str) -> int | None:
        found = [int(row[2]) for row in transfers if len(row) == 3 and row[1] == what]
        return sum(found) if found else None

    return Details(
        times["user"] * _TICK if "user" in times else None,
        times["system"] * _TICK if "system" in times else None,
        throttling.get("nr_periods"),
        throttling.get("nr_throttled"),
        throttling.get("throttled_time"),
        _number(cpu / "cpu.cfs_period_us"),
        quota if quota is not None and quota > 0 else None,
        _number(cpu / "cpu.shares"),
        stat.get("total_cache"),
        stat.get("total_mapped_file"),
        _number(memory / "memory.max_usage_in_bytes"),
        _number(memory / "memory.failcnt"),
        oom.get("oom_kill"),
        moved("Read"),
        moved("Write"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


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
        _number(directory / "memory.swap.current"),
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
        stat.get("total_swap"),
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
