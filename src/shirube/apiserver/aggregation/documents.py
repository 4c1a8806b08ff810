"""OpenAPI of aggregated servers among our own: v2 mixed into one document, v3 as entries of the index.

`availability` asks the servers for both and keeps what they said last, so that a slow server delays nobody. The v3
index leads to their documents through this server, where they are fetched when asked for; the hash in the address is
theirs.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from shirube.api import errors
from shirube.apiserver import discovery_cache, encoding
from shirube.apiserver.aggregation import Aggregation, Remote, openapi
from shirube.apiserver.aggregation.availability import fetch
from shirube.apiserver.negotiation import JSON
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]


def _name(remote: Remote) -> str:
    return f"apis/{remote.group}/{remote.version}"


async def openapi_v2(server: ServerContext, rc: RequestContext) -> Response:
    """`/openapi/v2`"""
    found = Aggregation.of(server)
    remotes = found.remotes()
    theirs = [(remotes[key].path, document) for key, (_, document) in found.openapi_v2.items() if key in remotes]
    if not theirs:
        return await discovery_cache.openapi_v2(server, rc)
    return await discovery_cache.openapi_v2(server, rc, lambda ours: openapi.mixed(ours, theirs))


async def index(server: ServerContext, rc: RequestContext) -> Response:
    remotes = [r for r in Aggregation.of(server).remotes().values() if r.available]
    response = await discovery_cache.openapi_v3_index(server, rc)
    if not remotes or response.status != 200:
        return response
    body = response.body
    assert isinstance(body, bytes)
    if ("Content-Encoding", "gzip") in response.headers:
        body = gzip.decompress(body)
    paths = dict(orjson.loads(body)["paths"])
    for remote in remotes:
        if where := Aggregation.of(server).openapi_v3.get((remote.group, remote.version)):
            query = urlsplit(where).query
            where = f"/openapi/v3/{_name(remote)}" + (f"?{query}" if query else "")
            paths[_name(remote)] = {"serverRelativeURL": where}
    return encoding.respond_raw(rc, orjson.dumps({"paths": dict(sorted(paths.items()))}), JSON)


async def one(server: ServerContext, rc: RequestContext) -> Response:
    """`/openapi/v3/NAME`"""
    parts = rc.info.path.removeprefix("/openapi/v3/").rstrip("/").split("/")
    remote = None
    if len(parts) == 3 and parts[0] == "apis":
        remote = Aggregation.of(server).find(parts[1], parts[2])
    if remote is None:
        return await (index(server, rc) if parts == [""] else discovery_cache.openapi_v3(server, rc))
    if not remote.available:
        raise errors.service_unavailable("service unavailable")
    query = f"?{rc.request.query}" if rc.request.query else ""
    try:
        status, data, _ = await fetch(server, remote, f"/openapi/v3/{_name(remote)}{query}")
    except (OSError, TimeoutError) as error:
        raise errors.service_unavailable(f"cannot fetch the document from its server: {error}") from error
    if status != 200:
        raise errors.path_not_found()
    return encoding.respond_raw(rc, data, JSON)
