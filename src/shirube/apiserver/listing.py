"""LIST: collections, current or as they were, whole or in pieces, streamed from stored bytes.

Which state is read follows upstream's table of `resourceVersion`, `resourceVersionMatch`, `limit` and `continue`:
the newest, one not older than asked for (both from the watch cache), or exactly one revision (from storage). An
answer leaves in chunks of about 256 KB made by joining bytes that exist already; plain JSON is never encoded
again, and a whole list is never one buffer. What has to be decoded (tables, protobuf) is, a slice at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from shirube.api import errors
from shirube.api.kinds import strategy_of
from shirube.apiserver import caches, continuation, encoding, past, selection, stored
from shirube.apiserver.extensions import views
from shirube.apiserver.negotiation import JSON, PROTOBUF, Accepted
from shirube.apiserver.past import PAGE, Bytes, Past
from shirube.apiserver.watch_cache import Entry, Listing
from shirube.serving.messages import Response
from shirube.storage.types import Compacted, FutureRevision

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]

GZIPPED = [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
CHUNK = 256 * 1024  # bytes of a list that leave together
FEW = 4000  # objects that may fit into one chunk
MOST_KEPT = 16 << 20  # bytes of one protobuf list that are held while it leaves
MOST_AT_ONCE = 5000  # objects that one read of storage brings at most
SLICE = 64  # objects decoded or encoded between two turns of the loop
YIELD_EVERY = 4000  # objects held against selectors between two turns of the loop: a millisecond
TOO_OLD = "The resourceVersion for the provided list is too old."


class Wanted(NamedTuple):
    """Which objects, at which state."""

    prefix: str
    selection: selection.Selection
    limit: int
    start_after: str  # relative to prefix
    exact: int  # 0: from the cache
    at_least: int  # 0: any state will do; NEWEST: every acknowledged write


NEWEST = -1


class Page(NamedTuple):
    items: Any  # a sequence of Entry or Bytes, or a Past of them: `.data` with resourceVersion, of the stored version
    revision: int
    more_after: str  # key (relative to the prefix) that a continuation goes on after; "" when done
    remaining: int | None


async def handle(server: ServerContext, rc: RequestContext) -> Response:
    return respond(rc, await _read(server, rc))


async def read(server: ServerContext, rc: RequestContext) -> Page:
    """What a list answers, its items as a sequence."""
    page = await _read(server, rc)
    return page._replace(items=await page.items.whole()) if isinstance(page.items, Past) else page


async def _read(server: ServerContext, rc: RequestContext) -> Page:
    assert rc.resource is not None
    wanted = plan(rc, server.clock.now())
    definition, late = rc.resource.definition, None
    if definition is not None and definition.late_fields:
        early, late = views.split(wanted.selection)
        wanted = wanted._replace(selection=early)
    if wanted.exact:
        page = await _from_storage(server, rc.resource, wanted)
    else:
        page = await _from_cache(server, rc.resource, wanted)
    if definition is None:
        return page
    served, selector = definition, late
    if isinstance(page.items, Past):
        return page._replace(items=page.items.changed(lambda items: views.page(served, items, selector)))
    return page._replace(items=await views.page(definition, page.items, late))


# ---------------------------------------------------------------------------------------- which state


def _forbidden(field: str, detail: str) -> errors.ApiError:
    return errors.invalid("meta.k8s.io", "ListOptions", "", [errors.Cause.forbidden(field, detail)])


def revision_of(text: str) -> int:
    """A resourceVersion parameter. Raises ApiError 422."""
    if not text:
        return 0
    if not text.isdigit() or len(text) > 20:
        cause = errors.Cause.invalid(
            "resourceVersion", text, f"strconv.ParseUint: parsing {errors.quote(text)}: invalid syntax"
        )
        raise errors.invalid("meta.k8s.io", "ListOptions", "", [cause])
    return int(text)


def plan(rc: RequestContext, now: float) -> Wanted:
    """From the parameters of a list to what has to be read. Raises ApiError."""
    resource, params = rc.resource, rc.params
    assert resource is not None
    prefix = resource.prefix(rc.namespace or None)
    chosen = selection.of(resource, params)
    limit = params.integer("limit", 0) or 0
    limit = max(limit, 0)
    token = params.get("continue")
    version, match = params.get("resourceVersion"), params.get("resourceVersionMatch")
    if match:
        _check_match(match, version, token)
    if "sendInitialEvents" in params:
        raise _forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    revision = revision_of(version)
    if token:
        if version and version != "0":
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        found = continuation.decode(token)
        if found.revision == continuation.NEWEST:
            return Wanted(prefix, chosen, limit, found.start_after, 0, NEWEST)
        if now - found.issued > continuation.LIFETIME:
            raise expired(found.start_after, now)
        return Wanted(prefix, chosen, limit, found.start_after, found.revision, 0)
    if match == "Exact" or (revision and limit and not match):
        return Wanted(prefix, chosen, limit, "", revision, 0)
    if version == "":
        return Wanted(prefix, chosen, limit, "", 0, NEWEST)
    return Wanted(prefix, chosen, limit, "", 0, revision)


def _check_match(match: str, version: str, token: str) -> None:
    if not version:
        raise _forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if token:
        raise _forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
    if match not in ("Exact", "NotOlderThan"):
        cause = errors.Cause.not_supported("resourceVersionMatch", match, ["Exact", "NotOlderThan", ""])
        raise errors.invalid("meta.k8s.io", "ListOptions", "", [cause])
    if match == "Exact" and version == "0":
        raise _forbidden("resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')


class ExpiredContinue(errors.ApiError):
    """410 whose metadata carries the token to go on with."""

    def __init__(self, token: str) -> None:
        super().__init__(410, "Expired", continuation.EXPIRED)
        self.token = token

    def status(self) -> Json:
        out = super().status()
        out["metadata"] = {"continue": self.token}
        return out


def expired(start_after: str, now: float) -> errors.ApiError:
    return ExpiredContinue(continuation.encode(continuation.NEWEST, start_after, now))


# ---------------------------------------------------------------------------------------- reading


async def _from_cache(server: ServerContext, resource: Resource, wanted: Wanted) -> Page:
    if wanted.at_least == NEWEST:
        cache = await server.caches.fresh(resource)
    else:
        cache = await server.caches.at_least(resource, wanted.at_least)
    prefix, chosen, limit = wanted.prefix, wanted.selection, wanted.limit
    if chosen.name and (key := _only_key(resource, prefix, chosen.name)):
        entry = cache.get(key)
        entries = [entry] if entry is not None and key[len(prefix) :] > wanted.start_after else []
        entries = [e for e in entries if e.selected(chosen.labels, chosen.fields)]
        return Page(entries, cache.revision, "", None)
    start = prefix + wanted.start_after if wanted.start_after else ""
    found = cache.list(prefix, start_after=start, limit=limit if chosen.empty else 0)
    if not chosen.empty:
        found = await _selected_of(found, chosen, limit)
    after, remaining = "", None
    if found.more:
        after = found.entries[-1].key[len(prefix) :]
        remaining = found.remaining if chosen.empty else None
    return Page(found.entries, found.revision, after, remaining)


async def _selected_of(found: Listing, chosen: selection.Selection, limit: int) -> Listing:
    """At most `limit` of what was found at one moment; other requests are served in between."""
    out: list[Entry] = []
    for start in range(0, len(found.entries), YIELD_EVERY):
        if start:
            await asyncio.sleep(0)
        some = found.entries[start : start + YIELD_EVERY]
        out += [entry for entry in some if entry.selected(chosen.labels, chosen.fields)]
        if limit and len(out) > limit:
            return Listing(out[:limit], found.revision, True, None)
    return Listing(out, found.revision, False, 0)


def _only_key(resource: Resource, prefix: str, name: str) -> str:
    """The key that `metadata.name=` pins down; "" where the namespace is open, too."""
    if resource.namespaced and prefix == resource.prefix():
        return ""
    return prefix + name if "/" not in name else ""


async def _from_storage(server: ServerContext, resource: Resource, wanted: Wanted) -> Page:
    cache = server.caches.of(resource)
    if cache.ready and cache.changed <= wanted.exact <= cache.revision:  # nothing has changed since
        return (await _from_cache(server, resource, wanted))._replace(revision=wanted.exact)
    strategy, chosen = strategy_of(stored.hub(server.table, resource)), wanted.selection
    after = wanted.prefix + wanted.start_after if wanted.start_after else ""
    try:
        if not wanted.limit:
            found = await past.read(server.storage, strategy, chosen, wanted.prefix, after, wanted.exact)
            return Page(found, wanted.exact, "", None)
        return await _piece(server, strategy, wanted, after)
    except Compacted:
        if wanted.start_after:
            raise expired(wanted.start_after, server.clock.now()) from None
        raise errors.expired(TOO_OLD) from None
    except FutureRevision as error:
        raise caches.too_large_version(error.revision, error.current) from None


async def _piece(server: ServerContext, strategy: Any, wanted: Wanted, after: str) -> Page:
    """At most `limit` of what is selected; the size of the piece is the client's choice."""
    chosen = wanted.selection
    data: list[Bytes] = []
    while True:
        found = await server.storage.range(
            wanted.prefix,
            start_after=after,
            limit=min(wanted.limit, MOST_AT_ONCE) if chosen.empty else PAGE,
            revision=wanted.exact,
            count=chosen.empty,
        )
        for n, item in enumerate(found.items):
            value = stored.splice(item.value, item.mod_revision)
            if n % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            if chosen.empty or past.selected(strategy, chosen, value):
                data.append(Bytes(value))
                if len(data) == wanted.limit:
                    more = found.more or n + 1 < len(found.items)
                    remaining = found.count - n - 1 if chosen.empty and more else None
                    return Page(data, wanted.exact, item.key[len(wanted.prefix) :] if more else "", remaining)
        if not found.more:
            return Page(data, wanted.exact, "", None)
        after = found.items[-1].key


# ---------------------------------------------------------------------------------------- answering


def list_meta(rc: RequestContext, page: Page) -> Json:
    meta: Json = {"resourceVersion": str(page.revision)}
    if page.more_after:
        meta["continue"] = continuation.encode(page.revision, page.more_after, rc.server.clock.now())
        if page.remaining:
            meta["remainingItemCount"] = page.remaining
    return meta


def respond(rc: RequestContext, page: Page) -> Response:
    resource = rc.resource
    assert resource is not None
    wanted = encoding.wanted_for(rc, resource.api_version, resource.kind)
    meta = list_meta(rc, page)
    headers = encoding.headers(rc)
    pretty = encoding.wants_pretty(rc) and wanted.media == JSON
    streamed = isinstance(page.items, Past)
    if wanted.plain and not pretty and not streamed:
        return _plain(rc, resource, page, meta, headers)
    if streamed and wanted.media == JSON and not wanted.transform:
        chunks = _of_past(rc, resource, page, meta, pretty)
    elif wanted.media == PROTOBUF and not wanted.transform:
        chunks = _protobuf(rc, resource, page, meta)
    elif wanted.transform and wanted.media == JSON and not pretty:
        chunks = _transformed(rc, resource, page, meta, wanted)
    elif pretty and not wanted.transform:
        chunks = _joined(*_indented(rc, resource, page, meta))
    else:
        chunks = _whole(rc, resource, page, meta, wanted, pretty)
    if accepts_much(rc, page):
        headers += GZIPPED
        chunks = encoding.gzip_stream(chunks)
    return Response(200, chunks, headers, wanted.media)


async def _slices(items: Any) -> AsyncIterator[Sequence[Any]]:
    """At most SLICE items at a time; the loop runs after each."""
    pages = items.pages() if isinstance(items, Past) else None
    page = items if pages is None else await anext(pages)
    while page is not None:
        for start in range(0, len(page), SLICE):
            yield page[start : start + SLICE]
            await asyncio.sleep(0)
        page = None if pages is None else await anext(pages, None)


async def _of_past(
    rc: RequestContext, resource: Resource, page: Page, meta: Json, pretty: bool
) -> AsyncIterator[bytes]:
    """JSON of a past state: chunk by chunk as it is read from storage."""
    head, tail = _head(resource, meta), b"]}\n"
    if pretty:
        head, _, tail = _indented(rc, resource, page, meta)
    parts, size, comma = [head], len(head), b""
    async for items in _slices(page.items):
        if pretty:
            found: Iterable[bytes] = _indented_items(rc, resource, items)
        else:
            data = [item.data for item in items]
            found = data if resource.direct else _converted(rc.server, resource, data)
        for piece in found:
            parts += (comma, piece)
            comma = b","
            size += len(piece)
        if size >= CHUNK:
            yield b"".join(parts)
            parts.clear()
            size = 0
    parts.append(tail)
    yield b"".join(parts)


def _head(resource: Resource, meta: Json) -> bytes:
    return b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
        resource.list_kind.encode(),
        resource.api_version.encode(),
        orjson.dumps(meta),
    )


def _plain(rc: RequestContext, resource: Resource, page: Page, meta: Json, headers: list[tuple[str, str]]) -> Response:
    head = _head(resource, meta)
    direct = resource.direct
    if direct and len(page.items) < FEW:
        small = [item.data for item in page.items]
        if sum(map(len, small)) < CHUNK // 2:
            return Response(200, b"%b%b]}\n" % (head, b",".join(small)), headers)
    data = (item.data for item in page.items)  # a hundred thousand are not even counted in one turn of the loop
    items = data if direct else _converted(rc.server, resource, data)
    chunks = _joined(head, items, b"]}\n")
    if accepts_much(rc, page):
        headers += GZIPPED
        chunks = encoding.gzip_stream(chunks)
    return Response(200, chunks, headers)


def accepts_much(rc: RequestContext, page: Page) -> bool:
    """Whether to compress: the client can, and there is enough of it."""
    if isinstance(page.items, Past):
        return encoding.accepts_gzip(rc)
    if not encoding.accepts_gzip(rc):
        return False
    return len(page.items) >= FEW or sum(len(item.data) for item in page.items) > encoding.GZIP_FROM


async def _protobuf(rc: RequestContext, resource: Resource, page: Page, meta: Json) -> AsyncIterator[bytes]:
    """The message begins with its length, so all is encoded before the first byte leaves. What exceeds MOST_KEPT is
    encoded once more when its turn comes, rather than held until the client has read that far."""
    from shirube.api import protobuf

    kept: list[bytes] = []
    size = kept_size = 0
    async for items in _slices(page.items):
        for body in _protobuf_bodies(rc, resource, items):
            size += len(protobuf.list_item(body)) + len(body)
            if kept_size < MOST_KEPT:
                kept.append(body)
                kept_size += len(body)
    parts = [protobuf.open_list(resource.api_version, resource.list_kind, meta, size)]
    waiting, n = 0, 0
    async for items in _slices(page.items):
        held = kept[n : n + len(items)]
        n += len(items)
        for body in (*held, *_protobuf_bodies(rc, resource, items[len(held) :])):
            parts += (protobuf.list_item(body), body)
            waiting += len(body)
        if waiting >= CHUNK:
            yield b"".join(parts)
            parts.clear()
            waiting = 0
    parts.append(protobuf.LIST_END)
    yield b"".join(parts)


def _protobuf_bodies(rc: RequestContext, resource: Resource, items: Sequence[Any]) -> list[bytes]:
    from shirube.api import protobuf

    return [protobuf.body_of(encoding.protobuf_of(rc, resource, item)) for item in items]


def _converted(server: ServerContext, resource: Resource, data: Iterable[bytes]) -> Iterable[bytes]:
    """Stored bytes in another served version, one by one as they leave."""
    return (orjson.dumps(stored.from_hub(server.table, resource, stored.decode(d))) for d in data)


def _indented(rc: RequestContext, resource: Resource, page: Page, meta: Json) -> tuple[bytes, Iterable[bytes], bytes]:
    """(head, items, tail) of a list for people: each item is indented by itself as it leaves."""
    whole = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta, "items": []}
    head = orjson.dumps(whole, option=orjson.OPT_INDENT_2)
    if isinstance(page.items, Past):
        return head[: head.rindex(b"[]") + 1], (), b"\n  ]\n}\n"
    if not page.items:
        return head, (), b"\n"
    at = head.rindex(b"[]")
    return head[: at + 1], _indented_items(rc, resource, page.items), b"\n  ]\n}\n"


def _indented_items(rc: RequestContext, resource: Resource, items: Iterable[Any]) -> Iterable[bytes]:
    return (
        b"\n    "  # line breaks inside texts are escaped: every one here is of the layout
        + orjson.dumps(_decoded(rc, resource, [item])[0], option=orjson.OPT_INDENT_2).replace(b"\n", b"\n    ")
        for item in items
    )


async def _joined(head: bytes, items: Iterable[bytes], tail: bytes) -> AsyncIterator[bytes]:
    """Chunks of about CHUNK bytes; between them the loop runs (writing waits for the client, too)."""
    parts, size, comma = [head], len(head), b""
    for item in items:
        parts += (comma, item)
        comma = b","
        size += len(item)
        if size >= CHUNK:
            yield b"".join(parts)
            parts.clear()
            size = 0
            await asyncio.sleep(0)
    parts.append(tail)
    yield b"".join(parts)


async def _transformed(
    rc: RequestContext, resource: Resource, page: Page, meta: Json, wanted: Accepted
) -> AsyncIterator[bytes]:
    """A Table or a list of metadata, a slice of the objects at a time."""
    field = "rows" if wanted.transform == "Table" else "items"
    shape = encoding.transform(rc, resource, [], wanted)
    shape["metadata"] = meta
    shape[field] = []
    head = orjson.dumps(shape)
    at = head.rindex(b'"%b":[]' % field.encode()) + len(field) + 4
    parts, size, comma = [head[:at]], at, b""
    async for items in _slices(page.items):
        # In one expression: while the client reads slowly, nothing decoded waits with the chunk.
        piece = orjson.dumps(encoding.transform(rc, resource, _decoded(rc, resource, items), wanted)[field])[1:-1]
        parts += (comma, piece)
        comma = b","
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(parts)
            parts.clear()
            size = 0
    parts.append(head[at:])
    yield b"".join(parts)


def _decoded(rc: RequestContext, resource: Resource, items: Sequence[Any]) -> list[Json]:
    return [stored.from_hub(rc.server.table, resource, stored.decode(item.data)) for item in items]


async def _whole(
    rc: RequestContext, resource: Resource, page: Page, meta: Json, wanted: Accepted, pretty: bool
) -> AsyncIterator[bytes]:
    """YAML and indented JSON, for people: decoded a slice at a time, encoded as one."""
    objects: list[Json] = []
    async for items in _slices(page.items):
        objects += _decoded(rc, resource, items)
    if wanted.transform:
        out = encoding.transform(rc, resource, objects, wanted)
        out["metadata"] = meta
    else:
        out = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta, "items": objects}
    yield encoding.serialize(out, wanted.media, pretty)
