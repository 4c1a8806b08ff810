"""The commit thread: the only writer of the SQLite file.

It takes everything that waits, writes it with one transaction (usually one INSERT statement of many rows, which
also keeps hand-overs of the interpreter lock per commit few) and reports the group to the event loop after the
fsync. While it is in the fsync, the next group gathers behind it. Commits of one turn of the event loop are handed
over together: each hand-over wakes the thread, which then asks for the interpreter lock.

Commits carry the epoch in which their compares were checked. When a group fails, so does everything behind it of
the same epoch, because it was checked against writes that never happened; the loop then begins a new epoch.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from shirube.foundation import log
from shirube.foundation.clock import Clock
from shirube.storage.sqlite_checkpoint import Checkpoints
from shirube.storage.sqlite_file import STATEMENT_ROWS, explain, roll_back
from shirube.storage.types import Event, StorageError

_logger = log.get("storage")

_GROUP_ROWS = 512
_GROUP_BYTES = 8 << 20
_SLOW_SECONDS = 1.0
_COMPLAIN_SECONDS = 5.0
_INSERT = "INSERT INTO history (id, key, create_revision, deleted, value) VALUES "
_STATEMENTS = [""] + [_INSERT + ",".join(["(?,?,?,?,?)"] * n) for n in range(1, STATEMENT_ROWS + 1)]
_COLUMNS = 5


class Commit:
    """One commit on its way to the disk. `row` is flat: five columns for each operation.

    A commit without rows is a reader of the outcome of those before it.
    """

    __slots__ = ("done", "epoch", "events", "revision", "row", "size")

    def __init__(
        self, epoch: int, revision: int, row: list[Any], events: list[Event], size: int, done: asyncio.Future[int]
    ) -> None:
        self.epoch = epoch
        self.revision = revision
        self.row = row
        self.events = events
        self.size = size
        self.done = done


class Publish(Protocol):
    """Called on the event loop, in order, with every group and its failure if it failed."""

    def __call__(self, group: list[Commit], error: StorageError | None, /) -> None: ...


class Job:
    """Other work that needs the writing connection: a slice of compaction, the rest of a checkpoint. Without `done`
    nobody waits for it, and it does not fail."""

    __slots__ = ("done", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], None], done: asyncio.Future[None] | None) -> None:
        self.work = work
        self.done = done


class Writer:
    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        publish: Publish,
    ) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._loop = loop
        self._publish = publish
        self._queue: queue.SimpleQueue[list[Commit] | Job | None] = queue.SimpleQueue()
        self._gathered: list[Commit] = []  # in this turn of the loop
        self._failed_epoch = -1
        self._failure: StorageError | None = None
        self._complained = -_COMPLAIN_SECONDS
        self._failed_writes = 0
        self._checkpoints = Checkpoints(path, lambda work: self._queue.put(Job(work, None)))
        self._thread = threading.Thread(target=self._run, name="shirube-commit", daemon=True)
        self._thread.start()

    def submit(self, commit: Commit) -> None:
        if not self._gathered:
            self._loop.call_soon(self.hand_over)
        self._gathered.append(commit)

    def hand_over(self) -> None:
        """What was submitted so far goes to the thread now. On the event loop."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._queue.put(gathered)

    async def run(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Run `work` between two groups. Raises StorageError."""
        done = self._loop.create_future()
        self.hand_over()
        self._queue.put(Job(work, done))
        await done

    def stop(self) -> None:
        """Write what waits, then end. Blocks: not for the event loop."""
        self._checkpoints.stop()
        self._queue.put(None)
        self._thread.join()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _run(self) -> None:
        get, empty = self._queue.get, self._queue.empty
        while True:
            item = get()
            group: list[Commit] = []
            rows = size = 0
            while isinstance(item, list):
                group += item
                rows += sum(len(commit.row) for commit in item) // _COLUMNS
                size += sum(commit.size for commit in item)
                if rows >= _GROUP_ROWS or size >= _GROUP_BYTES or empty():
                    break
                item = get()
            if group:
                self._write(group)
                self._checkpoints.grown(self._connection, rows, size)
            if item is None:
                return
            if isinstance(item, Job):
                self._do(item)

    def _write(self, group: list[Commit]) -> None:
        if group[0].epoch == self._failed_epoch:
            stale = [c for c in group if c.epoch == self._failed_epoch]
            self._call(self._publish, stale, self._failure)
            group = group[len(stale) :]  # epochs only grow
            if not group:
                return
        row: list[Any] = []
        for commit in group:
            row += commit.row
        began = self._clock.monotonic()
        try:
            if row:
                self._insert(row)
        except Exception as error:  # whatever it is, writers must hear of it, and the thread goes on
            roll_back(self._connection)
            self._failed_epoch = group[0].epoch
            if isinstance(error, sqlite3.Error):
                self._failure = explain(error, self._path, "write")
            else:
                self._failure = StorageError(f"cannot write {self._path}: {error!r}")
            self._complain(len(group))
            self._call(self._publish, group, self._failure)
            return
        took = self._clock.monotonic() - began
        if took > _SLOW_SECONDS:
            _logger.warning("slow commit: the disk is busy or slow", seconds=f"{took:.2f}", writes=len(group))
        self._call(self._publish, group, None)

    def _complain(self, writes: int) -> None:
        """A full disk fails thousands of commits a second, and logs may be on it."""
        self._failed_writes += writes
        now = self._clock.monotonic()
        if now - self._complained >= _COMPLAIN_SECONDS:
            _logger.error("commits failed", writes=self._failed_writes, error=str(self._failure))
            self._complained, self._failed_writes = now, 0

    def _insert(self, row: list[Any]) -> None:
        execute = self._connection.execute
        count = len(row) // _COLUMNS
        if count <= STATEMENT_ROWS:
            execute(_STATEMENTS[count], row)  # a transaction of its own
            return
        execute("BEGIN IMMEDIATE")
        step = STATEMENT_ROWS * _COLUMNS
        for start in range(0, len(row), step):
            part = row[start : start + step]
            execute(_STATEMENTS[len(part) // _COLUMNS], part)
        execute("COMMIT")

    def _do(self, job: Job) -> None:
        try:
            job.work(self._connection)
        except sqlite3.Error as error:
            roll_back(self._connection)
            if job.done is not None:
                self._call(_fail, job.done, explain(error, self._path, "compact"))
        else:
            if job.done is not None:
                self._call(_succeed, job.done)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
            self._loop.call_soon_threadsafe(function, *args)


def _succeed(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _fail(done: asyncio.Future[None], error: StorageError) -> None:
    if not done.done():
        done.set_exception(error)
