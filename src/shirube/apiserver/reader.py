"""How authentication, authorisation and admission read stored objects inside the server: from the watch caches.

Answers are decoded objects of the stored version, READ-ONLY: they are shared by everybody who asks. A few are kept
decoded (those asked for most recently); `revision` tells when an index derived from a resource must be rebuilt.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from shirube.api import errors
from shirube.api.gvr import GVR
from shirube.apiserver.cache_entry import Entry
from shirube.apiserver.watch_cache import WatchCache

if TYPE_CHECKING:
    from shirube.api.resources import Resource, ResourceTable

Json = dict[str, Any]

_MAX_BYTES = 4 << 20  # of JSON; decoded it takes about five times as much
_LISTS = 1024  # short ones are kept as they were answered: most are empty and asked for by every write
_SHORT = 16  # objects


class Caches(Protocol):
    def of(self, resource: Resource, /) -> WatchCache: ...


class Reader:
    def __init__(self, table: ResourceTable, caches: Caches) -> None:
        self._table = table
        self._caches = caches
        self._decoded: OrderedDict[str, tuple[int, int, Json]] = OrderedDict()  # key -> (revision, size, object)
        self._bytes = 0
        self._places: dict[GVR, tuple[Resource, WatchCache]] = {}  # of built-in ones: read in once, they stay so
        self._lists: dict[tuple[GVR, str], tuple[int, list[Json]]] = {}

    def get(self, gvr: GVR, namespace: str, name: str) -> Json | None:
        """The object, or None. Raises ApiError 503 while the resource is not read in yet."""
        resource, cache = self._places.get(gvr) or self._place(gvr)
        entry = cache.get(resource.key(namespace, name))
        return None if entry is None else self._decode(entry)

    def list(self, gvr: GVR, namespace: str = "") -> list[Json]:
        """All objects, or those of a namespace, in key order."""
        resource, cache = self._places.get(gvr) or self._place(gvr)
        held = self._lists.get((gvr, namespace))
        if held is not None and held[0] == cache.changed:
            return held[1].copy()
        found = [self._decode(e) for e in cache.entries(resource.prefix(namespace or None))]
        if len(found) <= _SHORT:
            if len(self._lists) >= _LISTS:
                self._lists.clear()
            self._lists[gvr, namespace] = (cache.changed, found.copy())
        else:
            self._lists.pop((gvr, namespace), None)
        return found

    def revision(self, gvr: GVR) -> int:
        """Changes exactly when an object of the resource does."""
        return (self._places.get(gvr) or self._place(gvr))[1].changed

    def _place(self, gvr: GVR) -> tuple[Resource, WatchCache]:
        """Where a resource is that is not in `_places` (yet). Raises ApiError 404, 503."""
        resource = self._resource(gvr)
        found = (resource, self._cache(resource))
        if resource.definition is None:  # caches of custom resources come and go
            self._places[gvr] = found
        return found

    def _resource(self, gvr: GVR) -> Resource:
        resource = self._table.by_gvr(gvr)
        if resource is None:
            raise errors.path_not_found()
        return resource

    def _cache(self, resource: Resource) -> WatchCache:
        cache = self._caches.of(resource)
        if cache.unreadable is not None:
            raise errors.internal_error(str(cache.unreadable))
        if not cache.ready:
            raise errors.service_unavailable(f"{resource.group_resource} are not read in yet", retry_after=1)
        return cache

    def _decode(self, entry: Entry) -> Json:
        key, decoded = entry.key, self._decoded
        held = decoded.get(key)
        if held is not None and held[0] == entry.revision:
            decoded.move_to_end(key)
            return held[2]
        obj: Json = orjson.loads(entry.data)
        size = len(entry.data)
        if held is not None:
            self._bytes -= held[1]
        decoded[key] = (entry.revision, size, obj)
        decoded.move_to_end(key)
        self._bytes += size
        while self._bytes > _MAX_BYTES and len(decoded) > 1:
            _, (_, freed, _) = decoded.popitem(last=False)
            self._bytes -= freed
        return obj
