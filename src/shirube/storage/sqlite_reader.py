"""Reads of the SQLite file that are not instant: ranges, old revisions, history. Each runs in a reader thread on a
connection of its own, in one transaction, so it sees one state of the file whatever is written meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from shirube.storage.sqlite_file import OP_BITS, connect, explain
from shirube.storage.types import Batch, Compacted, Event, KeyValue, StorageUnavailable

T = TypeVar("T")

_THREADS = 2
_CHUNK = 512
_HISTORY_ROWS = 1000
_HISTORY_BYTES = 4 << 20

_AT = """
SELECT key, max(id), create_revision, deleted FROM history INDEXED BY history_key
WHERE key >= :low AND key > :after AND (:high = '' OR key < :high) AND id < :bound
GROUP BY key HAVING deleted = 0
"""
_HISTORY = """
SELECT id, key, create_revision, deleted, value FROM history
WHERE id >= :start AND id < :bound AND key >= :low AND (:high = '' OR key < :high) ORDER BY id
"""
_SUPERSEDED = """
SELECT json_group_array(id) FROM (
  SELECT id FROM (
    SELECT id, deleted, lead(id) OVER (PARTITION BY key ORDER BY id) AS next FROM history INDEXED BY history_key
  ) WHERE id < :bound AND (deleted OR next < :bound) LIMIT :limit
)
"""
_BEFORE = "SELECT value FROM history WHERE key = ? AND id < ? ORDER BY id DESC LIMIT 1"


def prefix_end(prefix: str) -> str:
    """The first string after all that begin with `prefix`; "" when there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            # Surrogates cannot be encoded: the next character after U+D7FF is U+E000.
            return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
        prefix = prefix[:-1]
    return ""


class Readers:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="shirube-read")
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """`read(connection)` in a thread. Raises StorageError, and what `read` raises."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._read, read)
        except RuntimeError as error:  # shut down
            raise StorageUnavailable(f"cannot read {self._path}: the store is closed") from error

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = connect(self._path)
        try:
            connection.execute("BEGIN")
            try:
                return read(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise explain(error, self._path, "read") from error
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Blocks until running reads are done: not for the event loop."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().close()


def check_held(connection: sqlite3.Connection, revision: int) -> None:
    """Raises Compacted when the state at `revision` is no longer whole."""
    compacted = compact_revision(connection)
    if revision < compacted:
        raise Compacted(compacted)


def compact_revision(connection: sqlite3.Connection) -> int:
    (revision,) = connection.execute("SELECT value FROM meta WHERE name = 'compact_revision'").fetchone()
    return int(revision)


def load(connection: sqlite3.Connection) -> tuple[int, int, list[tuple[str, tuple[int, int]]]]:
    """(compact revision, newest revision or 0, sorted live keys with (create revision, id))."""
    compacted = compact_revision(connection)
    (newest,) = connection.execute("SELECT max(id) FROM history").fetchone()
    rows = connection.execute(_AT, {"low": "", "after": "", "high": "", "bound": 1 << 62})
    return compacted, (newest or 0) >> OP_BITS, [(key, (create, id)) for key, id, create, _ in rows]


def values(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, bytes]:
    """Values by id; ids that compaction removed are missing."""
    found: dict[int, bytes] = {}
    statement = "SELECT id, value FROM history WHERE id IN (SELECT value FROM json_each(?))"
    for start in range(0, len(ids), _CHUNK):
        found.update(connection.execute(statement, (json.dumps(ids[start : start + _CHUNK]),)))
    return found


def get_at(connection: sqlite3.Connection, key: str, revision: int) -> KeyValue | None:
    check_held(connection, revision)
    row = connection.execute(
        "SELECT id, create_revision, deleted, value FROM history WHERE key = ? AND id < ? ORDER BY id DESC LIMIT 1",
        (key, (revision + 1) << OP_BITS),
    ).fetchone()
    if row is None or row[2]:
        return None
    return KeyValue(key, row[3], row[1], row[0] >> OP_BITS)


def range_at(
    connection: sqlite3.Connection, prefix: str, start_after: str, limit: int, revision: int, count: bool
) -> tuple[list[KeyValue], bool, int]:
    """(items, more, count) as of `revision`."""
    check_held(connection, revision)
    where = {
        "low": prefix,
        "after": start_after,
        "high": prefix_end(prefix),
        "bound": (revision + 1) << OP_BITS,
    }
    page = f" LIMIT {limit + 1:d}" if limit else ""
    found = connection.execute(_AT + page, where).fetchall()
    more = bool(limit) and len(found) > limit
    if more:
        found.pop()
    held = values(connection, [row[1] for row in found])
    items = [KeyValue(key, held[id], create, id >> OP_BITS) for key, id, create, _ in found]
    total = len(items)
    if count and more:
        (total,) = connection.execute(f"SELECT count(*) FROM ({_AT})", where).fetchone()  # noqa: S608
    return items, more, total


def history(connection: sqlite3.Connection, prefix: str, after: int, upto: int) -> Batch:
    """Events after revision `after`, at most to `upto`; a slice of bounded size that ends between commits."""
    check_held(connection, after)
    where = {
        "start": (after + 1) << OP_BITS,
        "bound": (upto + 1) << OP_BITS,
        "low": prefix,
        "high": prefix_end(prefix),
    }
    batch = Batch((), upto)
    size = 0
    for id, key, create, deleted, value in connection.execute(_HISTORY, where):
        revision = id >> OP_BITS
        if (len(batch) >= _HISTORY_ROWS or size >= _HISTORY_BYTES) and batch[-1].revision != revision:
            batch.revision = batch[-1].revision
            break
        if deleted:
            before = connection.execute(_BEFORE, (key, id)).fetchone()
            batch.append(Event("DELETE", key, b"", revision, create, before[0] if before else None))
        else:
            batch.append(Event("PUT", key, value, revision, create, None))
        size += len(value) + 200
    return batch


def superseded(connection: sqlite3.Connection, revision: int, limit: int) -> list[int]:
    """Ids, at most `limit`, that nobody can ask for once everything up to `revision` is compacted.

    One row comes back: a thread that steps through many takes the interpreter lock from the loop for each.
    """
    (found,) = connection.execute(_SUPERSEDED, {"bound": (revision + 1) << OP_BITS, "limit": limit}).fetchone()
    ids: list[int] = json.loads(found)
    return ids
