"""A store whose revisions are another's, moved up by a number.

etcd counts its revisions from 1 and cannot be told to go on elsewhere, but after a restore into a fresh one, revisions
must be higher than all that clients have seen before: a client that holds an old one would wait for a state long past,
or take a new object for an old one. So what a restore writes beside the objects is this number.

Everything up to the number counts as compacted. Values pass through untouched; only where a number was set is anything
wrapped at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from shirube.storage.types import (
    Batch,
    Compacted,
    Compare,
    CompareFailed,
    FutureRevision,
    KeyValue,
    Op,
    Range,
    Storage,
    Watch,
)

T = TypeVar("T")


class ShiftedStorage:
    """`inner`, its revision r shown as r + `by`."""

    def __init__(self, inner: Storage, by: int) -> None:
        self._inner = inner
        self._by = by

    async def commit(self, compares: Sequence[Compare], ops: Sequence[Op]) -> int:
        inner = [Compare(c.key, c.mod_revision and self._down(c.mod_revision)) for c in compares]
        return await self._raised(self._inner.commit(inner, ops)) + self._by

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        found = await self._raised(self._inner.get(key, self._held(revision)))
        return None if found is None else self._up(found)

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0, count: bool = False
    ) -> Range:
        at = self._held(revision)
        found = await self._raised(
            self._inner.range(prefix, start_after=start_after, limit=limit, revision=at, count=count)
        )
        return Range([self._up(item) for item in found.items], found.revision + self._by, found.more, found.count)

    async def current_revision(self) -> int:
        return await self._inner.current_revision() + self._by

    @asynccontextmanager
    async def _watching(self, prefix: str, after_revision: int) -> AsyncIterator[Watch]:
        async with self._inner.watch(prefix, max(0, after_revision - self._by)) as watch:
            yield _ShiftedWatch(watch, self._by, after_revision)

    def watch(self, prefix: str, after_revision: int) -> Any:
        return self._watching(prefix, after_revision)

    async def compact(self, revision: int) -> None:
        if revision > self._by:
            await self._raised(self._inner.compact(revision - self._by))

    async def close(self) -> None:
        await self._inner.close()

    def _down(self, revision: int) -> int:
        """-1, which no key has, for a revision of before."""
        return revision - self._by if revision > self._by else -1

    def _held(self, revision: int) -> int:
        if revision and revision <= self._by:
            raise Compacted(self._by + 1)
        return revision - self._by if revision else 0

    def _up(self, kv: KeyValue) -> KeyValue:
        return KeyValue(kv.key, kv.value, kv.create_revision + self._by, kv.mod_revision + self._by)

    async def _raised(self, call: Awaitable[T]) -> T:
        """What the call answers; the revisions in what it raises are moved, too."""
        try:
            return await call
        except Compacted as error:
            raise Compacted(error.compact_revision + self._by) from None
        except FutureRevision as error:
            raise FutureRevision(error.revision + self._by, error.current + self._by) from None
        except CompareFailed as error:
            raise CompareFailed(error.key, None if error.current is None else self._up(error.current)) from None


class _ShiftedWatch:
    def __init__(self, inner: Watch, by: int, after: int) -> None:
        self._inner = inner
        self._by = by
        self._compacted = after < by

    @property
    def revision(self) -> int:
        return self._inner.revision + self._by

    def request_progress(self) -> None:
        self._inner.request_progress()

    def __aiter__(self) -> _ShiftedWatch:
        return self

    async def __anext__(self) -> Batch:
        if self._compacted:
            raise Compacted(self._by + 1)
        try:
            batch = await anext(self._inner)
        except Compacted as error:
            raise Compacted(error.compact_revision + self._by) from None
        by = self._by
        return Batch(
            (e._replace(revision=e.revision + by, create_revision=e.create_revision + by) for e in batch),
            batch.revision + by,
        )
