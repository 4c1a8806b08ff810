"""What a served version shows of stored entries: lists and watches of custom resources.

See `api.crd.served`: bytes that are in order already pass through; the others are read, filled in and converted, those
of a page or a batch of events together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import errors
from shirube.api.selectors import FieldSelector
from shirube.apiserver.cache_entry import Encodings, Entry
from shirube.apiserver.watcher import ADDED, BOOKMARK, DELETED, INITIAL_EVENTS_END, MODIFIED, WatchEnded
from shirube.foundation import log

if TYPE_CHECKING:
    from shirube.api.crd.served import Served
    from shirube.apiserver.selection import Selection
    from shirube.apiserver.watcher import Watcher

EventList = list[tuple[str, Entry]]

_logger = log.get("extensions")
_OWN_BYTES = 1 << 20
SLICE = 128  # objects brought up to date between two turns of the loop
CONVERTED = 500  # objects that a webhook is asked about at once


def revision_of(data: bytes) -> int:
    """The resourceVersion in the bytes of an object."""
    return int(orjson.loads(data)["metadata"]["resourceVersion"])


class Shown:
    """An object of a page, as a version shows it."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def encoding(self, media: Any, make: Any) -> bytes:
        made: bytes = make(self)
        return made


def split(chosen: Selection) -> tuple[Selection, FieldSelector | None]:
    """What the cache can select by, and the fields that are known only once an object is converted."""
    if chosen.fields is None:
        return chosen, None
    early = [r for r in chosen.fields.requirements if r[0].startswith("metadata.")]
    late = [r for r in chosen.fields.requirements if not r[0].startswith("metadata.")]
    if not late:
        return chosen, None
    return chosen._replace(fields=FieldSelector(early) if early else None), FieldSelector(late)


def selected(served: Served, late: FieldSelector, data: bytes) -> bool:
    return late.matches(served.strategy.selectable_fields(orjson.loads(data)))


async def page(served: Served, items: Sequence[Any], late: FieldSelector | None = None) -> list[Any]:
    """The items of a list (entries of the cache, or bytes from storage) that `late` selects. Raises ApiError of a
    conversion."""
    revisions = [i.revision if isinstance(i, Entry) else revision_of(i.data) for i in items]
    wanted = [(item.data, at) for item, at in zip(items, revisions, strict=True)]
    data: list[bytes] = []
    step = CONVERTED if served.late_fields else SLICE
    for start in range(0, len(wanted), step):
        data += await served.views(wanted[start : start + step])
        await asyncio.sleep(0)
    return [
        i if d is i.data else Shown(d)
        for i, d in zip(items, data, strict=True)
        if late is None or selected(served, late, d)
    ]


class ShownEvents:
    """A watcher whose events are those of one served version."""

    def __init__(self, watcher: Watcher, served: Served) -> None:
        self._watcher = watcher
        self._served = served
        self._encodings = Encodings(_OWN_BYTES)

    @property
    def revision(self) -> int:
        return self._watcher.revision

    @property
    def prefix(self) -> str:
        return self._watcher.prefix

    def end(self, why: str) -> None:
        self._watcher.end(why)

    def close(self) -> None:
        self._watcher.close()

    async def next_batch(self) -> EventList:
        """Raises WatchEnded, also when objects cannot be converted: the client lists anew and is told why."""
        batch = await self._watcher.next_batch()
        objects = [(kind, entry) for kind, entry in batch if kind not in (BOOKMARK, INITIAL_EVENTS_END)]
        if all(self._served.current(entry.data, entry.revision) for _, entry in objects):
            return batch
        try:
            data = await self._served.views([(entry.data, entry.revision) for _, entry in objects])
        except errors.ApiError as error:
            _logger.warning("a watch ends: its objects cannot be converted", error=error.message)
            raise WatchEnded("objects cannot be converted") from error
        shown = iter(data)
        return [
            (kind, entry if kind in (BOOKMARK, INITIAL_EVENTS_END) else self._entry(entry, next(shown)))
            for kind, entry in batch
        ]

    def _entry(self, entry: Entry, data: bytes) -> Entry:
        if data is entry.data:
            return entry
        return Entry(entry.key, entry.revision, data, entry.labels, entry.fields, self._encodings, entry.gone)


class LateSelection:
    """A watcher of what `late` selects among converted objects: remembers what was selected, so that what comes to be
    or ceases to be selected is ADDED or DELETED."""

    def __init__(self, events: ShownEvents, served: Served, late: FieldSelector, present: list[Entry]) -> None:
        self._events = events
        self._served = served
        self._late = late
        self._present: list[Entry] | None = present
        self._selected: set[str] = set()

    @property
    def revision(self) -> int:
        return self._events.revision

    def end(self, why: str) -> None:
        self._events.end(why)

    def close(self) -> None:
        self._events.close()

    async def next_batch(self) -> EventList:
        """Raises WatchEnded."""
        if self._present is not None:
            await self._remember(self._present)
            self._present = None
        while True:
            made = [event for kind, entry in await self._events.next_batch() if (event := self._event(kind, entry))]
            if made:
                return made

    async def _remember(self, entries: list[Entry]) -> None:
        try:
            data = await self._served.views([(entry.data, entry.revision) for entry in entries])
        except errors.ApiError as error:
            raise WatchEnded("objects cannot be converted") from error
        self._selected = {e.key for e, d in zip(entries, data, strict=True) if selected(self._served, self._late, d)}

    def _event(self, kind: str, entry: Entry) -> tuple[str, Entry] | None:
        if kind in (BOOKMARK, INITIAL_EVENTS_END):
            return kind, entry
        before = entry.key in self._selected
        now = kind != DELETED and selected(self._served, self._late, entry.data)
        if now:
            self._selected.add(entry.key)
            return (kind if kind == ADDED else MODIFIED if before else ADDED), entry
        self._selected.discard(entry.key)
        return (DELETED, entry) if before else None
