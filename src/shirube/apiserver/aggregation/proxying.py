"""A request for an aggregated group version, passed on as it came, streams and upgrades included.

Credentials stay here; who asked travels in identity headers, and such headers of the client's own are dropped, so
that nobody can pretend. While the APIService is not available the answer is 503, as upstream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from shirube.api import errors
from shirube.api.errors import ApiError
from shirube.apiserver.aggregation import Aggregation, Remote, connecting
from shirube.apiserver.subresources import http_stream, tunnel
from shirube.serving.messages import Response, Upgrade

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, RouteHandler, ServerContext

_OURS = frozenset(("authorization", "host", "content-length", "expect"))


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

    async def passing(server: ServerContext, rc: RequestContext) -> Response | Upgrade:
        return await pass_on(server, rc, remote)

    return passing


async def pass_on(server: ServerContext, rc: RequestContext, remote: Remote) -> Response | Upgrade:
    if not remote.available:
        raise errors.service_unavailable("service unavailable")
    request = rc.request
    try:
        where = connecting.place(server, remote)
    except ApiError as error:
        raise errors.service_unavailable(f"service unavailable: {error.message}") from error
    target = request.path + (f"?{request.query}" if request.query else "")
    headers = _headers(rc, where)
    if tunnel.wants_upgrade(request):
        headers += [("Connection", "Upgrade"), ("Upgrade", request.headers.get("upgrade") or "")]
        return await tunnel.open_tunnel(
            where.host, where.port, request.method, target, headers, where.tls, server_hostname=where.name
        )
    length = request.headers.get("content-length")
    has_body = request.body.size > 0 or not request.body.complete
    if not has_body and request.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", "0"))
    try:
        answer = await http_stream.exchange(
            where.host,
            where.port,
            request.method,
            target,
            headers,
            where.tls,
            body=request.stream() if has_body else None,
            length=int(length) if has_body and length and length.isdigit() else None,
            server_hostname=where.name,
        )
    except (OSError, TimeoutError) as error:
        raise tunnel.unreachable(where.host, where.port, error) from error
    except ValueError as error:
        raise errors.bad_request(f"cannot pass the request on: {error}") from error
    dropped = tunnel.HOP_BY_HOP | {"content-type", "content-length"}
    out = [(name, value) for name, value in answer.headers.items() if name not in dropped]
    body: AsyncIterator[bytes] | bytes = answer.body
    if request.method == "HEAD" or answer.status in (204, 304):
        await answer.body.aclose()
        body = b""
    return Response(answer.status, body, out, answer.headers.get("content-type") or "")


def _headers(rc: RequestContext, where: connecting.Place) -> list[tuple[str, str]]:
    request = rc.request
    listed = (request.headers.get("connection") or "").lower().split(",")
    dropped = _OURS | tunnel.HOP_BY_HOP | {name.strip() for name in listed}
    headers = tunnel.without_credentials(
        (name, value)
        for name, value in request.headers.items()
        if name not in dropped and not name.startswith(("impersonate-", "x-remote-"))
    )
    headers += connecting.identity(rc.user)
    headers.append(("Host", f"{where.name}:{where.port}"))
    forwarded = request.headers.get("x-forwarded-for")
    headers = [h for h in headers if h[0] != "x-forwarded-for"]
    headers.append(("X-Forwarded-For", f"{forwarded}, {request.peer.host}" if forwarded else request.peer.host))
    return headers
