"""Discovery and OpenAPI documents, made once per generation of the resource table and kept as bytes with ETags.

`/api`, `/apis` answer the classic lists, or, when the Accept header prefers it, the aggregated document
(apidiscovery.k8s.io/v2). OpenAPI v3 documents asked for by their hash may be cached for ever by the client; with
an old hash it is sent to the new one. Large documents are compressed once.
See "Kubernetes API discovery" and "OpenAPI V3" in the upstream documentation.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from shirube.api import discovery, errors, openapi
from shirube.api.openapi import version2_protobuf
from shirube.apiserver import encoding
from shirube.apiserver.negotiation import JSON, acceptable, accepted, discovery_clause
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.api.resources import ResourceTable
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]

OPENAPI_V2 = (JSON, "application/com.github.proto-openapi.spec.v2.v1.0+json")
OPENAPI_V2_PROTOBUF = (
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
)
OPENAPI_V3 = (JSON, "application/com.github.proto-openapi.spec.v3.v1.0+json")
FOR_EVER = [("Cache-Control", "public, immutable"), ("Vary", "Accept")]


class Document:
    """Bytes, their ETag, and their compressed form once somebody wanted it."""

    __slots__ = ("_gzipped", "data", "etag")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.etag = hashlib.sha256(data).hexdigest().upper()
        self._gzipped: bytes | None = None

    async def gzipped(self) -> bytes:
        if self._gzipped is None:
            self._gzipped = await asyncio.to_thread(_gzip, self.data)
        return self._gzipped


def _gzip(data: bytes) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return compressor.compress(data) + compressor.flush()


class Documents:
    """What has been made for the present generation of the table."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._generation = -1
        self._made: dict[str, Document] = {}

    def get(self, name: str, make: Callable[[], bytes]) -> Document:
        table = self._server.table
        if table.generation != self._generation:
            self._generation = table.generation
            self._made.clear()
        document = self._made.get(name)
        if document is None:
            document = self._made[name] = Document(make())
        return document

    async def in_thread(self, name: str, make: Callable[[ResourceTable], bytes]) -> Document:
        """For documents that take longer to make than the loop may stand still: of a table that stays as it is."""
        generation = self._server.table.generation
        if generation == self._generation and name in self._made:
            return self._made[name]
        data = await asyncio.to_thread(make, self._server.table.copy())
        if generation != self._server.table.generation:
            return Document(data)  # it may be of either generation: an answer, but nothing to keep
        return self.get(name, lambda: data)


async def _answer(
    rc: RequestContext, document: Document, content_type: str, *, etag: bool, more: list[tuple[str, str]] | None = None
) -> Response:
    headers = more or []
    if etag:
        headers = [("ETag", f'"{document.etag}"'), *headers]
        if (rc.request.headers.get("if-none-match") or "").strip('W/"') == document.etag:
            return encoding.respond_raw(rc, b"", content_type, 304, headers)
    if len(document.data) > encoding.GZIP_FROM and encoding.accepts_gzip(rc):
        headers = [("Content-Encoding", "gzip"), *headers]
        return encoding.respond_raw(rc, await document.gzipped(), content_type, 200, headers)
    return encoding.respond_raw(rc, document.data, content_type, 200, headers)


# ---------------------------------------------------------------------------------------- discovery


async def _classic(rc: RequestContext, obj: Json) -> Response:
    accepted(rc.request.headers.get("accept"), transforms=False)
    return encoding.respond(rc, obj)


async def _root(server: ServerContext, rc: RequestContext, core: bool) -> Response:
    version = discovery_clause(rc.request.headers.get("accept"))
    vary = [("Vary", "Accept")]
    if not version:
        options = server.options
        if core:
            obj = discovery.api_versions(f"{options.advertise_host}:{options.advertise_port}")
            obj["versions"] = server.table.versions("")
        else:
            obj = discovery.api_group_list(server.table)
        response = await _classic(rc, obj)
        response.headers += vary
        return response
    document = server.documents.get(
        f"aggregated {core} {version}",
        lambda: orjson.dumps(discovery.aggregated(server.table, core=core, version=version)),
    )
    content_type = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    return await _answer(rc, document, content_type, etag=True, more=vary)


async def api(server: ServerContext, rc: RequestContext) -> Response:
    return await _root(server, rc, True)


async def apis(server: ServerContext, rc: RequestContext) -> Response:
    return await _root(server, rc, False)


async def group(server: ServerContext, rc: RequestContext) -> Response:
    """`/apis/GROUP`"""
    try:
        return await _classic(rc, discovery.api_group(server.table, _part(rc, 2)))
    except KeyError:
        raise errors.path_not_found() from None


async def resources(server: ServerContext, rc: RequestContext) -> Response:
    """`/api/v1` and `/apis/GROUP/VERSION`"""
    core = rc.info.path.startswith("/api/")
    name, version = ("", _part(rc, 2)) if core else (_part(rc, 2), _part(rc, 3))
    try:
        return await _classic(rc, discovery.api_resource_list(server.table, name, version))
    except KeyError:
        raise errors.path_not_found() from None


def _part(rc: RequestContext, n: int) -> str:
    parts = rc.info.path.split("/")
    return unquote(parts[n]) if len(parts) > n else ""


# ---------------------------------------------------------------------------------------- OpenAPI


def _schemas(table: ResourceTable) -> dict[tuple[str, str, str], Json]:
    """The schemas of custom resources."""
    return {(r.group, r.version, r.kind): r.definition.schema for r in table if r.definition is not None}


def _v3_index(table: ResourceTable) -> bytes:
    return orjson.dumps(openapi.v3_index(table, _schemas(table)))


async def openapi_v2(
    server: ServerContext, rc: RequestContext, mix: Callable[[bytes], bytes] | None = None
) -> Response:
    """`mix` adds to our document what others serve; whoever hands it over counts the table's generation up whenever it
    would give something else."""

    def make(table: ResourceTable) -> bytes:
        document = openapi.v2(table, _schemas(table))
        return mix(document) if mix is not None else document

    wanted = acceptable(rc.request.headers.get("accept"), (*OPENAPI_V2, *OPENAPI_V2_PROTOBUF, "text/plain"))
    if wanted is None:
        raise errors.not_acceptable((*OPENAPI_V2, *OPENAPI_V2_PROTOBUF))
    vary = [("Vary", "Accept")]
    if wanted in OPENAPI_V2_PROTOBUF:
        document = await server.documents.in_thread(
            "openapi v2 protobuf", lambda table: version2_protobuf.encode(make(table))
        )
        return await _answer(rc, document, version2_protobuf.MEDIA_TYPE, etag=True, more=vary)
    document = await server.documents.in_thread("openapi v2", make)
    return await _answer(rc, document, JSON, etag=True, more=vary)


async def openapi_v3_index(server: ServerContext, rc: RequestContext) -> Response:
    document = await server.documents.in_thread("openapi v3", _v3_index)
    return await _answer(rc, document, JSON, etag=True)


async def openapi_v3(server: ServerContext, rc: RequestContext) -> Response:
    """`/openapi/v3/NAME[?hash=…]`"""
    name = unquote(rc.info.path.removeprefix("/openapi/v3/")).rstrip("/")
    if not name:
        return await openapi_v3_index(server, rc)
    if acceptable(rc.request.headers.get("accept"), (*OPENAPI_V3, "text/plain")) is None:
        raise errors.not_acceptable(OPENAPI_V3)
    try:
        document = await server.documents.in_thread(
            f"v3 {name}", lambda table: openapi.v3(table, name, _schemas(table))
        )
    except KeyError:
        raise errors.path_not_found() from None
    asked = rc.params.get("hash")
    if not asked:
        return await _answer(rc, document, JSON, etag=True)
    index = await server.documents.in_thread("openapi v3", _v3_index)
    where = orjson.loads(index.data)["paths"].get(name, {}).get("serverRelativeURL", "")
    if not where.endswith(f"hash={asked}"):
        return encoding.respond_raw(rc, b"", JSON, 301, [("Location", where or f"/openapi/v3/{name}")])
    response = await _answer(rc, document, JSON, etag=True, more=FOR_EVER)
    response.headers = [h for h in response.headers if h != encoding.NO_CACHE]
    return response
