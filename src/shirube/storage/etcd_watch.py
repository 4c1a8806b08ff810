"""One stream of everything that happens in etcd, and the watches of this process that follow it.

The hub keeps the latest events, so that a watch usually joins from memory. One that begins further back first reads
history over a stream of its own, up to where the hub was when it asked, then follows the hub. A slow watch reads
history again rather than making anybody wait or memory grow. When the connection breaks, the hub goes on after its
last event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from shirube.foundation import log
from shirube.foundation.tasks import cancel, spawn
from shirube.storage.etcd_client import EtcdClient, RevisionCompacted
from shirube.storage.types import Batch, Compacted, Event, StorageError, StorageUnavailable

_EVERYTHING = {"key": b"\x00", "range_end": b"\x00"}
_KEPT_EVENTS = 20_000
_RETRY_SECONDS = 0.25

_logger = log.get("etcd")


class WatchHub:
    """Follows the whole key space from `revision` on. `revision` is how far it has come."""

    def __init__(self, client: EtcdClient, revision: int, current: Callable[[], Awaitable[int]]) -> None:
        self._client = client
        self._current = current
        self.revision = revision
        self._kept: deque[Event] = deque()
        self._kept_after = revision  # every event after this revision is kept
        self._moved = asyncio.Event()
        self._failure: Exception | None = None
        self._task = spawn(self._follow(), name="etcd-watch")

    async def close(self) -> None:
        self._fail(StorageUnavailable("the store is closed"))
        await cancel(self._task)

    def check_open(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def oldest_held(self) -> int:
        """The revision up to which etcd was compacted, as a watch from the beginning is told; 0 when it never was."""
        if self.revision <= 1:
            return 0
        async for response in self._client.watch(**_EVERYTHING, start_revision=1):
            if response.compact_revision:
                return int(response.compact_revision)
            if response.events:
                break
        return 0

    def since(self, revision: int, prefix: str) -> Batch | None:
        """Events after `revision` under `prefix`; None when they are no longer in memory."""
        if revision < self._kept_after:
            return None
        found: list[Event] = []
        for event in reversed(self._kept):
            if event.revision <= revision:
                break
            if event.key.startswith(prefix):
                found.append(event)
        found.reverse()
        return Batch(found, self.revision)

    async def moved_past(self, revision: int) -> None:
        """Wait until the hub has come further than `revision`. Raises what ended it."""
        while self.revision <= revision:
            if self._failure is not None:
                raise self._failure
            await self._moved.wait()

    async def until_current(self) -> int:
        """The current revision, once the hub has reached it. While etcd is away, that takes until it is back."""
        while True:
            try:
                revision = await self._current()
            except StorageError:
                if self._failure is not None:
                    return self.revision  # closed: the watch is told by the hub
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            try:
                await self.moved_past(revision - 1)
            except StorageError:
                return self.revision
            return revision

    async def history(self, after: int, until: int) -> AsyncIterator[list[Event]]:
        """All events after `after`, at least up to `until`, read from etcd. Raises Compacted.

        etcd itself would begin at the very revision that was compacted, where a deletion is gone already.
        """
        if after < (oldest := await self.oldest_held()):
            raise Compacted(oldest)
        while after < until:
            async for events in _batches(self._client, after):
                yield events
                after = events[-1].revision
                if after >= until:
                    return

    async def _follow(self) -> None:
        while True:
            try:
                async for events in _batches(self._client, self.revision):
                    self._take(events)
            except Compacted as error:
                self._skip_to(error.compact_revision)
                continue
            except StorageError as error:
                _logger.warning("watching etcd again", after=self.revision, error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)

    def _take(self, events: list[Event]) -> None:
        self._kept.extend(events)
        self.revision = events[-1].revision
        while len(self._kept) > _KEPT_EVENTS:
            # Whole revisions leave together.
            self._kept_after = self._kept[0].revision
            while self._kept and self._kept[0].revision == self._kept_after:
                self._kept.popleft()
        self._wake()

    def compacted(self, revision: int) -> None:
        """The store forgot what was before `revision`: so does the memory, or two watches would get two answers."""
        while self._kept and self._kept[0].revision <= revision:
            self._kept.popleft()
        self._kept_after = max(self._kept_after, min(revision, self.revision))

    def _skip_to(self, oldest: int) -> None:
        """History was compacted before we read it: go on from there. A watch that needed it finds it gone."""
        self._kept.clear()
        self._kept_after = self.revision = max(self.revision, oldest)
        self._wake()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


class EtcdWatch:
    """One watch: `Storage.watch`'s iterator."""

    def __init__(self, hub: WatchHub, prefix: str, after_revision: int) -> None:
        self._hub = hub
        self._prefix = prefix
        self.revision = after_revision
        self._history: AsyncIterator[list[Event]] | None = None
        self._progress: asyncio.Task[int] | None = None

    def __aiter__(self) -> EtcdWatch:
        return self

    def request_progress(self) -> None:
        if self._progress is None or self._progress.done():
            self._progress = spawn(self._hub.until_current(), name="etcd-progress")

    async def close(self) -> None:
        await self._leave_history()
        await cancel(self._progress)

    async def __anext__(self) -> Batch:
        while True:
            asked = self._progress is not None and self._progress.done()
            batch = (
                await self._from_history()
                if self._history is not None
                else self._hub.since(self.revision, self._prefix)
            )
            if batch is None:
                self._history = self._hub.history(self.revision, self._hub.revision)
                continue
            self.revision = max(self.revision, batch.revision)
            if asked:
                assert self._progress is not None
                self.revision = batch.revision = max(batch.revision, self._progress.result())
                self._progress = None
                return batch
            if batch:
                return batch
            await self._wait()

    async def _from_history(self) -> Batch:
        assert self._history is not None
        try:
            events = await anext(self._history, None)
        except StorageError as error:
            await self._leave_history()
            self._hub.check_open()
            _logger.warning("reading history from etcd again", after=self.revision, error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
            return Batch((), self.revision)
        if events is None:
            await self._leave_history()
            return Batch((), self.revision)
        return Batch((e for e in events if e.key.startswith(self._prefix)), events[-1].revision)

    async def _leave_history(self) -> None:
        history, self._history = self._history, None
        if history is not None:
            await history.aclose()  # type: ignore[attr-defined]  # it is a generator

    async def _wait(self) -> None:
        """Until the hub has moved on, or the progress asked for is known."""
        if self._history is not None or self._hub.revision > self.revision:
            return
        moved = spawn(self._hub.moved_past(self.revision), name="etcd-moved")
        waiting: set[asyncio.Task[Any]] = {moved}
        if self._progress is not None:
            waiting.add(self._progress)
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not moved.done():
                await cancel(moved)
        if moved in done:
            moved.result()


async def _batches(client: EtcdClient, after: int) -> AsyncIterator[list[Event]]:
    """Events after a revision over one stream, whole revisions at a time. Raises Compacted, StorageError."""
    events: list[Event] = []
    try:
        async for response in client.watch(**_EVERYTHING, start_revision=after + 1, prev_kv=True, fragment=True):
            if response.compact_revision:
                raise Compacted(int(response.compact_revision))
            if response.canceled:
                raise StorageError(f"etcd ended the watch: {response.cancel_reason or 'no reason given'}")
            events += [_event(e) for e in response.events]
            if events and not response.fragment:
                yield events
                events = []
    except RevisionCompacted as error:
        raise Compacted(after + 1) from error
    raise StorageUnavailable("the connection to etcd ended")


def _event(event: Any) -> Event:
    kv = event.kv
    if event.type == 0:
        return Event("PUT", _key(kv), kv.value, kv.mod_revision, kv.create_revision, None)
    previous = event.prev_kv
    return Event("DELETE", _key(kv), b"", kv.mod_revision, previous.create_revision, previous.value)


def _key(kv: Any) -> str:
    # Somebody else's keys may be any bytes; they only have to come out as keys that are not ours.
    return str(kv.key.decode(errors="surrogateescape"))
