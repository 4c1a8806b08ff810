"""A request for an aggregated group version, passed on as it came, streams and upgrades included.

Credentials stay here; who asked travels in identity headers, and such headers of the client's own are dropped, so
that nobody can pretend. While the APIService is not available the answer is 503, as upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shirube.api import errors
from shirube.api.errors import ApiError
from shirube.apiserver.aggregation import Aggregation, Remote, connecting
from shirube.apiserver.subresources import passing
from shirube.serving.messages import Response, Upgrade

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, RouteHandler, ServerContext


def handler(server: ServerContext, rc: RequestContext) -> RouteHandler | None:
    """What answers a request that belongs to an aggregated server; None when it is ours."""
    found = Aggregation.of(server)
    remotes = found.remotes()
    if not remotes:
        return None
    if rc.info.is_resource:
        group, version = rc.info.group, rc.info.version
    else:
        parts = rc.info.path.rstrip("/").split("/")
        if len(parts) < 4 or parts[1] != "apis":
            return None
        group, version = parts[2], parts[3]
    remote = remotes.get((group, version))
    if remote is None:
        return None

    async def passing_on(server: ServerContext, rc: RequestContext) -> Response | Upgrade:
        return await pass_on(server, rc, remote)

    return passing_on


async def pass_on(server: ServerContext, rc: RequestContext, remote: Remote) -> Response | Upgrade:
    if not remote.available:
        raise errors.service_unavailable("service unavailable")
    request = rc.request
    try:
        where = connecting.place(server, remote)
    except ApiError as error:
        raise errors.service_unavailable(f"service unavailable: {error.message}") from error
    target = request.path + (f"?{request.query}" if request.query else "")
    headers = [h for h in passing.headers_of(request) if h[0] != "x-forwarded-for"]
    headers += connecting.identity(rc.user)
    headers += [("Host", f"{where.name}:{where.port}"), ("X-Forwarded-For", passing.forwarded_for(request))]
    return await passing.pass_on(request, where, target, headers)
