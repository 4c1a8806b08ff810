"""Encryption at rest: a store around the store that seals values on their way in and opens them on their way out.

Everything above it, the watch caches first, sees plain values: reads are as fast as without encryption. The
configuration may be replaced while the server runs (`configure`): values are opened by every provider that it has,
written by the first, and a write that changes nothing is carried out when the stored value is `stale`, so that
`kubectl get … | kubectl replace -f -` moves a store to a new key. A value that cannot be opened raises `CannotDecrypt`
with its storage key, and hurts only the resource that it belongs to (`watch_cache`).

See "Encrypting Confidential Data at Rest" in the upstream documentation. Modules: `configuration`, `providers`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from shirube.apiserver.cannot_decrypt import CannotDecrypt
from shirube.apiserver.encryption.configuration import Rules, read
from shirube.storage.types import (
    Batch,
    Compare,
    CompareFailed,
    Event,
    KeyValue,
    Op,
    Put,
    Range,
    Storage,
    Watch,
)

__all__ = ["CannotDecrypt", "EncryptedStorage", "Rules", "read"]

_MAX_OWN_BYTES = 4 << 20


class EncryptedStorage:
    """See `storage.types.Storage`."""

    def __init__(self, inner: Storage, rules: Rules | None = None) -> None:
        self.inner = inner
        self._rules = rules if rules is not None else Rules([])
        # What this server has sealed and will be told of by its watches: opening it again is spared, and the watch
        # cache recognises its writer's bytes.
        self._own: OrderedDict[bytes, bytes] = OrderedDict()
        self._own_bytes = 0

    def configure(self, data: bytes) -> None:
        """Follow an EncryptionConfiguration from now on. Raises ConfigurationError, and changes nothing then."""
        self._rules = read(data)

    async def stale(self, key: str) -> bool:
        """Whether the stored value would be written otherwise now: by another key, or not at all encrypted."""
        held = await self.inner.get(key)
        return held is not None and self._rules.of(key).open(held.value, key).stale

    async def commit(self, compares: Sequence[Compare], ops: Sequence[Op]) -> int:
        sealed = [self._seal(op) if isinstance(op, Put) else op for op in ops]
        try:
            return await self.inner.commit(compares, sealed)
        except CompareFailed as failure:
            current = self._open(failure.current) if failure.current is not None else None
            raise CompareFailed(failure.key, current) from failure

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        held = await self.inner.get(key, revision)
        return None if held is None else self._open(held)

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0, count: bool = False
    ) -> Range:
        found = await self.inner.range(prefix, start_after=start_after, limit=limit, revision=revision, count=count)
        return found._replace(items=[self._open(held) for held in found.items])

    async def current_revision(self) -> int:
        return await self.inner.current_revision()

    @asynccontextmanager
    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Watch]:
        async with self.inner.watch(prefix, after_revision) as source:
            yield _OpeningWatch(self, source)

    async def compact(self, revision: int) -> None:
        await self.inner.compact(revision)

    async def close(self) -> None:
        await self.inner.close()

    def _seal(self, op: Put) -> Put:
        sealed = self._rules.of(op.key).seal(op.value, op.key)
        if sealed is not op.value:
            self._own[sealed] = op.value
            self._own_bytes += len(sealed)
            while self._own_bytes > _MAX_OWN_BYTES:
                old, _ = self._own.popitem(last=False)
                self._own_bytes -= len(old)
        return Put(op.key, sealed)

    def _open(self, held: KeyValue) -> KeyValue:
        return held._replace(value=self._rules.of(held.key).open(held.value, held.key).value)

    def opened(self, event: Event) -> Event:
        """Raises CannotDecrypt."""
        key, value, before = event.key, event.value, event.prev_value
        if event.kind == "PUT":
            own = self._own.pop(value, None)
            if own is not None:
                self._own_bytes -= len(value)
                value = own
            else:
                value = self._rules.of(key).open(value, key).value
        if before is not None:
            before = self._rules.of(key).open(before, key).value
        return event._replace(value=value, prev_value=before)


class _OpeningWatch:
    """See `storage.types.Watch`."""

    def __init__(self, storage: EncryptedStorage, source: Watch) -> None:
        self._storage = storage
        self._source = source

    @property
    def revision(self) -> int:
        return self._source.revision

    def request_progress(self) -> None:
        self._source.request_progress()

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        batch = await anext(self._source)
        return Batch(map(self._storage.opened, batch), batch.revision)
