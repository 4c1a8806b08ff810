"""The kernel killing a process because the whole machine is out of memory: an event about the node.

Read from the kernel's log, `/dev/kmsg`, from now on; only records of the kernel itself count, which nobody else can
write. Kills inside one container's limit are that container's business (reason OOMKilled). Where the log may not be
read there are no such events, and nothing else depends on them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shirube.foundation import log

_logger = log.get("kubelet.oom")
_RECORD = 8192
_KILL = re.compile(rb"oom-kill:constraint=(\w+),.*\btask=(.*),pid=(\d+),uid=\d+\s*$")
_WHOLE_MACHINE = (b"CONSTRAINT_NONE", b"CONSTRAINT_CPUSET", b"CONSTRAINT_MEMORY_POLICY")


class Victim(NamedTuple):
    process: str
    pid: int


def victim(record: bytes) -> Victim | None:
    """Of one record of /dev/kmsg: whom the kernel killed for lack of memory of the machine; None for all else."""
    head, _, text = record.partition(b";")
    priority = head.split(b",", 1)[0]
    # The facility is above the three bits of the level; 0 is the kernel.
    if not priority.isdigit() or int(priority) >> 3 != 0:
        return None
    found = _KILL.search(text.split(b"\n", 1)[0])
    if found is None or found[1] not in _WHOLE_MACHINE:
        return None
    return Victim(found[2].decode(errors="replace"), int(found[3]))


class SystemOom:
    def __init__(self, tell: Callable[[str, str, str], None], path: Path = Path("/dev/kmsg")) -> None:
        """`tell(type, reason, message)` records an event about the node."""
        self._tell = tell
        self._path = path

    async def run(self) -> None:
        """Until cancelled."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            _logger.info("the kernel's log cannot be read: no events of system OOM", error=str(error))
            return
        loop = asyncio.get_running_loop()
        try:
            with contextlib.suppress(OSError):
                os.lseek(fd, 0, os.SEEK_END)
            loop.add_reader(fd, self._read, fd)
            await asyncio.Event().wait()
        finally:
            loop.remove_reader(fd)
            os.close(fd)

    def _read(self, fd: int) -> None:
        while True:
            try:
                record = os.read(fd, _RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # records were overwritten before they were read
            except OSError as error:
                _logger.warning("cannot read the kernel's log any more", error=str(error))
                asyncio.get_running_loop().remove_reader(fd)
                return
            if not record:
                return
            if (killed := victim(record)) is not None:
                message = f"System OOM encountered, victim process: {killed.process}, pid: {killed.pid}"
                self._tell("Warning", "SystemOOM", message)
