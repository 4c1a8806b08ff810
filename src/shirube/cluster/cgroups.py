"""The cluster's cgroup subtree, `/shirube/CLUSTER/…`, on cgroup v1 hierarchies or the v2 tree.

Every process of a cluster (components, containerd, shims, containers) is in it: `down` finds and ends them all here,
whatever became of their parents.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from functools import cache
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_ATTEMPTS = 100
# What is said of a group that another cluster, of which it was the last, takes away while it is looked at.
_TAKEN_AWAY = (errno.ENOENT, errno.EEXIST, errno.ENODEV)
# What v2 must delegate to children for pods to be limited.
_V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")


@cache
def hierarchies() -> tuple[Path, ...]:
    """The mount points to make a group in: the one v2 tree, or each v1 hierarchy (named and empty ones left out)."""
    if (_ROOT / "cgroup.controllers").exists():
        return (_ROOT,)
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup" and "name=" not in options and where.startswith(str(_ROOT)):
            found.append(Path(where))
    return tuple(dict.fromkeys(found))


@cache
def all_hierarchies() -> tuple[Path, ...]:
    """Every mounted hierarchy, also named ones and an empty v2 tree beside v1: runtimes make groups there too."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, _ = line.split()[:4]
        if kind in ("cgroup", "cgroup2") and where.startswith(str(_ROOT)):
            found.append(Path(where))
    return tuple(dict.fromkeys(found))


def is_v2() -> bool:
    return hierarchies() == (_ROOT,)


def create(group: str) -> None:
    """Make `group` (and its parents) in every hierarchy, ready for processes and, on v2, for limits below."""
    for root in hierarchies():
        for attempt in range(_ATTEMPTS):
            try:
                _create_below(root, group.strip("/").split("/"))
                break
            except OSError as error:
                if error.errno not in _TAKEN_AWAY or attempt == _ATTEMPTS - 1:
                    raise


def _create_below(root: Path, parts: list[str]) -> None:
    here = root
    for part in parts:
        if is_v2():
            _delegate(here)
        here = here / part
        here.mkdir(exist_ok=True)
        if (here / "cpuset.cpus").exists() and not is_v2():
            _inherit_cpuset(here)


def _delegate(parent: Path) -> None:
    available = (parent / "cgroup.controllers").read_text().split()
    for controller in _V2_CONTROLLERS:
        if controller in available:
            with contextlib.suppress(OSError):  # EBUSY where the parent itself holds processes: limits are then its own
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(here: Path) -> None:
    # A v1 cpuset starts empty and takes no process until it is filled.
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (here / name).read_text().strip():
            (here / name).write_text((here.parent / name).read_text().strip())


def join(group: str, pid: int) -> None:
    for root in hierarchies():
        (root / group.strip("/") / "cgroup.procs").write_text(str(pid))


def processes(group: str) -> set[int]:
    """Every process in the group or below it."""
    found: set[int] = set()
    for root in all_hierarchies():
        top = root / group.strip("/")
        for directory, _, _ in os.walk(top):
            with contextlib.suppress(OSError):  # gone while we looked
                found.update(int(p) for p in (Path(directory) / "cgroup.procs").read_text().split())
    return found


def end_processes(group: str, grace: float) -> None:
    """SIGTERM to every process in the group, SIGKILL to those left after `grace` seconds; returns when none is left."""
    deadline = time.monotonic() + grace
    _signal(processes(group), signal.SIGTERM)
    while (left := processes(group)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(200):
        if not left:
            return
        _signal(left, signal.SIGKILL)
        time.sleep(0.05)
        left = processes(group)
    raise RuntimeError(
        f"cannot end processes {sorted(left)} of cgroup {group}: they ignore SIGKILL (uninterruptible sleep?)"
    )


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def remove(group: str) -> None:
    """Remove the group and everything below it. All its processes must have ended."""
    for root in all_hierarchies():
        top = root / group.strip("/")
        for directory, _, _ in os.walk(top, topdown=False):
            _rmdir(Path(directory))
        _rmdir_if_empty(top.parent, root)


def _rmdir(directory: Path) -> None:
    for _ in range(_ATTEMPTS):
        try:
            directory.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:  # EBUSY for a moment after the last process was reaped
            time.sleep(0.02)
    raise RuntimeError(f"cannot remove cgroup {directory}: still busy")


def _rmdir_if_empty(directory: Path, root: Path) -> None:
    """Other clusters may be making groups in it, or be about to remove it, too."""
    if directory == root:
        return
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            if any(d.is_dir() for d in directory.iterdir()):
                return
            with contextlib.suppress(OSError):  # EBUSY for a moment after the last group in it was removed
                directory.rmdir()
        if not directory.exists():
            return
        time.sleep(0.02)
