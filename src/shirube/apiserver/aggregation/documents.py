"""OpenAPI v3 of aggregated servers among our own: their documents in the index, fetched from them when asked for.

The index leads to their documents through this server; the hash in the address is theirs, as they said it last.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from shirube.api import errors
from shirube.api.errors import ApiError
from shirube.apiserver import discovery_cache, encoding
from shirube.apiserver.aggregation import Aggregation, Remote
from shirube.apiserver.aggregation.availability import fetch
from shirube.apiserver.negotiation import JSON
from shirube.foundation import log
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]
_logger = log.get("aggregation")


def _name(remote: Remote) -> str:
    return f"apis/{remote.group}/{remote.version}"


async def _their_index(server: ServerContext, remote: Remote) -> Json:
    """What the server's own index says of its group version; {} when it does not answer."""
    try:
        status, data = await fetch(server, remote, "/openapi/v3")
        paths = orjson.loads(data).get("paths") if status == 200 else None
        entry = (paths or {}).get(_name(remote)) or {}
    except (OSError, TimeoutError, ValueError, AttributeError, ApiError) as error:
        _logger.debug("no OpenAPI from an aggregated server", path=remote.path, error=str(error))
        return {}
    return entry if isinstance(entry, dict) else {}


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
        entry = await _their_index(server, remote)
        if where := entry.get("serverRelativeURL"):
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
        status, data = await fetch(server, remote, f"/openapi/v3/{_name(remote)}{query}")
    except (OSError, TimeoutError) as error:
        raise errors.service_unavailable(f"cannot fetch the document from its server: {error}") from error
    if status != 200:
        raise errors.path_not_found()
    return encoding.respond_raw(rc, data, JSON)
