"""The watch caches of one server: one per stored resource, filled when the server starts or when first asked for.

`fresh` makes reads current: it asks the store for its newest revision (a shared store: one linearizable read;
an embedded one: a number) and waits until the cache has it. `seen` is awaited by every writer before it answers,
so that a client that reads what it wrote never waits. Served versions of one resource share a cache.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import errors
from shirube.api.kinds import strategy_of
from shirube.apiserver.watch_cache import Encodings, WatchCache
from shirube.foundation.clock import Clock
from shirube.storage.types import Storage

if TYPE_CHECKING:
    from shirube.api.gvr import GVR
    from shirube.api.resources import Resource, ResourceTable
    from shirube.api.strategy import Strategy

Json = dict[str, Any]

WAIT_FOR_REVISION = 3.0  # seconds that a read waits for a state that it asked for, as upstream
WAIT_FOR_WRITE = 3.0
_NO_LABELS: Mapping[str, str] = {}


class Caches:
    def __init__(self, table: ResourceTable, storage: Storage, clock: Clock) -> None:
        self._table = table
        self._storage = storage
        self._clock = clock
        self._encodings = Encodings()
        self._caches: dict[GVR, WatchCache] = {}

    def of(self, resource: Resource) -> WatchCache:
        """The cache of a resource; it may not be filled yet (`fresh` and `at_least` wait for that)."""
        cache = self._caches.get(resource.storage)
        if cache is None:
            hub = self._table.by_gvr(resource.storage) or resource
            cache = WatchCache(
                self._storage,
                hub.prefix(),
                _extractor(strategy_of(hub) if hub.definition is None else hub.definition.family.indexing),
                clock=self._clock,
                encodings=self._encodings,
            )
            self._caches[resource.storage] = cache
        return cache

    async def start(self) -> None:
        """Fill the caches of all stored resources."""
        caches = {id(c): c for c in (self.of(r) for r in self._table if not r.virtual)}
        async with asyncio.TaskGroup() as group:
            for cache in caches.values():
                group.create_task(_fill(cache), name=f"fill {cache.prefix}")

    async def fresh(self, resource: Resource) -> WatchCache:
        """The cache with every write acknowledged so far, by any server."""
        revision = await self._storage.current_revision()
        cache = self._caches.get(resource.storage) or self.of(resource)
        if cache.ready and cache.revision >= revision:
            return cache
        return await self.at_least(resource, revision)

    async def at_least(self, resource: Resource, revision: int) -> WatchCache:
        """The cache with everything up to `revision`; 504 when that has not happened in time."""
        cache = self.of(resource)
        if not cache.ready:
            await cache.start()
        if cache.revision < revision:
            try:
                await cache.wait_for(revision, WAIT_FOR_REVISION)
            except TimeoutError:
                raise too_large_version(revision, cache.revision) from None
        return cache

    async def seen(self, resource: Resource, revision: int) -> None:
        """Wait until readers of this server see a write. One that is durable is answered even if the cache cannot
        follow (a shared store that went away just then): reads that must be current wait for it themselves."""
        cache = self.of(resource)
        if cache.revision < revision and cache.ready:
            with contextlib.suppress(TimeoutError):
                await cache.wait_for(revision, WAIT_FOR_WRITE)

    def hint(self, hub: Resource, key: str, value: bytes, obj: Json) -> None:
        """Spare the cache decoding what its writer has just encoded."""
        cache = self._caches.get(hub.storage)
        if cache is not None and hub.definition is None:
            cache.hint(key, value, *index(strategy_of(hub), obj))

    async def renew(self, resource: Resource, *, drop: bool) -> None:
        """Its definition has changed: watches begin anew. `drop`: the cache, too, when it is next asked for."""
        cache = self._caches.get(resource.storage)
        if cache is None:
            return
        if drop:
            del self._caches[resource.storage]
            await cache.close()
        else:
            cache.end_watches("the definition of the resource has changed")

    def ready(self) -> bool:
        return all(cache.ready or cache.unreadable is not None for cache in self._caches.values())

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._caches.values())

    async def close(self) -> None:
        await asyncio.gather(*(cache.close() for cache in self._caches.values()))


async def _fill(cache: WatchCache) -> None:
    try:
        await cache.start()
    except errors.ApiError:
        if cache.unreadable is None:  # else the others are served, and this one when its key is there
            raise


def index(strategy: Strategy, obj: Json) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """(labels, selectable fields) of an object."""
    meta = obj["metadata"]
    fields = strategy.selectable_fields(obj)
    fields["metadata.name"] = meta["name"]
    namespace = meta.get("namespace")
    if namespace:
        fields["metadata.namespace"] = namespace
    return meta.get("labels") or _NO_LABELS, fields


def _extractor(strategy: Strategy):  # type: ignore[no-untyped-def]
    def extract(value: bytes) -> tuple[Mapping[str, str], Mapping[str, str]]:
        return index(strategy, orjson.loads(value))

    return extract


def too_large_version(revision: int, current: int) -> errors.ApiError:
    """504: asked for a state that has not happened within the time that a read waits."""
    error = errors.timeout(f"Too large resource version: {revision}, current: {current}", 1)
    error.details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return error
