"""A store that keeps everything in memory and forgets it when the process ends: for the simulation and for tests.

A commit happens at once, on the event loop: nothing waits, nothing is pending, and who asks in the same order gets the
same revisions. History is held until it is compacted: of each key what was overwritten or deleted since, and all events
in their order. `on_commit` hears of every commit before its writer does; the simulation takes its history from there.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from sortedcontainers import SortedDict

from shirube.storage.live_watch import LiveWatch, LiveWatches
from shirube.storage.types import (
    FIRST_REVISION,
    Batch,
    Compacted,
    Compare,
    CompareFailed,
    Event,
    FutureRevision,
    KeyValue,
    Op,
    Put,
    Range,
    StorageUnavailable,
)

_SLICE = 1000  # events of history that a watch which is behind reads at a time

_Versions = list["_Version"]


class _Version(NamedTuple):
    revision: int
    create_revision: int
    value: bytes | None  # None: deleted


class MemoryStorage:
    """See `types.Storage`."""

    def __init__(self, on_commit: Callable[[list[Event]], None] | None = None) -> None:
        self._on_commit = on_commit
        self._live: SortedDict = SortedDict()  # key -> KeyValue
        self._past: SortedDict = SortedDict()  # key -> versions that are not live any more, oldest first
        self._log: list[Event] = []  # all events since the last compaction
        self._revision = FIRST_REVISION
        self._compacted = 0
        self._watches = LiveWatches()
        self._closed = False

    # Writing

    async def commit(self, compares: Sequence[Compare], ops: Sequence[Op]) -> int:
        self._check_open()
        for compare in compares:
            held: KeyValue | None = self._live.get(compare.key)
            if (held.mod_revision if held is not None else 0) != compare.mod_revision:
                raise CompareFailed(compare.key, held)
        for op in ops:
            op.key.encode()
        if len({op.key for op in ops}) != len(ops):
            raise ValueError("cannot commit: each operation needs a key of its own")
        events = self._apply(ops)
        if events:
            self._revision += 1
            self._log += events
            if self._on_commit is not None:
                self._on_commit(events)
            self._watches.publish(events, self._revision)
        return self._revision

    def _apply(self, ops: Sequence[Op]) -> list[Event]:
        revision = self._revision + 1
        events: list[Event] = []
        for op in ops:
            held: KeyValue | None = self._live.get(op.key)
            if isinstance(op, Put):
                create = held.create_revision if held is not None else revision
                if held is not None:
                    self._overwritten(held)
                self._live[op.key] = KeyValue(op.key, op.value, create, revision)
                events.append(Event("PUT", op.key, op.value, revision, create, None))
            elif held is not None:
                self._overwritten(held).append(_Version(revision, held.create_revision, None))
                del self._live[op.key]
                events.append(Event("DELETE", op.key, b"", revision, held.create_revision, held.value))
        return events

    def _overwritten(self, held: KeyValue) -> _Versions:
        versions: _Versions | None = self._past.get(held.key)
        if versions is None:
            versions = self._past[held.key] = []
        versions.append(_Version(held.mod_revision, held.create_revision, held.value))
        return versions

    # Reading

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        self._check_open()
        if not revision or revision == self._revision:
            held: KeyValue | None = self._live.get(key)
            return held
        self._check_held(revision)
        return self._at(key, revision)

    def _at(self, key: str, revision: int) -> KeyValue | None:
        live: KeyValue | None = self._live.get(key)
        if live is not None and live.mod_revision <= revision:
            return live
        versions: _Versions = self._past.get(key) or []
        at = bisect.bisect_right(versions, revision, key=lambda v: v.revision)
        if not at:
            return None
        version = versions[at - 1]
        if version.value is None:
            return None
        return KeyValue(key, version.value, version.create_revision, version.revision)

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0, count: bool = False
    ) -> Range:
        self._check_open()
        if revision and revision != self._revision:
            self._check_held(revision)
            items, total = self._range_at(prefix, start_after, revision, limit, count)
        else:
            revision = self._revision
            low, high = self._bounds(self._live, prefix, start_after)
            total = max(0, high - low)
            stop = low + min(limit, total) if limit else low + total
            items = [self._live[key] for key in self._live.islice(low, stop)]
        return Range(items, revision, total > len(items), total if count else len(items))

    @staticmethod
    def _bounds(index: SortedDict, prefix: str, start_after: str) -> tuple[int, int]:
        low = index.bisect_left(prefix)
        if start_after >= prefix:
            low = max(low, index.bisect_right(start_after))
        high = index.bisect_left(prefix + chr(0x10FFFF)) if prefix else len(index)
        return low, high

    def _range_at(
        self, prefix: str, start_after: str, revision: int, limit: int, count: bool
    ) -> tuple[list[KeyValue], int]:
        """(keys as they were, how many there were): of the latter only whether there are more, unless they count."""
        items: list[KeyValue] = []
        before = ""
        for key in heapq.merge(*(self._keys(i, prefix, start_after) for i in (self._live, self._past))):
            if key == before:
                continue
            before = key
            held = self._at(key, revision)
            if held is None:
                continue
            if limit and len(items) == limit:
                more = self._count_at(prefix, items[-1].key, revision) if count else 1
                return items, len(items) + more
            items.append(held)
        return items, len(items)

    def _count_at(self, prefix: str, start_after: str, revision: int) -> int:
        """How many there are now, less those that came since, and those that went."""
        low, high = self._bounds(self._live, prefix, start_after)
        found = max(0, high - low)
        at = bisect.bisect_right(self._log, revision, key=lambda event: event.revision)
        for key in {event.key for event in itertools.islice(self._log, at, None)}:
            if key.startswith(prefix) and key > start_after:
                found += (self._at(key, revision) is not None) - (key in self._live)
        return found

    def _keys(self, index: SortedDict, prefix: str, start_after: str) -> Iterator[str]:
        low, high = self._bounds(index, prefix, start_after)
        keys: Iterator[str] = index.islice(low, max(low, high))
        return keys

    async def current_revision(self) -> int:
        self._check_open()
        return self._revision

    # Watching

    @property
    def revision(self) -> int:
        return self._revision

    async def history(self, prefix: str, after: int) -> Batch:
        """For watches: a slice of events after `after`. Raises Compacted."""
        self._check_open()
        if after < self._compacted:
            raise Compacted(self._compacted)
        at = bisect.bisect_right(self._log, after, key=lambda event: event.revision)
        found = itertools.islice((e for e in itertools.islice(self._log, at, None) if e.key.startswith(prefix)), _SLICE)
        events = list(found)
        if len(events) < _SLICE:
            return Batch(events, self._revision)
        # A commit is not cut in two.
        last = events[-1].revision
        at = bisect.bisect_right(self._log, last, key=lambda event: event.revision)
        first = bisect.bisect_left(self._log, last, key=lambda event: event.revision)
        whole = [e for e in self._log[first:at] if e.key.startswith(prefix)]
        return Batch([*(e for e in events if e.revision < last), *whole], last)

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
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision <= self._compacted:
            return
        self._compacted = revision
        at = bisect.bisect_right(self._log, revision, key=lambda event: event.revision)
        for key in dict.fromkeys(event.key for event in self._log[:at]):
            versions: _Versions | None = self._past.get(key)
            if versions is None:
                continue
            live: KeyValue | None = self._live.get(key)
            if live is not None and live.mod_revision <= revision:
                del self._past[key]
                continue
            first = bisect.bisect_right(versions, revision, key=lambda v: v.revision) - 1
            if first >= 0 and versions[first].value is None:
                first += 1
            del versions[: max(first, 0)]
            if not versions:
                del self._past[key]
        del self._log[:at]

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._watches.end(StorageUnavailable("cannot watch: the store is closed"))

    def reopen(self) -> MemoryStorage:
        """What was kept, opened again: as after a restart of the server that used it."""
        self._closed, self._watches = False, LiveWatches()
        return self

    def _check_open(self) -> None:
        if self._closed:
            raise StorageUnavailable("cannot use the store: it is closed")

    def _check_held(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision < self._compacted:
            raise Compacted(self._compacted)
