"""Watches that read history until they have caught up, then follow commits as they are published.

Used by backends in this process. A watch that is live gets its share of each published group in a bounded queue;
when it falls too far behind, its queue is dropped and it reads the missing part from history again: memory stays
bounded, nothing is lost, writers never wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from shirube.storage.types import Batch, Event

MAX_QUEUED = 4096  # events; they share their bytes with everybody else who watches


class Source(Protocol):
    """Where a watch that is behind reads from."""

    @property
    def revision(self) -> int:
        """The newest published revision."""
        ...

    async def history(self, prefix: str, after: int) -> Batch:
        """Events after `after` up to at most the newest published revision. Raises Compacted."""
        ...


class LiveWatch:
    """See `types.Watch`. For one consumer."""

    def __init__(self, source: Source, prefix: str, after_revision: int, max_queued: int = MAX_QUEUED) -> None:
        self.prefix = prefix
        self._source = source
        self._taken = after_revision
        self._live = after_revision >= source.revision
        self._queue: deque[Batch] = deque()
        self._queued = 0
        self._max_queued = max_queued
        self._progress = False
        self._ended: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def revision(self) -> int:
        if self._live and not self._queue:
            return max(self._taken, self._source.revision)
        return self._taken

    def request_progress(self) -> None:
        self._progress = True
        self._wake()

    def offer(self, events: list[Event], revision: int) -> None:
        """A published commit group's events under this prefix. Called on the loop, in order."""
        if not self._live:
            return  # will read it from history
        if self._taken >= events[0].revision:  # asked for a revision that was in the future
            events = [e for e in events if e.revision > self._taken]
            if not events:
                return
        if self._queued + len(events) > self._max_queued and self._queue:
            self._queue.clear()
            self._queued = 0
            self._live = False
            return
        self._queue.append(Batch(events, revision))
        self._queued += len(events)
        self._wake()

    def end(self, error: Exception) -> None:
        self._ended = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> LiveWatch:
        return self

    async def __anext__(self) -> Batch:
        while True:
            if self._ended is not None:
                raise self._ended
            if self._queue:
                batch = self._queue.popleft()
                self._queued -= len(batch)
                self._taken = batch.revision
                return batch
            if not self._live:
                batch = await self._source.history(self.prefix, self._taken)
                self._taken = batch.revision
                # No await between the comparison and going live: nothing can be published in between.
                self._live = self._taken >= self._source.revision
                if batch:
                    return batch
                continue
            if self._progress:
                self._progress = False
                self._taken = self.revision
                return Batch((), self._taken)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None


class LiveWatches:
    """All watches of a store. Watches of one prefix share the work of finding their events.

    There are many prefixes, and nearly all end where a part of a key ends: an event looks up the beginnings of its
    key, part by part, instead of being held against every prefix.
    """

    def __init__(self) -> None:
        self._by_prefix: dict[str, dict[LiveWatch, None]] = {}  # sets that keep their order
        self._uneven: list[str] = []  # the prefixes that do not end in a slash

    def add(self, watch: LiveWatch) -> None:
        self._by_prefix.setdefault(watch.prefix, {})[watch] = None
        self._sort_out()

    def _sort_out(self) -> None:
        self._uneven = [prefix for prefix in self._by_prefix if not prefix.endswith("/")]

    def remove(self, watch: LiveWatch) -> None:
        watches = self._by_prefix.get(watch.prefix)
        if watches is not None:
            watches.pop(watch, None)
            if not watches:
                del self._by_prefix[watch.prefix]
                self._sort_out()

    def publish(self, events: Sequence[Event], revision: int) -> None:
        by_prefix, uneven = self._by_prefix, self._uneven
        shares: dict[str, list[Event]] = {}
        for event in events:
            key = event.key
            end = key.find("/") + 1
            while end:
                prefix = key[:end]
                if prefix in by_prefix:
                    shares.setdefault(prefix, []).append(event)
                end = key.find("/", end) + 1
            for prefix in uneven:
                if key.startswith(prefix):
                    shares.setdefault(prefix, []).append(event)
        for prefix, share in shares.items():
            for watch in by_prefix[prefix]:
                watch.offer(share, revision)

    def end(self, error: Exception) -> None:
        for watches in self._by_prefix.values():
            for watch in watches:
                watch.end(error)
