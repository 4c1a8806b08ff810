"""LIST of a state that the caches no longer hold: read from storage a page at a time, while the answer leaves.

A client may ask for all objects as they were at a revision. Nothing of such an answer is shared with anybody, so it is
never held as a whole: the next page is read when the client has taken the one before. What can be wrong with the
request is found out with the first page, before the answer begins. A revision that is compacted while a client reads
very slowly ends its answer in the middle, which clients notice: the last chunk is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any

from shirube.apiserver import stored

if TYPE_CHECKING:
    from shirube.apiserver.selection import Selection
    from shirube.storage.types import Range, Storage

PAGE = 500  # objects that one read of storage brings
SLICE = 64  # objects held against a selector between two turns of the loop


class Bytes:
    """An object that did not come from the cache: like an entry, but its encodings are made for this answer."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def encoding(self, media: Hashable, make: Callable[[Any], bytes]) -> bytes:
        return make(self)


Change = Callable[[list[Any]], Awaitable[list[Any]]]


class Past:
    """The objects of a list, in pages, which are read from storage each time. Stands for a sequence where only slices
    are taken."""

    def __init__(
        self, first: list[Any], rest: Callable[[], AsyncIterator[list[Any]]] | None, change: Change | None = None
    ) -> None:
        self._first = first
        self._rest = rest
        self._change = change

    def changed(self, change: Change) -> Past:
        """With `change` done to every page as it is read."""
        return Past(self._first, self._rest, change)

    async def pages(self) -> AsyncIterator[list[Any]]:
        yield await self._shown(self._first)
        if self._rest is not None:
            async for page in self._rest():
                yield await self._shown(page)

    async def _shown(self, page: list[Any]) -> list[Any]:
        return page if self._change is None else await self._change(page)

    async def whole(self) -> list[Any]:
        return [item async for page in self.pages() for item in page]


async def read(
    storage: Storage, strategy: Any, chosen: Selection, prefix: str, start_after: str, revision: int
) -> Past:
    """Everything selected below `prefix` after `start_after` as it was. Raises Compacted, FutureRevision."""
    found = await storage.range(prefix, start_after=start_after, limit=PAGE, revision=revision)
    first = await _selected_of(strategy, chosen, found)
    if not found.more:
        return Past(first, None)
    last = found.items[-1].key
    return Past(first, lambda: _rest(storage, strategy, chosen, prefix, last, revision))


async def _rest(
    storage: Storage, strategy: Any, chosen: Selection, prefix: str, after: str, revision: int
) -> AsyncIterator[list[Any]]:
    while True:
        found = await storage.range(prefix, start_after=after, limit=PAGE, revision=revision)
        more = found.more
        if found.items:
            after = found.items[-1].key
        page = await _selected_of(strategy, chosen, found)
        del found  # while the client reads, one copy waits, not two
        yield page
        if not more:
            return


async def _selected_of(strategy: Any, chosen: Selection, found: Range) -> list[Any]:
    out: list[Any] = []
    for n, item in enumerate(found.items):
        if n % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        value = stored.splice(item.value, item.mod_revision)
        if chosen.empty or selected(strategy, chosen, value):
            out.append(Bytes(value))
    return out


def selected(strategy: Any, chosen: Selection, value: bytes) -> bool:
    obj = stored.decode(value)
    meta = obj["metadata"]
    if chosen.labels is not None and not chosen.labels.matches(meta.get("labels") or {}):
        return False
    if chosen.fields is None:
        return True
    fields = dict(strategy.selectable_fields(obj))
    fields["metadata.name"], fields["metadata.namespace"] = meta["name"], meta.get("namespace", "")
    return chosen.fields.matches(fields)
