"""Nothing that a test run started outlives it, however the run ended.

What tests make outside of pytest's own folders carries the run's name, `test-<its process, seven digits>`: clusters,
network namespaces, cgroups; folders are `shirube-<name>…` in /tmp or /var/tmp; every process that they start has the
run's mark in its environment. `watch` starts a guard, a process in a session of its own that waits for the run's end,
takes away what is left of it and says so. What a guard could not (it was killed, too) `tools/run_tests.py` takes away
before it begins: only of runs whose process is gone, and only what carries such a name.

    python tests/aftermath.py             take away what dead runs left
    python tests/aftermath.py PROCESS     wait for the end of that run, then take away what it left
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MARK = "SHIRUBE_TEST_RUN"
_NAMED = re.compile(r"(?:shirube-)?test-(\d{7})(?!\d)")
_NETNS = Path("/run/netns")
_FOLDERS = (Path("/tmp"), Path("/var/tmp"))


def name_of(process: int) -> str:
    return f"test-{process:07}"


# This run's.
NAME = name_of(os.getpid())


def watch() -> subprocess.Popen[bytes]:
    """From now on what this process leaves is taken away, by the process that is returned."""
    os.environ[MARK] = str(os.getpid())
    command = [sys.executable, __file__, str(os.getpid())]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)


def _processes() -> Iterator[int]:
    yield from (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _started_by(run: int) -> list[int]:
    """Processes that carry the run's mark, or its name in what they call themselves (that hides the environment)."""
    mark, title = f"{MARK}={run}".encode(), f"shirube-supervisor {name_of(run)}".encode()
    found = []
    for process in _processes():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            folder = Path(f"/proc/{process}")
            marked = mark in (folder / "environ").read_bytes().split(b"\0")
            if process != os.getpid() and (marked or (folder / "cmdline").read_bytes().startswith(title)):
                found.append(process)
    return found


def _groups(run: int) -> list[str]:
    """The run's cgroups: our own at the top, and those of its clusters."""
    from shirube.cluster import cgroups

    here = {
        f"{parent}/{entry.name}".lstrip("/")
        for root in cgroups.all_hierarchies()
        for parent in ("", "shirube")
        if (root / parent).is_dir()
        for entry in (root / parent).iterdir()
        if entry.name.startswith(name_of(run))
    }
    return sorted(here)


def _mounts(run: int) -> list[str]:
    """Below the run's folders, the last mounted first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    ours = tuple(f"{folder}/shirube-{name_of(run)}" for folder in _FOLDERS)
    return [point for point in reversed(points) if point.startswith(ours)]


def _end_processes(run: int) -> Iterator[str]:
    """Until there are none: one may have been about to start another."""
    for _ in range(250):
        found = _started_by(run)
        if not found:
            return
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                yield f"process {process}"
        select.select([], [], [], 0.02)
    raise RuntimeError(f"cannot end processes {found} of {name_of(run)}: they ignore SIGKILL (uninterruptible sleep?)")


def take_away(run: int) -> list[str]:
    """Everything that a run left; a line for each thing."""
    from shirube.cluster import cgroups

    said = sorted(set(_end_processes(run)))
    for group in _groups(run):
        cgroups.end_processes(group, 0)
        cgroups.remove(group)
        said.append(f"cgroup {group}")
    for point in _mounts(run):
        subprocess.run(["umount", "-n", "--lazy", point], check=True)
        said.append(f"mount {point}")
    for namespace in sorted(_NETNS.glob(f"{name_of(run)}*")):
        subprocess.run(["ip", "netns", "del", namespace.name], check=True)
        said.append(f"network namespace {namespace.name}")
    for folder in _FOLDERS:
        for entry in sorted(folder.glob(f"shirube-{name_of(run)}*")):
            shutil.rmtree(entry)
            said.append(f"folder {entry}")
    return said


def dead_runs() -> set[int]:
    """Those of which there are traces, and whose process is gone."""
    from shirube.cluster import cgroups

    places = [_NETNS, *_FOLDERS, *cgroups.all_hierarchies(), *(root / "shirube" for root in cgroups.all_hierarchies())]
    names = [entry.name for place in places if place.is_dir() for entry in place.iterdir()]
    runs = {int(match[1]) for name in names if (match := _NAMED.match(name))}
    return {run for run in runs if not Path(f"/proc/{run}").exists()}


def _wait_for_end_of(process: int) -> None:
    try:
        ended = os.pidfd_open(process)
    except ProcessLookupError:
        return
    select.select([ended], [], [])


def main() -> int:
    if sys.argv[1:]:
        _wait_for_end_of(run := int(sys.argv[1]))
        runs = {run}
    else:
        runs = dead_runs()
    # One at a time: a guard and the next run may find the same.
    fcntl.flock(os.open(_FOLDERS[0], os.O_RDONLY), fcntl.LOCK_EX)
    for run in sorted(runs):
        for what in take_away(run):
            print(f"left by {name_of(run)}, taken away: {what}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
