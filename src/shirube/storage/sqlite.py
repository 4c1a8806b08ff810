"""The embedded store: one SQLite file, one process.

Three parties share the work:

- The event loop owns the *head*: an index of live keys as of the newest durable revision, and above it the
  pending writes. Compares are checked and revisions assigned here, at once, against the pending head.
- The commit thread (`sqlite_writer`) makes groups of what waits durable, one fsync a group.
- Reader threads (`sqlite_reader`) answer ranges and history. A `get` of the current state is one lookup by row
  id, some microseconds, on the loop.

Results are published after the fsync: first to watches, then to writers, so whoever is answered finds its write
in every watch queue of this process. When a group fails, every write that was checked against it fails with it
and the head returns to what is durable. A failed compare against a pending key waits for that key's fate: nothing
that is not durable is ever shown.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sortedcontainers import SortedDict

from shirube.foundation.clock import SYSTEM, Clock
from shirube.storage import sqlite_reader as reads
from shirube.storage.live_watch import LiveWatch, LiveWatches
from shirube.storage.sqlite_file import MAX_OPS, OP_BITS, FileLock, connect, explain, make_directory, open_writer
from shirube.storage.sqlite_writer import Commit, Writer
from shirube.storage.types import (
    FIRST_REVISION,
    Batch,
    Compare,
    CompareFailed,
    Event,
    FutureRevision,
    KeyValue,
    Op,
    Put,
    Range,
    StorageError,
    StorageUnavailable,
)

_COMPACT_SLICE = 200  # rows removed between two commit groups
_COMPACT_SCAN = 20_000  # rows looked for at a time
_RANGE_TRIES = 5

# Seconds a thread waits for the interpreter lock before it asks for it. A busy event loop lets go of the lock at
# every system call and has it back before the commit thread is awake; each such miss restarts the wait, and with
# the default of 5 ms a loop in 2 ms slices kept the commit thread out for seconds (6 commits/s; 5,900 with this).
_SWITCH_INTERVAL = 0.0002


class _Pending(NamedTuple):
    """The newest state of a key that is not durable yet. `value` is None when it is deleted."""

    id: int
    create_revision: int
    value: bytes | None


class SQLiteStorage:
    """See `types.Storage`. Made by `open`; belongs to the event loop that opened it."""

    def __init__(self, path: Path, clock: Clock, lock: FileLock, connection: sqlite3.Connection) -> None:
        self._path = path
        self._lock = lock
        self._inline = connect(path)
        compacted, newest, keys = reads.load(self._inline)
        self._compact_revision = compacted
        # The newest row may have been a deletion that is compacted away: the counter never goes back.
        self._durable = max(newest, compacted, FIRST_REVISION)
        self._next = self._durable + 1
        self._index: SortedDict = SortedDict(keys)  # key -> (create revision, id)
        self._pending: dict[str, _Pending] = {}
        self._epoch = 0
        self._watches = LiveWatches()
        self._readers = reads.Readers(path)
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(connection, path, clock, self._loop, self._publish)

    @classmethod
    async def open(cls, path: str | Path, clock: Clock = SYSTEM) -> SQLiteStorage:
        """Open or create. Raises StorageUnavailable (another process has it), StorageError (damaged, no access)."""
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL))
        path = Path(path)
        make_directory(path.parent)
        lock = FileLock(path)
        connection = None
        try:
            connection = open_writer(path)
            return cls(path, clock, lock, connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            lock.release()
            if isinstance(error, sqlite3.Error):
                raise explain(error, path, "open") from error
            raise

    # Writing

    async def commit(self, compares: Sequence[Compare], ops: Sequence[Op]) -> int:
        self._check_open()
        for compare in compares:
            await self._check(compare)
        row, events, size = self._prepare(ops)
        done: asyncio.Future[int] = self._loop.create_future()
        if not events and not self._pending:
            return self._durable
        revision = self._next if events else self._next - 1
        if events:
            self._next += 1
        self._writer.submit(Commit(self._epoch, revision, row, events, size, done))
        return await done

    async def _check(self, compare: Compare) -> None:
        pending = self._pending.get(compare.key)
        if pending is not None:
            revision = pending.id >> OP_BITS if pending.value is not None else 0
        else:
            held = self._index.get(compare.key)
            revision = held[1] >> OP_BITS if held is not None else 0
        if revision == compare.mod_revision:
            return
        if pending is not None:
            done: asyncio.Future[int] = self._loop.create_future()
            self._writer.submit(Commit(self._epoch, self._next - 1, [], [], 0, done))
            await done
        raise CompareFailed(compare.key, self._current(compare.key))

    def _prepare(self, ops: Sequence[Op]) -> tuple[list[Any], list[Event], int]:
        """Rows and events of a commit at the next revision; marks its keys pending."""
        for op in ops:
            op.key.encode()  # what is no UTF-8 fails its writer here, not its whole group in the commit thread
        if len(ops) > MAX_OPS or len({op.key for op in ops}) != len(ops):
            raise ValueError(f"cannot commit: at most {MAX_OPS} operations, each on a key of its own")
        revision = self._next
        base = revision << OP_BITS
        row: list[Any] = []
        events: list[Event] = []
        size = 0
        marks: dict[str, _Pending] = {}
        for number, op in enumerate(ops):
            key, id = op.key, base + number
            create, before = self._state(key, with_value=not isinstance(op, Put))
            if isinstance(op, Put):
                value = op.value
                create = create or revision
                row += (id, key, create, 0, value)
                events.append(Event("PUT", key, value, revision, create, None))
                marks[key] = _Pending(id, create, value)
                size += len(value)
            elif create:
                row += (id, key, create, 1, b"")
                events.append(Event("DELETE", key, b"", revision, create, before))
                marks[key] = _Pending(id, create, None)
        self._pending.update(marks)
        return row, events, size

    def _state(self, key: str, *, with_value: bool) -> tuple[int, bytes | None]:
        """(create revision or 0 when absent, value when asked for) at the pending head."""
        pending = self._pending.get(key)
        if pending is not None:
            return (pending.create_revision if pending.value is not None else 0), pending.value
        held = self._index.get(key)
        if held is None:
            return 0, None
        return held[0], self._value(held[1]) if with_value else None

    def _publish(self, group: list[Commit], error: StorageError | None) -> None:
        if error is not None:
            self._fail(group, error)
            return
        events = [event for commit in group for event in commit.events]
        pending, index = self._pending, self._index
        for commit in group:
            row = commit.row
            for i in range(0, len(row), 5):
                id, key, create, deleted = row[i : i + 4]
                if deleted:
                    index.pop(key, None)
                else:
                    index[key] = (create, id)
                if pending[key].id == id:
                    del pending[key]
        if events:
            self._durable = events[-1].revision
            self._watches.publish(events, self._durable)
        for commit in group:
            if not commit.done.done():
                commit.done.set_result(commit.revision)

    def _fail(self, group: list[Commit], error: StorageError) -> None:
        if group[0].epoch == self._epoch:
            self._epoch += 1
            self._pending.clear()
            self._next = self._durable + 1
        for commit in group:
            if not commit.done.done():
                commit.done.set_exception(StorageError(*error.args))

    # Reading

    def _value(self, id: int) -> bytes:
        try:
            row = self._inline.execute("SELECT value FROM history WHERE id = ?", (id,)).fetchone()
        except sqlite3.Error as error:
            raise explain(error, self._path, "read") from error
        if row is None:
            raise self._row_missing()
        value: bytes = row[0]
        return value

    def _row_missing(self) -> StorageError:
        return StorageError(f"cannot read {self._path}: a row is missing; the file is damaged, restore a backup")

    def _current(self, key: str) -> KeyValue | None:
        held = self._index.get(key)
        if held is None:
            return None
        return KeyValue(key, self._value(held[1]), held[0], held[1] >> OP_BITS)

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        self._check_open()
        if not revision or revision == self._durable:
            return self._current(key)
        self._check_happened(revision)
        return await self._readers.run(lambda c: reads.get_at(c, key, revision))

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0, count: bool = False
    ) -> Range:
        self._check_open()
        if revision and revision != self._durable:
            self._check_happened(revision)
            items, more, total = await self._readers.run(
                lambda c: reads.range_at(c, prefix, start_after, limit, revision, count)
            )
            return Range(items, revision, more, total)
        for _ in range(_RANGE_TRIES):
            now = self._durable
            keys, total = self._keys(prefix, start_after, limit)
            held = await self._readers.run(lambda c, ids=[k[2] for k in keys]: reads.values(c, ids))  # type: ignore[misc]
            # A compaction may have removed what was overwritten since: then what is current now is asked for.
            if len(held) == len(keys):
                items = [KeyValue(key, held[id], create, id >> OP_BITS) for key, create, id in keys]
                return Range(items, now, total > len(items), total if count else len(items))
        raise self._row_missing()

    def _keys(self, prefix: str, start_after: str, limit: int) -> tuple[list[tuple[str, int, int]], int]:
        """([(key, create revision, id)], number of keys in the range) of the durable head."""
        index = self._index
        low = index.bisect_left(prefix)
        if start_after >= prefix:
            low = max(low, index.bisect_right(start_after))
        end = reads.prefix_end(prefix)
        high = index.bisect_left(end) if end else len(index)
        total = max(0, high - low)
        stop = low + min(limit, total) if limit else high
        keys = itertools.islice(index.islice(low, stop), max(0, stop - low))
        return [(key, *index[key]) for key in keys], total

    async def current_revision(self) -> int:
        self._check_open()
        return self._durable

    @property
    def revision(self) -> int:
        """The newest durable revision."""
        return self._durable

    @property
    def compact_revision(self) -> int:
        """The oldest revision that can still be read; 0 when nothing was compacted."""
        return self._compact_revision

    async def history(self, prefix: str, after: int) -> Batch:
        """For watches: a slice of events after `after`, none newer than what is published. Raises Compacted."""
        self._check_open()
        upto = self._durable
        return await self._readers.run(lambda c: reads.history(c, prefix, after, upto))

    @asynccontextmanager
    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[LiveWatch]:
        self._check_open()
        watch = LiveWatch(self, prefix, after_revision)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.remove(watch)

    # Upkeep

    async def compact(self, revision: int) -> None:
        self._check_open()
        self._check_happened(revision)
        if revision <= self._compact_revision:
            return

        def forbid(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE meta SET value = ? WHERE name = 'compact_revision'", (revision,))

        # Readers refuse old revisions before any row goes; what a crash leaves behind, the next compaction finds.
        await self._writer.run(forbid)
        self._compact_revision = max(self._compact_revision, revision)
        while ids := await self._readers.run(lambda c: reads.superseded(c, revision, _COMPACT_SCAN)):
            for start in range(0, len(ids), _COMPACT_SLICE):
                await self._remove(ids[start : start + _COMPACT_SLICE])

    async def _remove(self, ids: list[int]) -> None:
        statement = f"DELETE FROM history WHERE id IN ({','.join('?' * len(ids))})"  # noqa: S608 - question marks

        def remove(connection: sqlite3.Connection) -> None:
            connection.execute(statement, ids)

        await self._writer.run(remove)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._writer.hand_over()
        await self._loop.run_in_executor(None, self._writer.stop)
        await asyncio.sleep(0)  # the last groups are published
        self._watches.end(StorageUnavailable(f"cannot watch {self._path}: the store is closed"))
        await self._loop.run_in_executor(None, self._readers.close)
        self._inline.close()
        self._lock.release()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageUnavailable(f"cannot use {self._path}: the store is closed")

    def _check_happened(self, revision: int) -> None:
        if revision > self._durable:
            raise FutureRevision(revision, self._durable)
