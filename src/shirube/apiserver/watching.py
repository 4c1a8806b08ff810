"""WATCH: a stream of events, one line (or frame) each, written once per commit.

Where it begins: with the present state as ADDED events (no resourceVersion, or "0"), after a revision, or with the
state and a marked bookmark behind it (`sendInitialEvents`). Where it ends: after `timeoutSeconds` (30 to 60 minutes
unless asked), with an ERROR event when history does not reach back far enough or the client is too slow, and
when the server stops. Bookmarks, where allowed, come about once a minute and before a timeout.
See "Efficient detection of changes" in the upstream documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import errors
from shirube.apiserver import encoding, listing, selection, stored
from shirube.apiserver.cache_entry import event_line
from shirube.apiserver.extensions import views
from shirube.apiserver.negotiation import JSON, PROTOBUF, Accepted
from shirube.apiserver.watcher import BOOKMARK, INITIAL_EVENTS_END, WatchEnded
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.context import RequestContext, ServerContext
    from shirube.apiserver.watch_cache import Entry, WatchCache, Watcher

Json = dict[str, Any]

MIN_TIMEOUT = 1800.0  # seconds; the default is this to twice this, so that watchers do not come back all at once
BOOKMARK_INTERVAL = 60.0
INITIAL_END_ANNOTATION = "k8s.io/initial-events-end"
CHUNK = 256 * 1024  # bytes of a large batch that leave together
TIMED_OUT = "timed out"


class Framing:
    """Events in the encoding that one watcher reads."""

    def __init__(self, rc: RequestContext, resource: Resource, wanted: Accepted) -> None:
        self._rc = rc
        self._resource = resource
        self._wanted = wanted
        self._direct = wanted.plain and resource.direct
        self._columns_sent = False

    @property
    def content_type(self) -> str:
        return JSON if self._wanted.media == JSON else f"{self._wanted.media};stream=watch"

    def frame(self, kind: str, entry: Entry) -> bytes:
        """An event of a watcher. Encodings that all watchers share are made once."""
        if kind == BOOKMARK:
            return self.bookmark(entry.revision)
        if kind == INITIAL_EVENTS_END:
            return self.bookmark(entry.revision, True)
        if self._direct:
            return event_line(kind, entry)
        if self._wanted.transform == "Table":
            return self._made(kind, entry)
        key = (kind, self._resource.gvr, *self._wanted)
        return entry.encoding(key, lambda e: self._made(kind, e))

    def _made(self, kind: str, entry: Entry) -> bytes:
        return self.event(kind, stored.from_hub(self._rc.server.table, self._resource, stored.decode(entry.data)))

    def event(self, kind: str, obj: Json) -> bytes:
        """`obj` in the served version."""
        wanted = self._wanted
        if wanted.transform and obj.get("kind") != "Status":
            if wanted.transform == "Table":
                obj = self._table(kind, obj)
            else:
                obj = encoding.partial_metadata(obj, wanted.version)
        return self.raw(kind, obj)

    def _table(self, kind: str, obj: Json) -> Json:
        objects = [] if kind == "BOOKMARK" else [obj]
        out = encoding.transform(self._rc, self._resource, objects, self._wanted)
        out["metadata"] = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        if kind == "BOOKMARK":
            out["rows"] = [{"cells": [], "object": encoding.partial_metadata(obj, self._wanted.version)}]
        if self._columns_sent:
            out["columnDefinitions"] = None
        self._columns_sent = True
        return out

    def raw(self, kind: str, obj: Json) -> bytes:
        if self._wanted.media == PROTOBUF:
            from shirube.api import protobuf

            return protobuf.frame(protobuf.encode_watch_event(kind, obj))
        return b'{"type":"%b","object":%b}\n' % (kind.encode(), orjson.dumps(obj))

    def bookmark(self, revision: int, initial_end: bool = False) -> bytes:
        meta: Json = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            meta["annotations"] = {INITIAL_END_ANNOTATION: "true"}
        resource = self._resource
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
        if self._wanted.media == PROTOBUF:
            del meta["creationTimestamp"]
        return self.event("BOOKMARK", obj)

    def error(self, error: errors.ApiError) -> bytes:
        return self.raw("ERROR", error.status())


def _invalid(field: str, detail: str) -> errors.ApiError:
    return errors.invalid("meta.k8s.io", "ListOptions", "", [errors.Cause.forbidden(field, detail)])


def _check_options(rc: RequestContext) -> bool | None:
    """sendInitialEvents, or None when it is not given. Raises ApiError 422."""
    params = rc.params
    match = params.get("resourceVersionMatch")
    if "sendInitialEvents" not in params:
        if match:
            raise _invalid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        return None
    if not match:
        raise _invalid(
            "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        )
    if match != "NotOlderThan":
        cause = errors.Cause.not_supported("resourceVersionMatch", match, ["NotOlderThan"])
        raise errors.invalid("meta.k8s.io", "ListOptions", "", [cause])
    return params.flag("sendInitialEvents")


def timeout_of(rc: RequestContext) -> float:
    asked = rc.params.integer("timeoutSeconds", 0) or 0
    if asked > 0:
        return float(asked)
    return MIN_TIMEOUT * (1 + rc.server.chance.uniform(0, 1))


async def handle(server: ServerContext, rc: RequestContext) -> Response:
    resource = rc.resource
    assert resource is not None
    wanted = encoding.wanted_for(rc, resource.api_version, resource.kind)
    send_initial = _check_options(rc)
    version = listing.revision_of(rc.params.get("resourceVersion"))
    chosen = selection.of(resource, rc.params)
    if rc.name:  # the old /watch/ prefix with a name
        chosen = selection.named(chosen, rc.name)
    framing = Framing(rc, resource, wanted)
    headers = encoding.headers(rc)
    late = None
    if resource.definition is not None and resource.definition.late_fields:
        chosen, late = views.split(chosen)
    try:
        cache = await _cache(rc, version, send_initial)
        watcher: Any = _begin(rc, cache, chosen, version, send_initial)
    except errors.ApiError as error:
        if error.code != 410:
            raise
        # As upstream: a version that is too old is told inside the stream.
        return Response(200, _only(framing.error(error)), headers, framing.content_type)
    if resource.definition is not None:
        watcher = views.ShownEvents(watcher, resource.definition)
        if late is not None:
            watcher = views.LateSelection(watcher, resource.definition, late, list(cache.entries(watcher.prefix)))
    return Response(200, Events(server, rc, framing, watcher), headers, framing.content_type)


async def _only(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


async def _cache(rc: RequestContext, version: int, send_initial: bool | None) -> WatchCache:
    """The cache, as current as the beginning of this watch demands."""
    caches, resource = rc.server.caches, rc.resource
    assert resource is not None
    if rc.params.get("resourceVersion") == "":
        return await caches.fresh(resource)
    return await caches.at_least(resource, version if send_initial else 0)


def _begin(
    rc: RequestContext,
    cache: WatchCache,
    chosen: selection.Selection,
    version: int,
    send_initial: bool | None,
) -> Watcher:
    """Raises ApiError 410."""
    resource = rc.resource
    assert resource is not None
    bookmarks = rc.params.flag("allowWatchBookmarks")
    after: int | None = version
    if send_initial or (send_initial is None and not version):
        after = None
    elif not version:
        after = cache.revision  # without initial events: from now on
    return cache.watch(
        resource.prefix(rc.namespace or None),
        chosen.labels,
        chosen.fields,
        after,
        bookmarks,
        initial_events_end=bool(send_initial) and bookmarks,
        bookmark_interval=BOOKMARK_INTERVAL,
    )


class Events:
    """The body of a watch: follows from the moment it is made, and ends its watcher however it ends."""

    def __init__(self, server: ServerContext, rc: RequestContext, framing: Framing, watcher: Watcher) -> None:
        self._server = server
        self._watcher = watcher
        end = asyncio.get_running_loop().time() + timeout_of(rc)
        self._chunks = _live(framing, watcher, end, rc.params.flag("allowWatchBookmarks"))
        server.watchers.add(watcher)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        self._server.watchers.discard(self._watcher)
        self._watcher.close()
        await self._chunks.aclose()


async def _live(framing: Framing, watcher: Watcher, end: float, bookmarks: bool) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    timer = loop.call_at(end, watcher.end, TIMED_OUT)
    frame = framing.frame
    try:
        yield b""  # the head leaves now: clients wait for it
        while True:
            batch = await watcher.next_batch()
            if len(batch) == 1:
                yield frame(*batch[0])
                continue
            parts: list[bytes] = []
            size = 0
            for kind, entry in batch:
                parts.append(frame(kind, entry))
                size += len(parts[-1])
                if size >= CHUNK:
                    yield b"".join(parts)
                    parts.clear()
                    size = 0
                    await asyncio.sleep(0)
            if parts:
                yield b"".join(parts)
    except WatchEnded as ended:
        if bookmarks and str(ended) == TIMED_OUT:
            yield framing.bookmark(watcher.revision)
    finally:
        timer.cancel()
