"""One resource in memory: its objects as bytes, the recent changes, and everybody who watches them.

A cache is filled by one range and kept current by one storage watch. It answers get, list and watch without the
store. An object is held once, as the bytes that GET returns (stored JSON with its resourceVersion), with its labels
and selectable fields; nothing decoded is kept. Other encodings are made once per revision and shared.

- `revision`: everything up to it is applied. A read that must be current asks the store for its revision and
  awaits `wait_for`.
- Changes are published once per commit group; a watcher is woken once per group that concerns it (see `watcher`).
- The window of recent changes lets a watch begin at an old revision; older ones get 410, and the client lists anew.
- When the store's history is compacted past this cache (it was stalled), it fills itself anew and ends its watches.

Follows upstream's cacher (KEP-2340 consistent reads, KEP-3157 watch-list). All methods belong to the event loop.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sortedcontainers import SortedDict

from shirube.api import errors
from shirube.api.selectors import FieldSelector, LabelSelector
from shirube.apiserver.cache_entry import Encodings, Entry, removed, splice
from shirube.apiserver.cannot_decrypt import CannotDecrypt
from shirube.apiserver.watcher import Change, Watcher, Watchers
from shirube.foundation import log, tasks
from shirube.foundation.clock import SYSTEM, Clock
from shirube.storage.types import (
    Batch,
    Compacted,
    Event,
    KeyValue,
    Storage,
    StorageError,
    StorageUnavailable,
    Watch,
)

__all__ = ["Encodings", "Entry", "Listing", "WatchCache", "Watcher"]

_logger = log.get("watch-cache")

Entries = list[Entry]
Changes = list[Change]
Extract = Callable[[bytes], tuple[Mapping[str, str], Mapping[str, str]]]

_PAGE = 200  # objects taken in between two breaths of the event loop while filling
# etcd counts the whole range for every page of it: few large pages, as long as objects are small.
_LARGE_PAGE = 2000
_PAGE_BYTES = 8 << 20
_SHARED = 1000  # objects in a list from which it is worth sharing
_MAX_HINTS = 1024
_RETRY_SECONDS = 1.0
_ASK_AGAIN_SECONDS = 0.1

# The window. Memory is bounded first: below the hard limit at least WINDOW_MIN changes are held.
WINDOW_MIN = 1_000
WINDOW_MAX = 10_000
WINDOW_SECONDS = 300.0
WINDOW_BYTES = 16 << 20
WINDOW_BYTES_HARD = 64 << 20
_WINDOW_SLACK = 64


class Listing(NamedTuple):
    """Objects in key order at `revision`. `remaining`: how many follow, None when selectors make that unknown."""

    entries: list[Entry]
    revision: int
    more: bool
    remaining: int | None


class WatchCache:
    def __init__(
        self,
        storage: Storage,
        prefix: str,
        extract: Extract,
        *,
        clock: Clock = SYSTEM,
        encodings: Encodings | None = None,
    ) -> None:
        """`extract(stored bytes) -> (labels, fields)` is called once per change, unless the writer gave a `hint`."""
        self.prefix = prefix
        self._storage = storage
        self._extract = extract
        self._clock = clock
        self._encodings = encodings if encodings is not None else Encodings()
        self._entries: SortedDict = SortedDict()
        self._sliced: tuple[tuple[int, int], Entries] | None = None  # since the last change
        self._applied = 0
        self.changed = 0  # the revision of the newest change: for indexes derived from the objects
        self._source: Watch | None = None
        self._window: list[Change] = []
        self._window_start = 0  # changes after this revision are all in the window
        self._window_bytes = 0
        self._watchers = Watchers()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._hints: dict[str, tuple[bytes, Mapping[str, str], Mapping[str, str]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._filled = asyncio.Event()
        self._unreadable: CannotDecrypt | None = None
        self._tried = asyncio.Event()  # filled, or known why not

    # Life

    async def start(self) -> None:
        """Begin to follow the store; returns when the cache is filled. May be called more than once."""
        if self._task is None:
            self._task = tasks.spawn(self._follow(), name=f"watch-cache {self.prefix}")
        filled = tasks.spawn(self._tried.wait(), name=f"watch-cache-filled {self.prefix}")
        try:
            await asyncio.wait((self._task, filled), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await tasks.cancel(filled)
        if self._unreadable is not None:
            raise errors.internal_error(str(self._unreadable))
        if not self._filled.is_set():
            raise errors.service_unavailable(f"cannot read {self.prefix}: the store is closed")

    async def close(self) -> None:
        await tasks.cancel(self._task)
        self._watchers.end("the server is shutting down")

    def end_watches(self, why: str) -> None:
        """Clients come back and are served anew."""
        self._watchers.end(why)

    @property
    def ready(self) -> bool:
        return self._filled.is_set()

    @property
    def unreadable(self) -> CannotDecrypt | None:
        """Why this resource is not served: one of its values cannot be decrypted. Tried again every second."""
        return self._unreadable

    @property
    def revision(self) -> int:
        """Every change of this resource up to here is applied."""
        if self._source is not None:
            return max(self._applied, self._source.revision)
        return self._applied

    @property
    def oldest(self) -> int:
        """A watch may begin after this revision or any later one."""
        return self._window_start

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    # Reading

    def get(self, key: str) -> Entry | None:
        entry: Entry | None = self._entries.get(key)
        return entry

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """All objects under `prefix` (default: all), in key order, as they are now."""
        low, high = self._bounds(prefix)
        return iter(self._slice(low, high))

    def count(self, prefix: str = "") -> int:
        low, high = self._bounds(prefix)
        return high - low

    def list(
        self,
        prefix: str = "",
        labels: LabelSelector | None = None,
        fields: FieldSelector | None = None,
        *,
        start_after: str = "",
        limit: int = 0,
    ) -> Listing:
        """What is selected under `prefix` after the key `start_after`, at most `limit`."""
        low, high = self._bounds(prefix)
        if start_after:
            low = max(low, self._entries.bisect_right(start_after))
        if (labels is None or labels.empty) and (fields is None or fields.empty):
            stop = min(high, low + limit) if limit else high
            return Listing(self._slice(low, stop), self.revision, stop < high, max(0, high - stop))
        found = [e for e in self._slice(low, high) if e.selected(labels, fields)]
        if limit and len(found) > limit:
            return Listing(found[:limit], self.revision, True, None)
        return Listing(found, self.revision, False, 0)

    def entry_of(self, held: KeyValue) -> Entry:
        """An entry for something read from the store itself, such as an old revision."""
        labels, fields = self._extracted(held.key, held.value)
        data = splice(held.value, held.mod_revision)
        return Entry(held.key, held.mod_revision, data, labels, fields, self._encodings)

    def _extracted(self, key: str, value: bytes) -> tuple[Mapping[str, str], Mapping[str, str]]:
        try:
            return self._extract(value)
        except Exception as error:
            # Whatever was stored, one object must not keep the others from being served: it can be deleted.
            _logger.error("cannot read the labels of a stored object", key=key, error=repr(error))
            return {}, {}

    def _bounds(self, prefix: str) -> tuple[int, int]:
        if not prefix or prefix == self.prefix:
            return 0, len(self._entries)
        low: int = self._entries.bisect_left(prefix)
        high: int = self._entries.bisect_left(prefix + chr(0x10FFFF))
        return low, high

    def _slice(self, low: int, high: int) -> Entries:
        """READ-ONLY: lists of the same moment share it. Eight at once of 100,000 would hold up all others for 40 ms."""
        if self._sliced is not None and self._sliced[0] == (low, high):
            return self._sliced[1]
        held = self._entries
        found = list(map(held.get, held.islice(low, max(low, high))))
        if len(found) >= _SHARED:
            self._sliced = (low, high), found
        return found

    async def wait_for(self, revision: int, timeout: float | None = None) -> None:
        """Until everything up to `revision` is applied. Raises TimeoutError."""
        if self.revision >= revision:
            return
        await asyncio.sleep(0)  # what was just published is mostly applied within this turn of the loop
        if self.revision >= revision:
            return
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        waiting = (revision, loop.create_future())
        self._waiting.append(waiting)
        try:
            while self.revision < revision:
                # Other resources may take the counter past `revision` without an event here: ask again.
                if self._source is not None:
                    self._source.request_progress()
                left = _ASK_AGAIN_SECONDS if deadline is None else min(_ASK_AGAIN_SECONDS, deadline - loop.time())
                if left <= 0:
                    raise TimeoutError(f"revision {revision} has not been seen")
                await asyncio.wait((waiting[1],), timeout=left)
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    # Watching

    def watch(
        self,
        prefix: str = "",
        labels: LabelSelector | None = None,
        fields: FieldSelector | None = None,
        after_revision: int | None = None,
        bookmarks: bool = False,
        *,
        initial_events_end: bool = False,
        bookmark_interval: float = 60.0,
    ) -> Watcher:
        """Changes of what is selected under `prefix` after a revision; None: first everything as ADDED, then on.

        `initial_events_end` closes that first part with a marker (INITIAL_EVENTS_END). Raises ApiError 410 when the
        revision is older than the window. The caller closes the watcher.
        """
        if labels is not None and labels.empty:
            labels = None
        if fields is not None and fields.empty:
            fields = None
        watcher = Watcher(
            self, self._watchers, prefix or self.prefix, labels, fields, bookmark_interval if bookmarks else None
        )
        if after_revision is None:
            watcher.begin_with(self.list(prefix, labels, fields).entries, self.revision, initial_events_end)
        elif after_revision < self._window_start:
            raise errors.expired(f"too old resource version: {after_revision} ({self._window_start})")
        else:
            watcher.begin_after(self._since(after_revision), after_revision)
        self._watchers.add(watcher)
        return watcher

    def _since(self, revision: int) -> Changes:
        at = bisect.bisect_right(self._window, revision, key=lambda change: change.revision)
        return self._window[at:]

    # Following the store

    def hint(self, key: str, value: bytes, labels: Mapping[str, str], fields: Mapping[str, str]) -> None:
        """What `extract(value)` would say, from a writer that is about to commit `value` and knows."""
        if len(self._hints) >= _MAX_HINTS:
            self._hints.clear()  # of writes that failed
        self._hints[key] = (value, labels, fields)

    async def _follow(self) -> None:
        while True:
            try:
                await self._fill()
                async with self._storage.watch(self.prefix, self._applied) as source:
                    self._source = source
                    self._unreadable = None
                    self._filled.set()
                    self._tried.set()
                    self._wake()
                    async for batch in source:
                        self._apply(batch)
            except Compacted:
                _logger.warning("fell behind the store's history, reading anew", prefix=self.prefix)
            except StorageUnavailable as error:
                if self._source is not None or not self._filled.is_set():
                    return  # the store is closed, or was not there when the server started
                _logger.error("cannot read the store anew, trying again", prefix=self.prefix, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            except CannotDecrypt as error:
                self._give_up(error)
                await asyncio.sleep(_RETRY_SECONDS)
            except StorageError as error:
                _logger.error("cannot follow the store, trying again", prefix=self.prefix, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                # What happens until the cache follows again, no watcher would hear of.
                self._source = None
                self._watchers.end("the store is closed or failed")

    def _give_up(self, error: CannotDecrypt) -> None:
        """What is held may be old: nobody reads it until all values can be read again."""
        if self._unreadable is None or self._unreadable.key != error.key:
            _logger.error("cannot read a stored value, trying again", prefix=self.prefix, error=str(error))
        self._unreadable = error
        self._filled.clear()
        self._tried.set()

    async def _fill(self) -> None:
        entries: dict[str, Entry] = {}
        after, revision, limit = "", 0, _PAGE
        while True:
            page = await self._storage.range(self.prefix, start_after=after, limit=limit, revision=revision)
            revision, size = page.revision, 0
            for n, held in enumerate(page.items, 1):
                entries[held.key] = self.entry_of(held)
                size += len(held.value)
                if n % _PAGE == 0:
                    await asyncio.sleep(0)
            if not page.more:
                break
            after = page.items[-1].key
            limit = max(_PAGE, min(_LARGE_PAGE, _PAGE_BYTES * len(page.items) // (size + 1)))
        self._watchers.end("the cache was filled anew")
        self._entries, self._sliced = SortedDict(entries), None
        self._window, self._window_start, self._window_bytes = [], revision, 0
        self._applied = self.changed = revision

    def _apply(self, batch: Batch) -> None:
        changes = [self._change(event) for event in batch]
        self._applied = batch.revision
        if changes:
            self.changed = changes[-1].revision
            self._remember(changes)
            self._watchers.publish(changes)
        self._wake()

    def _change(self, event: Event) -> Change:
        key, self._sliced = event.key, None
        old: Entry | None = self._entries.get(key)
        hint = self._hints.pop(key, None) if self._hints else None
        if event.kind == "DELETE":
            if old is None:  # cannot be, unless the store gave the value only
                old = self.entry_of(KeyValue(key, event.prev_value or b"", event.create_revision, event.revision))
            else:
                del self._entries[key]
            return Change(event.revision, removed(old, event.revision), old, self._clock.monotonic(), True)
        if hint is not None and hint[0] is event.value:
            labels, fields = hint[1], hint[2]
        else:
            labels, fields = self._extracted(key, event.value)
        if old is not None:  # most changes leave them as they were: share, and let the new ones go
            labels = old.labels if old.labels == labels else labels
            fields = old.fields if old.fields == fields else fields
            key = old.key
        entry = Entry(key, event.revision, splice(event.value, event.revision), labels, fields, self._encodings)
        self._entries[key] = entry
        return Change(event.revision, entry, old, self._clock.monotonic(), False)

    def _remember(self, changes: Changes) -> None:
        window = self._window
        window += changes
        self._window_bytes += sum(len(change.entry.data) for change in changes)
        excess, count, size = 0, len(window), self._window_bytes
        horizon = self._clock.monotonic() - WINDOW_SECONDS
        # In pieces larger than one: removing from the front moves all the rest.
        few = count <= _WINDOW_SLACK or (count <= WINDOW_MAX and window[_WINDOW_SLACK].time >= horizon)
        if few and size <= WINDOW_BYTES + (WINDOW_BYTES >> 4):
            return
        for change in window:
            fits = count <= WINDOW_MAX and size <= WINDOW_BYTES and change.time >= horizon
            if fits or (count <= WINDOW_MIN and size <= WINDOW_BYTES_HARD):
                break
            excess += 1
            count -= 1
            size -= len(change.entry.data)
        if excess > _WINDOW_SLACK or self._window_bytes - size > WINDOW_BYTES >> 4:
            self._window_start = window[excess - 1].revision
            del window[:excess]
            self._window_bytes = size

    def _wake(self) -> None:
        if not self._waiting:
            return
        now = self.revision
        for revision, done in self._waiting:
            if revision <= now and not done.done():
                done.set_result(None)
        self._waiting = [waiting for waiting in self._waiting if waiting[0] > now]
