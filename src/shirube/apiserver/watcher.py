"""Those who watch one resource: a queue for each, filled once per commit group, never waited for.

A watcher has a prefix and selectors, and sees a world in which only selected objects exist: an object that begins
to match is ADDED, one that ceases to match is DELETED with its last matching state at the new revision. Watchers
that ask for one value of a field (a node's pods, one object's name) are found by that value and cost nothing when
other objects change. A watcher that does not keep up is ended; its client resumes from its last revision.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from shirube.api.selectors import FieldSelector, LabelSelector
from shirube.apiserver.cache_entry import Encodings, Entry, removed

ADDED = "ADDED"
MODIFIED = "MODIFIED"
DELETED = "DELETED"
BOOKMARK = "BOOKMARK"  # its entry has only a revision; `cache_entry.bookmark` makes the object
INITIAL_EVENTS_END = "INITIAL_EVENTS_END"  # the bookmark after the initial events

MAX_QUEUED = 4096

EventList = list[tuple[str, Entry]]

_NO_ENCODINGS = Encodings(0)


class WatchEnded(Exception):
    """The watch is over (slow consumer, server stopping, store trouble); the client watches anew."""


class Change:
    """One event of the resource: the new state (the last one when deleted), the one before, the stopwatch time."""

    __slots__ = ("_left", "deleted", "entry", "old", "revision", "time")

    def __init__(self, revision: int, entry: Entry, old: Entry | None, time: float, deleted: bool) -> None:
        self.revision = revision
        self.entry = entry
        self.old = old
        self.time = time
        self.deleted = deleted
        self._left: Entry | None = entry if deleted else None

    @property
    def left(self) -> Entry:
        """For watchers whose selection the object left: its state before, at this revision."""
        if self._left is None:
            assert self.old is not None
            self._left = removed(self.old, self.revision)
        return self._left


class Progress(Protocol):
    @property
    def revision(self) -> int: ...


class Watcher:
    """Made by `WatchCache.watch`; for one consumer."""

    def __init__(
        self,
        cache: Progress,
        watchers: Watchers,
        prefix: str,
        labels: LabelSelector | None,
        fields: FieldSelector | None,
        bookmark_interval: float | None,
    ) -> None:
        self.prefix = prefix
        self.fields = fields
        self._cache = cache
        self._watchers = watchers
        self._labels = labels
        self._bookmark_interval = bookmark_interval
        self._first: EventList = []  # not counted: it may be any size
        self._queue: deque[tuple[EventList, int]] = deque()
        self._queued = 0
        self._after = 0
        self._sent = 0
        self._ended = ""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def revision(self) -> int:
        """What the consumer has been given so far reaches to here."""
        if self._queue or self._first:
            return self._sent
        return max(self._sent, self._cache.revision)

    def begin_with(self, entries: Iterable[Entry], revision: int, end: bool) -> None:
        first: EventList = [(ADDED, entry) for entry in entries]
        if end:
            first.append((INITIAL_EVENTS_END, _marker(revision)))
        self._after = self._sent = revision
        self._first = first

    def begin_after(self, changes: Sequence[Change], revision: int) -> None:
        self._after = self._sent = revision
        self._first = self._select(changes)

    async def next_batch(self) -> EventList:
        """The next events, a whole commit group's share at a time; a BOOKMARK when the world has moved on without
        any. Raises WatchEnded."""
        if self._first:
            first, self._first = self._first, []
            self._sent = max(self._sent, first[-1][1].revision)
            return first
        while True:
            if self._queue:
                events, self._sent = self._queue.popleft()
                self._queued -= len(events)
                return events
            if self._ended:
                raise WatchEnded(self._ended)
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            interval = self._bookmark_interval
            timer = loop.call_later(interval, self._wake) if interval is not None else None
            try:
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
            if interval is not None and not self._queue and not self._ended and self.revision > self._sent:
                self._sent = self.revision
                return [(BOOKMARK, _marker(self._sent))]

    def close(self) -> None:
        self._watchers.discard(self)
        self.end("closed")
        self._queue.clear()
        self._first = []

    def end(self, why: str) -> None:
        self._ended = self._ended or why
        self._wake()

    def offer(self, changes: Sequence[Change]) -> bool:
        """Take one's share of a published group. False: too far behind, ended."""
        events = self._select(changes)
        if not events:
            return True
        if self._queued > MAX_QUEUED:
            self._queue.clear()
            self.end("too slow")
            return False
        self._queue.append((events, changes[-1].revision))
        self._queued += len(events)
        self._wake()
        return True

    def _select(self, changes: Iterable[Change]) -> EventList:
        events: EventList = []
        prefix, labels, fields, after = self.prefix, self._labels, self.fields, self._after
        everything = labels is None and fields is None
        for change in changes:
            entry, old = change.entry, change.old
            if change.revision <= after or not entry.key.startswith(prefix):
                continue
            now = not change.deleted and (everything or entry.selected(labels, fields))
            before = old is not None and (everything or old.selected(labels, fields))
            if now:
                events.append((MODIFIED if before else ADDED, entry))
            elif before:
                events.append((DELETED, change.left))
        return events

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _marker(revision: int) -> Entry:
    return Entry("", revision, b"", {}, {}, _NO_ENCODINGS)


class Watchers:
    """All watchers of one resource; those with an exact field are filed under its value."""

    def __init__(self) -> None:
        self._all: dict[Watcher, None] = {}  # a set that keeps its order
        self._by_field: dict[str, dict[str, dict[Watcher, None]]] = {}

    def __len__(self) -> int:
        return len(self._all) + sum(len(w) for values in self._by_field.values() for w in values.values())

    @staticmethod
    def _exact(watcher: Watcher) -> tuple[str, str] | None:
        if watcher.fields is None:
            return None
        exact = [(r.field, r.value) for r in watcher.fields.requirements if r.operator == "="]
        return next((e for e in exact if e[0] == "metadata.name"), exact[0] if exact else None)

    def add(self, watcher: Watcher) -> None:
        exact = self._exact(watcher)
        if exact is None:
            self._all[watcher] = None
        else:
            self._by_field.setdefault(exact[0], {}).setdefault(exact[1], {})[watcher] = None

    def discard(self, watcher: Watcher) -> None:
        exact = self._exact(watcher)
        if exact is None:
            self._all.pop(watcher, None)
            return
        values = self._by_field.get(exact[0], {})
        filed = values.get(exact[1], {})
        filed.pop(watcher, None)
        if not filed:
            values.pop(exact[1], None)
        if not values:
            self._by_field.pop(exact[0], None)

    def publish(self, changes: Sequence[Change]) -> None:
        slow = [watcher for watcher in self._all if not watcher.offer(changes)]
        for field, values in self._by_field.items():
            shares: dict[str, list[Change]] = {}
            for change in changes:
                value = change.entry.fields.get(field, "")
                if value in values:
                    shares.setdefault(value, []).append(change)
                before = value if change.old is None else change.old.fields.get(field, "")
                if before != value and before in values:
                    shares.setdefault(before, []).append(change)
            for value, share in shares.items():
                slow += [watcher for watcher in values[value] if not watcher.offer(share)]
        for watcher in slow:
            self.discard(watcher)

    def end(self, why: str) -> None:
        watchers = list(self._all)
        watchers += [w for values in self._by_field.values() for filed in values.values() for w in filed]
        for watcher in watchers:
            watcher.end(why)
            self.discard(watcher)
