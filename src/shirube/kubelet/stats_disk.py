"""What directories and file systems hold. Walking a directory may take long: `DiskUsage` does it in a thread and
remembers the answer for a while. Never leaves a directory's own file system, never follows a link."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

from shirube.foundation.clock import Clock

_BLOCK = 512


class Used(NamedTuple):
    bytes: int
    inodes: int


class FileSystem(NamedTuple):
    capacity: int  # bytes
    available: int
    inodes: int
    inodes_free: int

    @property
    def used(self) -> int:
        return self.capacity - self.available


def file_system(path: Path | str) -> FileSystem:
    """The file system that holds `path`. Raises OSError."""
    found = os.statvfs(path)
    size = found.f_frsize
    return FileSystem(found.f_blocks * size, found.f_bavail * size, found.f_files, found.f_favail)


def measure(top: Path) -> Used:
    """Blocks and inodes at and below `top`; hard links count once. Blocking."""
    try:
        first = os.lstat(top)
    except OSError:
        return Used(0, 0)
    seen = {first.st_ino}
    size, stack = first.st_blocks * _BLOCK, [str(top)]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if found.st_dev != first.st_dev or found.st_ino in seen:
                        continue
                    seen.add(found.st_ino)
                    size += found.st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
        except OSError:
            continue  # removed while we look, or no directory
    return Used(size, len(seen))


class DiskUsage:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[Path, tuple[float, Used]] = {}

    async def of(self, path: Path, max_age: float = 60.0) -> Used:
        now = self._clock.monotonic()
        known = self._known.get(path)
        if known is not None and now - known[0] < max_age:
            return known[1]
        used = await asyncio.to_thread(measure, path)
        self._known[path] = (now, used)
        return used

    def forget_old(self, seconds: float = 600.0) -> None:
        limit = self._clock.monotonic() - seconds
        for path in [path for path, (when, _) in self._known.items() if when < limit]:
            del self._known[path]
