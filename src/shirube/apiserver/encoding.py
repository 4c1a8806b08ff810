"""Objects to answers: the bytes that storage holds where they will do, another encoding where one is asked for.

`respond` takes decoded objects (special handlers, statuses), `respond_stored` bytes of stored objects: plain JSON
of the stored version leaves as it is. Every answer of the API is `no-cache, private` and names its audit id;
warnings travel as `Warning: 299 - "…"`, at most 4 KB of them.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from shirube.apiserver import stored
from shirube.apiserver.negotiation import JSON, PROTOBUF, YAML, Accepted, accepted
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.cache_entry import Entry
    from shirube.apiserver.context import RequestContext

Json = dict[str, Any]

GZIP_FROM = 128 * 1024  # bytes; smaller answers are not worth the time
GZIP_LEVEL = 1
MAX_WARNING_BYTES = 4096
NO_CACHE = ("Cache-Control", "no-cache, private")
_PRETTY_AGENTS = ("curl/", "Wget/", "Mozilla/5.0")


def headers(rc: RequestContext) -> list[tuple[str, str]]:
    """The headers that every answer carries, warnings included."""
    out = [("Audit-Id", rc.audit_id), NO_CACHE]
    if rc.warnings:
        out += warning_headers(rc.warnings)
    return out


def warning_headers(warnings: list[str]) -> list[tuple[str, str]]:
    out, size = [], 0
    for text in dict.fromkeys(warnings):
        shown = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
        escaped = shown.replace("\\", "\\\\").replace('"', '\\"')
        size += len(escaped)
        if size > MAX_WARNING_BYTES:
            break
        out.append(("Warning", f'299 - "{escaped}"'))
    return out


def wants_pretty(rc: RequestContext) -> bool:
    if "pretty" in rc.params.given:
        return rc.params.pretty()
    agent = rc.request.headers.get("user-agent") or ""
    return agent.startswith(_PRETTY_AGENTS)


def serialize(obj: Json, media: str, pretty: bool = False) -> bytes:
    if media == PROTOBUF:
        from shirube.api import protobuf  # field tables: only servers that are asked for it pay for them

        return protobuf.encode(obj)
    if media == YAML:
        return yaml.dump(obj, Dumper=yaml.CSafeDumper, sort_keys=True, default_flow_style=False).encode()
    if pretty:
        return orjson.dumps(obj, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE)


def wanted_for(rc: RequestContext, api_version: str, kind: str) -> Accepted:
    """The form that an answer of this kind takes. Raises ApiError 406."""
    header = rc.request.headers.get("accept")
    # What is only created (reviews, bindings) has no rows and no metadata to show.
    transforms = rc.resource is None or "get" in rc.resource.verbs or kind == "Status"
    wanted = accepted(header, transforms=transforms)
    if wanted.media == PROTOBUF and not wanted.transform:
        from shirube.api import protobuf

        if not protobuf.knows(api_version, kind):  # custom resources: whatever else is accepted
            return accepted(header, transforms=transforms, protobuf=False)
    return wanted


def respond(rc: RequestContext, obj: Json, status: int = 200) -> Response:
    """A decoded object; tables and partial metadata where asked for."""
    wanted = wanted_for(rc, obj.get("apiVersion", ""), obj.get("kind", ""))
    if wanted.transform and obj.get("kind") != "Status" and rc.resource is not None:
        obj = transform(rc, rc.resource, [obj], wanted, single=True)
    data = serialize(obj, wanted.media, wanted.media == JSON and wants_pretty(rc))
    return Response(status, data, headers(rc), wanted.media)


def respond_stored(rc: RequestContext, data: bytes, status: int = 200) -> Response:
    """One stored object, from its bytes (with resourceVersion, in the stored version)."""
    resource = rc.resource
    assert resource is not None
    wanted = accepted(rc.request.headers.get("accept"))
    if wanted.plain and resource.direct and not wants_pretty(rc):
        return Response(status, data, headers(rc))
    return respond(rc, stored.from_hub(rc.server.table, resource, stored.decode(data)), status)


def respond_entry(rc: RequestContext, entry: Entry) -> Response:
    """One object of the watch cache: its other encodings are made once and shared."""
    resource = rc.resource
    assert resource is not None
    accept = rc.request.headers.get("accept")
    if (accept is None or accept == JSON) and resource.direct and not wants_pretty(rc):
        return Response(200, entry.data, headers(rc))
    wanted = wanted_for(rc, resource.api_version, resource.kind)
    if wanted.media == PROTOBUF and not wanted.transform:
        return Response(200, protobuf_of(rc, resource, entry), headers(rc), PROTOBUF)
    return respond_stored(rc, entry.data)


def protobuf_of(rc: RequestContext, resource: Resource, entry: Entry) -> bytes:
    """The enveloped message of a cached object in the served version."""

    def make(e: Entry) -> bytes:
        return serialize(stored.from_hub(rc.server.table, resource, stored.decode(e.data)), PROTOBUF)

    return entry.encoding((PROTOBUF, resource.gvr), make)


def respond_raw(
    rc: RequestContext, data: bytes, content_type: str, status: int = 200, more: list[tuple[str, str]] | None = None
) -> Response:
    """A document that is no API object."""
    return Response(status, data, headers(rc) + (more or []), content_type)


def partial_metadata(obj: Json, version: str) -> Json:
    meta = obj.get("metadata", {})
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": meta}


def transform(
    rc: RequestContext, resource: Resource, objects: list[Json], wanted: Accepted, *, single: bool = False
) -> Json:
    """Objects (of the served version) as a Table, or as PartialObjectMetadata (a list of it unless `single`)."""
    if wanted.transform == "Table":
        from shirube.api import table

        out = table.table(
            resource, objects, rc.server.clock.now(), include=rc.params.get("includeObject") or "Metadata"
        )
        out["apiVersion"] = f"meta.k8s.io/{wanted.version}"
        if single:
            version = objects[0].get("metadata", {}).get("resourceVersion")
            out["metadata"] = {"resourceVersion": version} if version else {}
        return out
    items = [partial_metadata(obj, wanted.version) for obj in objects]
    if single:
        return items[0]
    return {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{wanted.version}", "items": items}


def accepts_gzip(rc: RequestContext) -> bool:
    value = rc.request.headers.get("accept-encoding")
    return value is not None and "gzip" in value


async def gzip_stream(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Compress a stream, chunk by chunk. Each is compressed in a thread: zlib lets the loop go on meanwhile."""
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    async for chunk in chunks:
        data = await asyncio.to_thread(compressor.compress, chunk)
        if data:
            yield data
    yield compressor.flush()
