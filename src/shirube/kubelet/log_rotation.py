"""Keeps container logs small: 10 MiB a file, five files a container.

A full file is renamed with a timestamp and the runtime told to open a new one; older files are compressed,
the oldest deleted. Follows https://kubernetes.io/docs/concepts/cluster-administration/logging/#log-rotation.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from shirube.foundation import log
from shirube.foundation.clock import Clock
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.logs import rotated_files
from shirube.kubelet.runtime_state import Container

_logger = log.get("kubelet.logs")
MAX_BYTES = 10 * 1024 * 1024
MAX_FILES = 5
_CHECK_SECONDS = 10.0


class LogRotation:
    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        running: Callable[[], Iterable[Container]],
        max_bytes: int = MAX_BYTES,
        max_files: int = MAX_FILES,
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._running = running
        self._max_bytes = max_bytes
        self._max_files = max_files

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            await self.rotate_all()

    async def rotate_all(self) -> None:
        for container in list(self._running()):
            try:
                full = bool(container.log_path) and os.stat(container.log_path).st_size >= self._max_bytes
            except OSError:
                continue
            if full:
                try:
                    await self.rotate(container.id, Path(container.log_path))
                except (OSError, CriError) as error:
                    _logger.warning("cannot rotate log", path=container.log_path, error=str(error))

    async def rotate(self, container_id: str, path: Path) -> None:
        """Start a new file. When the runtime does not open it the old one goes back to its place."""
        await asyncio.to_thread(_make_room, path, self._max_files - 1)
        stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y%m%d-%H%M%S")
        aside = path.with_name(f"{path.name}.{stamp}")
        os.rename(path, aside)
        try:
            await self._runtime.call("ReopenContainerLog", container_id=container_id)
        except CriError:
            os.rename(aside, path)
            raise


def _make_room(path: Path, keep: int) -> None:
    """Compress what is not compressed and leave at most `keep - 1` old files: one more is coming."""
    old = rotated_files(path)
    for extra in old[: max(len(old) - (keep - 1), 0)]:
        extra.unlink(missing_ok=True)
    for file in rotated_files(path):
        if file.suffix != ".gz":
            packed = file.with_name(file.name + ".tmp")
            with file.open("rb") as source, gzip.open(packed, "wb") as target:
                shutil.copyfileobj(source, target)
            os.rename(packed, file.with_name(file.name + ".gz"))
            file.unlink()
