"""The audit log on disk: a thread that turns records into lines and appends them to a file that it rotates.

The event loop only puts work into a queue. When the thread falls behind by `MAX_WAITING` events, requests wait
(asynchronously) in `room` until it has caught up: events are neither dropped nor kept without bound. What cannot be
written is counted and reported; the request goes on, as upstream does in its blocking mode.

A file that would grow beyond `max_size` is renamed to `NAME-TIME.EXT` and a new one begun; of old files the newest
`max_backups` that are younger than `max_age` days stay.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from shirube.foundation import log
from shirube.foundation.clock import Clock

_logger = log.get("audit")

MAX_WAITING = 10_000  # events
_BATCH = 256
_LOOK_AGAIN = 0.2  # seconds: the thread may have caught up in the very moment in which a request began to wait
_STAMP = "%Y-%m-%dT%H-%M-%S.%f"

Work = Callable[[], bytes]


class LogFile:
    """A file that is appended to and rotated. Blocking: for one thread."""

    def __init__(self, path: Path, clock: Clock, max_size: int = 100 << 20, max_backups: int = 0, max_age: int = 0):
        """`max_size` in bytes, `max_age` in days; 0: no limit to the number or age of old files."""
        self._path = path
        self._clock = clock
        self._max_size, self._max_backups, self._max_age = max_size, max_backups, max_age
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, lines: list[bytes]) -> None:
        """Raises OSError."""
        pending: list[bytes] = []
        for one in lines:
            if self._file is None:
                self._open()
            assert self._file is not None
            if self._size + len(one) > self._max_size and self._size:
                self._file.write(b"".join(pending))
                pending = []
                self._rotate()
            pending.append(one)
            self._size += len(one)
        if self._file is not None:
            self._file.write(b"".join(pending))

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(handle, "ab", buffering=0)
        self._size = os.fstat(handle).st_size

    def _rotate(self) -> None:
        self.close()
        if self._path.exists():
            stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime(_STAMP)
            stem, ending = self._path.stem, self._path.suffix
            target = self._path.with_name(f"{stem}-{stamp}{ending}")
            number = 1
            while target.exists():  # a clock that stands still
                target = self._path.with_name(f"{stem}-{stamp}.{number:03d}{ending}")
                number += 1
            os.replace(self._path, target)
        self._prune()
        self._open()

    def _prune(self) -> None:
        kept = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"), reverse=True)
        now = self._clock.now()
        for n, old in enumerate(kept):
            stale = self._max_age and now - old.stat().st_mtime > self._max_age * 86400
            if (self._max_backups and n >= self._max_backups) or stale:
                old.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Standard:
    """Standard output, for containers whose logs are collected."""

    def write(self, lines: list[bytes]) -> None:
        sys.stdout.buffer.write(b"".join(lines))
        sys.stdout.buffer.flush()

    def close(self) -> None:
        pass


class Writer:
    def __init__(self, sink: LogFile | Standard, max_waiting: int = MAX_WAITING) -> None:
        self._sink = sink
        self._max_waiting = max_waiting
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self.events = 0
        self.written = 0  # or lost: no longer in hand
        self.errors = 0

    @property
    def behind(self) -> int:
        """Events that are not yet written."""
        return self.events - self.written

    def put(self, work: Work) -> None:
        """Have `work` called in the thread and its line written. Never waits."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="audit-log", daemon=True)
            self._thread.start()
        self.events += 1
        self._work.put(work)

    async def room(self) -> None:
        """Wait while the thread is too far behind."""
        while self.behind >= self._max_waiting:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(done)
            await asyncio.wait((done,), timeout=_LOOK_AGAIN)

    def _run(self) -> None:
        failing = False
        ended = False
        while not ended:
            lines: list[bytes] = []
            done = 0
            work = self._work.get()
            while True:
                if work is None:
                    ended = True
                    break
                done += 1
                try:
                    lines.append(work())
                except Exception as error:
                    self.errors += 1
                    _logger.error("cannot make an audit event", error=repr(error))
                if len(lines) >= _BATCH or self._work.empty():
                    break
                work = self._work.get()
            try:
                self._sink.write(lines)
                failing = False
            except OSError as error:
                self.errors += len(lines)
                if not failing:
                    _logger.error("cannot write the audit log", error=str(error), lost=len(lines))
                failing = True
                self._sink.close()
            self.written += done
            if self._waiting and self.behind <= self._max_waiting // 2 and self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake)
        self._sink.close()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            if not done.done():
                done.set_result(None)

    async def close(self) -> None:
        """Write what is there, then end."""
        if self._thread is not None:
            self._work.put(None)
            await asyncio.to_thread(self._thread.join, 10.0)
            self._thread = None
            self._wake()
