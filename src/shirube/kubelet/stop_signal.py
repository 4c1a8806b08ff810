"""A container's own stop signal, sent by the agent: runtimes before CRI 1.33 drop the field without a word.

The container's first process is the one of its control group whose parent is not in the group; a signal to it is
what the runtime would have sent. Works whatever PID namespace the container has.
Follows KEP-4960, https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#stop-signals.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

_REAL_TIME = re.compile(r"SIGRTM(IN|AX)(?:(PLUS|MINUS)(\d+))?")


def number(name: str) -> int | None:
    """The signal's number; None when there is no signal of that name."""
    if found := _REAL_TIME.fullmatch(name):
        base = signal.SIGRTMIN if found[1] == "IN" else signal.SIGRTMAX
        distance = int(found[3] or 0)
        return base + distance if found[2] != "MINUS" else base - distance
    with contextlib.suppress(KeyError):
        return int(signal.Signals[name])
    return None


def first_process(pids: Iterable[int], parents: Mapping[int, int] | None = None) -> int | None:
    """The process from which the others of a container come; None when there are none."""
    found = set(pids)
    known = {pid: _parent(pid) for pid in found} if parents is None else parents
    tops = [pid for pid in sorted(found) if known.get(pid, 0) not in found]
    # A process that was put in by exec has a parent outside too, but began later.
    return min(tops, key=lambda pid: (_started(pid), pid), default=None)


def send(pids: Iterable[int], signal_name: str) -> bool:
    """Signal the container that these processes are; whether it was sent."""
    wanted, pid = number(signal_name), first_process(pids)
    if wanted is None or pid is None:
        return False
    try:
        os.kill(pid, wanted)
    except ProcessLookupError:
        return False
    return True


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _started(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[19]) if fields else 0
