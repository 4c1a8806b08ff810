"""A copy of a collection that follows it: list, then watch from where the list ended.

The mechanism is client-go's reflector and shared informer:

- list in pages, then watch from the list's resourceVersion; every event and bookmark moves the version on;
- a watch that ends is resumed from the last version: nothing is missed, nothing is listed again;
- 410 Gone (the version is too old) lists again and hands the difference to the handlers;
- failures back off from 0.2 s to 10 s with jitter, so that a restarted server is not stampeded;
- a collection that the server does not serve, and never did, counts as empty: whoever waits for its first list goes on
  without it, and it is filled when it is served after all.

Handlers are plain functions, called in the order of events; a slow one delays the rest, so they only put
keys in queues. Objects in the store are READ-ONLY and shared: whoever wants to change one builds a new one.
`managedFields` are dropped on arrival; a projection may drop more. With a projection `resourceVersion` and
the rest of `metadata` must be kept, or handlers cannot tell an update from a replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any, NamedTuple

from shirube.api.errors import ApiError
from shirube.api.gvr import GVR
from shirube.client.rest import Client, Object
from shirube.foundation import log
from shirube.foundation.chance import Chance

_PAGE = 500
_BACKOFF_FIRST, _BACKOFF_MOST = 0.2, 10.0
_WATCH_SECONDS = (300, 600)
_NOT_SERVED = 3  # answers of 404 in a row after which a collection counts as not served: one that starts may be late

Objects = list[Object]
Keys = list[str]
IndexFunction = Callable[[Object], Iterable[str]]
Projection = Callable[[Object], Object]


def key_of(obj: Object) -> str:
    """`namespace/name`, or `name` of a cluster-scoped object: the key of stores and queues."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def split_key(key: str) -> tuple[str, str]:
    """(namespace, name); the namespace is "" for cluster-scoped objects."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


class Store:
    """Objects by key, by namespace and by index. Lists are in no particular order."""

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._namespaces: dict[str, dict[str, Object]] = {}
        self._functions: dict[str, IndexFunction] = {}
        self._indexes: dict[str, dict[str, dict[str, Object]]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(self._objects.values())

    def __contains__(self, key: str) -> bool:
        return key in self._objects

    def missing(self, found: Container[str]) -> Keys:
        """Keys that are here but not in `found`."""
        return [key for key in self._objects if key not in found]

    def get(self, namespace: str | None, name: str) -> Object | None:
        return self._objects.get(f"{namespace}/{name}" if namespace else name)

    def get_by_key(self, key: str) -> Object | None:
        return self._objects.get(key)

    def list(self, namespace: str | None = None) -> list[Object]:
        if namespace:
            return list(self._namespaces.get(namespace, {}).values())
        return list(self._objects.values())

    def by_index(self, name: str, value: str) -> Objects:
        return list(self._indexes[name].get(value, {}).values())

    def index_values(self, name: str) -> Iterable[str]:
        return self._indexes[name].keys()

    def clear(self) -> None:
        """Forget all objects, without a word to anybody."""
        self._objects.clear()
        self._namespaces.clear()
        for index in self._indexes.values():
            index.clear()

    def add_index(self, name: str, function: IndexFunction) -> None:
        if name in self._functions:
            return
        self._functions[name] = function
        self._indexes[name] = {}
        for key, obj in self._objects.items():
            self._enter(name, function, key, obj)

    def put(self, key: str, obj: Object) -> Object | None:
        """Store it; the object that was there before, if any."""
        old = self._objects.get(key)
        self._objects[key] = obj
        if namespace := obj["metadata"].get("namespace"):
            self._namespaces.setdefault(namespace, {})[key] = obj
        for name, function in self._functions.items():
            if old is not None:
                self._leave(name, function, key, old)
            self._enter(name, function, key, obj)
        return old

    def remove(self, key: str) -> Object | None:
        old = self._objects.pop(key, None)
        if old is None:
            return None
        if (namespace := old["metadata"].get("namespace")) and (there := self._namespaces.get(namespace)):
            there.pop(key, None)
            if not there:
                del self._namespaces[namespace]
        for name, function in self._functions.items():
            self._leave(name, function, key, old)
        return old

    def _enter(self, name: str, function: IndexFunction, key: str, obj: Object) -> None:
        index = self._indexes[name]
        for value in function(obj):
            index.setdefault(value, {})[key] = obj

    def _leave(self, name: str, function: IndexFunction, key: str, obj: Object) -> None:
        index = self._indexes[name]
        for value in function(obj):
            if (there := index.get(value)) is not None:
                there.pop(key, None)
                if not there:
                    del index[value]


class Handler(NamedTuple):
    on_add: Callable[[Object], Any] | None
    on_update: Callable[[Object, Object], Any] | None
    on_delete: Callable[[Object], Any] | None


class Informer:
    """One collection, followed. `run` does the work; everything else may be called before or after."""

    def __init__(
        self,
        client: Client,
        gvr: GVR,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        projection: Projection | None = None,
        *,
        metadata_only: bool = False,
        resync_seconds: float = 0.0,
        chance: Chance | None = None,
    ) -> None:
        self.gvr = gvr
        self.store = Store()
        self._client = client
        self._namespace = namespace
        self._selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        self._projection = projection
        self._metadata_only = metadata_only
        self._resync_seconds = resync_seconds
        self._chance = chance or Chance()
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._not_served = 0  # times in a row
        self.resource_version = ""
        self._log = log.get("informer")

    def add_index(self, name: str, function: IndexFunction) -> None:
        self.store.add_index(name, function)

    def add_handler(
        self,
        on_add: Callable[[Object], Any] | None = None,
        on_update: Callable[[Object, Object], Any] | None = None,
        on_delete: Callable[[Object], Any] | None = None,
    ) -> Handler:
        """Called for everything from now on, and `on_add` at once for everything already here."""
        handler = Handler(on_add, on_update, on_delete)
        self._handlers.append(handler)
        if on_add is not None:
            for obj in self.store.list():
                self._call(on_add, obj)
        return handler

    def remove_handler(self, handler: Handler) -> None:
        self._handlers.remove(handler)

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_for_cache_sync(self) -> None:
        await self._synced.wait()

    async def run(self) -> None:
        """Follow until cancelled."""
        if not self._resync_seconds:
            await self._follow()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._resync(), name=f"resync-{self.gvr}")
            await self._follow()

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._resync_seconds)
            for obj in self.store.list():
                self._updated(obj, obj)

    async def _follow(self) -> None:
        backoff = _BACKOFF_FIRST
        while True:
            try:
                if not self.resource_version:
                    await self._list()
                started = asyncio.get_running_loop().time()
                await self._watch()
                # A watch that lasted proves the server well; one that ends at once must not spin.
                if asyncio.get_running_loop().time() - started > 1.0:
                    backoff = _BACKOFF_FIRST
                    continue
            except ApiError as error:
                if error.code == 410:
                    self.resource_version = ""
                    if backoff == _BACKOFF_FIRST:
                        backoff *= 2  # list again at once the first time
                        continue
                else:
                    self._count_as_empty(error)
                    self._log.debug("cannot follow, trying again", resource=self.gvr, error=str(error))
            except Exception as error:
                # An answer that makes no sense (a proxy in between, half a line): start over from a list.
                self._log.error("cannot follow, listing again", resource=self.gvr, error=repr(error))
                self.resource_version = ""
            await asyncio.sleep(self._chance.jitter(backoff, 1.0))
            backoff = min(backoff * 2, _BACKOFF_MOST)

    def _count_as_empty(self, error: ApiError) -> None:
        self._not_served = self._not_served + 1 if error.code == 404 else 0
        if self._not_served == _NOT_SERVED and not self.synced:
            self._log.info("not served, going on without it", resource=self.gvr)
            self._synced.set()

    async def _list(self) -> None:
        found: dict[str, Object] = {}
        token, version = "", ""
        while True:
            page = await self._client.list(
                self.gvr,
                self._namespace,
                metadata_only=self._metadata_only,
                limit=_PAGE,
                continue_=token,
                **self._selectors,
            )
            api_version, kind = page.get("apiVersion", ""), str(page.get("kind", "")).removesuffix("List")
            for obj in page.get("items") or ():
                # Items of a list carry no kind of their own; a watch's objects do.
                obj.setdefault("apiVersion", api_version)
                obj.setdefault("kind", kind)
                found[key_of(obj)] = self._shown(obj)  # page by page: whole objects take several times the room
            version = page["metadata"].get("resourceVersion", "")
            token = page["metadata"].get("continue", "")
            if not token:
                break
        self._replace(found)
        self.resource_version = version
        self._synced.set()

    def _replace(self, found: dict[str, Object]) -> None:
        for key in self.store.missing(found):
            self._deleted(key, None)
        for key, obj in found.items():
            if not self._is_known(key, obj):
                self._store(key, obj)

    async def _watch(self) -> None:
        seconds = int(self._chance.uniform(*_WATCH_SECONDS))
        batches = self._client.watch_batches(
            self.gvr,
            self._namespace,
            metadata_only=self._metadata_only,
            timeout_seconds=seconds,
            allowWatchBookmarks=True,
            resourceVersion=self.resource_version,
            **self._selectors,
        )
        try:
            async for batch in batches:
                for event in batch:
                    self._event(event["type"], event["object"])
        finally:
            await batches.aclose()

    def _event(self, kind: str, obj: Object) -> None:
        if kind == "ERROR":
            raise ApiError.from_status(obj)
        version = obj["metadata"]["resourceVersion"]
        if kind in ("ADDED", "MODIFIED"):
            self._put(key_of(obj), obj)
        elif kind == "DELETED":
            self._deleted(key_of(obj), obj)
        self.resource_version = version

    def _shown(self, obj: Object) -> Object:
        """What is kept of it."""
        obj["metadata"].pop("managedFields", None)
        return obj if self._projection is None else self._projection(obj)

    def _is_known(self, key: str, obj: Object) -> bool:
        version = obj["metadata"].get("resourceVersion")
        known = self.store.get_by_key(key)
        return known is not None and bool(version) and known["metadata"].get("resourceVersion") == version

    def _put(self, key: str, obj: Object) -> None:
        if not self._is_known(key, obj):
            self._store(key, self._shown(obj))

    def _store(self, key: str, obj: Object) -> None:
        old = self.store.put(key, obj)
        if old is None:
            for handler in self._handlers:
                if handler.on_add is not None:
                    self._call(handler.on_add, obj)
        elif old["metadata"].get("uid") != obj["metadata"].get("uid"):
            # Deleted and made again while nobody was looking: two objects, not one that changed.
            for handler in self._handlers:
                if handler.on_delete is not None:
                    self._call(handler.on_delete, old)
                if handler.on_add is not None:
                    self._call(handler.on_add, obj)
        else:
            self._updated(old, obj)

    def _updated(self, old: Object, new: Object) -> None:
        for handler in self._handlers:
            if handler.on_update is not None:
                self._call(handler.on_update, old, new)

    def _deleted(self, key: str, last: Object | None) -> None:
        """`last` is the final state, None when the deletion itself was missed (the last known state
        counts).
        """
        old = self.store.remove(key)
        if last is not None:
            last = self._shown(last)
        final = last or old
        if old is None or final is None:
            return
        for handler in self._handlers:
            if handler.on_delete is not None:
                self._call(handler.on_delete, final)

    def _call(self, function: Callable[..., Any], *arguments: Object) -> None:
        try:
            function(*arguments)
        except Exception as error:
            # One component's mistake must not stop the collection for the others.
            self._log.error("handler failed", resource=self.gvr, error=repr(error), exc_info=error)


class InformerFactory:
    """One informer for each collection and process: whoever asks for the same one shares it."""

    def __init__(self, client: Client, *, chance: Chance | None = None) -> None:
        self._client = client
        self._chance = chance or Chance()
        self._informers: dict[tuple[Any, ...], Informer] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[tuple[Any, ...], asyncio.Task[None]] = {}

    def informer(
        self,
        gvr: GVR,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        projection: Projection | None = None,
        *,
        metadata_only: bool = False,
    ) -> Informer:
        """The shared informer of this collection; the first to ask decides the projection."""
        key = (gvr, namespace, label_selector, field_selector)
        if key not in self._informers:
            self._informers[key] = Informer(
                self._client,
                gvr,
                namespace,
                label_selector,
                field_selector,
                projection,
                metadata_only=metadata_only,
                chance=self._chance,
            )
            if self._group is not None:
                self._start(key)
        return self._informers[key]

    def find(self, gvr: GVR) -> Informer | None:
        """The informer of the whole collection, if somebody has asked for it."""
        return self._informers.get((gvr, None, None, None))

    def clear(self) -> None:
        """Free what all informers hold: whoever used them is gone, though parts of it may still refer to them."""
        for informer in self._informers.values():
            informer.store.clear()

    async def stop(self, informer: Informer) -> None:
        """End one informer and forget it (its resource is gone)."""
        for key in [key for key, known in self._informers.items() if known is informer]:
            del self._informers[key]
            if task := self._tasks.pop(key, None):
                task.cancel()
                await asyncio.wait([task])

    def _start(self, key: tuple[Any, ...]) -> None:
        assert self._group is not None
        informer = self._informers[key]
        self._tasks[key] = self._group.create_task(informer.run(), name=f"informer-{informer.gvr}")

    async def run(self) -> None:
        """Run all informers, also those asked for later, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for key in self._informers:
                    self._start(key)
                await asyncio.Event().wait()
        finally:
            self._group = None

    async def wait_for_cache_sync(self) -> None:
        for informer in list(self._informers.values()):
            await informer.wait_for_cache_sync()
