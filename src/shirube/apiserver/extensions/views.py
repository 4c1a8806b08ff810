"""What a served version shows of stored entries: lists and watches of custom resources.

See `api.crd.served`: bytes that are in order already pass through; the others are read, filled in and converted, those
of a page or a batch of events together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import errors
from shirube.apiserver.cache_entry import Encodings, Entry
from shirube.apiserver.watcher import BOOKMARK, INITIAL_EVENTS_END, WatchEnded
from shirube.foundation import log

if TYPE_CHECKING:
    from shirube.api.crd.served import Served
    from shirube.apiserver.watcher import Watcher

EventList = list[tuple[str, Entry]]

_logger = log.get("extensions")
_OWN_BYTES = 1 << 20


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


async def page(served: Served, items: Sequence[Any]) -> list[Any]:
    """The items of a list (entries of the cache, or bytes from storage). Raises ApiError of a conversion."""
    revisions = [i.revision if isinstance(i, Entry) else revision_of(i.data) for i in items]
    data = await served.views([(item.data, at) for item, at in zip(items, revisions, strict=True)])
    return [i if d is i.data else Shown(d) for i, d in zip(items, data, strict=True)]


class ShownEvents:
    """A watcher whose events are those of one served version."""

    def __init__(self, watcher: Watcher, served: Served) -> None:
        self._watcher = watcher
        self._served = served
        self._encodings = Encodings(_OWN_BYTES)

    @property
    def revision(self) -> int:
        return self._watcher.revision

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
