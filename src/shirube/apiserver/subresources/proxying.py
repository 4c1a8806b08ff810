"""services/proxy, pods/proxy, nodes/proxy: any HTTP request, any upgrade, passed on to what is behind.

Credentials stay here (`Authorization`, `Impersonate-*`, tokens in WebSocket protocols); the other side learns who
asked from where by `X-Forwarded-*`. Answers come back as they are, except that a `Location` that leads to the
other side's own paths is rewritten to lead through the proxy. A path without its last "/" is redirected, so that
relative links work.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from shirube.api import errors
from shirube.apiserver.admission.request import CONNECT
from shirube.apiserver.subresources import http_stream, node_agent, proxy_target, tunnel
from shirube.apiserver.subresources.admitting import admit
from shirube.apiserver.subresources.proxy_target import Target
from shirube.serving.messages import Response, Upgrade
from shirube.serving.tls import client_context

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

_OURS = frozenset(("authorization", "host", "content-length", "expect"))
_ANYBODY = "proxy-tls"


async def service(server: ServerContext, rc: RequestContext) -> Response | Upgrade:
    redirect = await _admitted(server, rc, "ServiceProxyOptions")
    target = await proxy_target.of_service(server, rc.namespace, rc.name)
    return redirect or await _pass_on(server, rc, target)


async def pod(server: ServerContext, rc: RequestContext) -> Response | Upgrade:
    redirect = await _admitted(server, rc, "PodProxyOptions")
    target = await proxy_target.of_pod(server, rc.namespace, rc.name)
    return redirect or await _pass_on(server, rc, target)


async def node(server: ServerContext, rc: RequestContext) -> Response | Upgrade:
    redirect = await _admitted(server, rc, "NodeProxyOptions")
    target = await proxy_target.of_node(server, rc.name)
    return redirect or await _pass_on(server, rc, target)


async def _admitted(server: ServerContext, rc: RequestContext, kind: str) -> Response | None:
    await admit(server, rc, CONNECT, {"kind": kind, "apiVersion": "v1", "metadata": {}})
    request = rc.request
    if rc.info.remainder or request.method not in ("GET", "HEAD") or tunnel.wants_upgrade(request):
        return None
    location = request.path + "/" + (f"?{request.query}" if request.query else "")
    return Response(301, b"", [("Location", location)], "")


async def _pass_on(server: ServerContext, rc: RequestContext, target: Target) -> Response | Upgrade:
    request = rc.request
    path = rc.info.remainder or "/"
    full = path + (f"?{request.query}" if request.query else "")
    tls = _tls(server, target)
    headers = _headers(rc)
    if tunnel.wants_upgrade(request):
        headers += [("Connection", "Upgrade"), ("Upgrade", request.headers.get("upgrade") or "")]
        return await tunnel.open_tunnel(target.host, target.port, request.method, full, headers, tls)
    length = request.headers.get("content-length")
    has_body = request.body.size > 0 or not request.body.complete
    if not has_body and request.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", "0"))
    try:
        answer = await http_stream.exchange(
            target.host,
            target.port,
            request.method,
            full,
            headers,
            tls,
            body=request.stream() if has_body else None,
            length=int(length) if has_body and length and length.isdigit() else None,
        )
    except (OSError, TimeoutError) as error:
        raise tunnel.unreachable(target.host, target.port, error) from error
    except ValueError as error:
        raise errors.bad_request(f"cannot pass the request on: {error}") from error
    out = []
    for name, value in answer.headers.items():
        if name in tunnel.HOP_BY_HOP or name in ("content-type", "content-length"):
            continue
        out.append((name, _location(value, rc, target) if name == "location" else value))
    body: AsyncIterator[bytes] | bytes = answer.body
    if request.method == "HEAD" or answer.status in (204, 304):
        await answer.body.aclose()
        body = b""
    return Response(answer.status, body, out, answer.headers.get("content-type") or "")


def _headers(rc: RequestContext) -> list[tuple[str, str]]:
    request = rc.request
    listed = (request.headers.get("connection") or "").lower().split(",")
    dropped = _OURS | tunnel.HOP_BY_HOP | {name.strip() for name in listed}
    headers = tunnel.without_credentials(
        (name, value)
        for name, value in request.headers.items()
        if name not in dropped and not name.startswith(("impersonate-", "x-remote-", "x-forwarded-"))
    )
    forwarded = request.headers.get("x-forwarded-for")
    chain = f"{forwarded}, {request.peer.host}" if forwarded else request.peer.host
    if chain:
        headers.append(("X-Forwarded-For", chain))
    headers.append(("X-Forwarded-Uri", request.path))
    if host := request.headers.get("host"):
        headers.append(("X-Forwarded-Host", host))
    headers.append(("X-Forwarded-Proto", "https"))
    return headers


def _location(value: str, rc: RequestContext, target: Target) -> str:
    """Lead through the proxy what leads to the other side's own paths."""
    parts = urlsplit(value)
    own = f"[{target.host}]" if ":" in target.host else target.host
    if parts.netloc and parts.netloc not in (own, f"{own}:{target.port}"):
        return value
    if not parts.path.startswith("/"):
        return value
    prefix = rc.request.path
    if rc.info.remainder:
        prefix = prefix.removesuffix(rc.info.remainder)
    return parts._replace(scheme="", netloc="", path=prefix + parts.path).geturl()


def _tls(server: ServerContext, target: Target) -> ssl.SSLContext | None:
    if target.node_agent:
        return node_agent.tls(server)
    if target.scheme != "https":
        return None
    # Nobody the cluster knows has signed what a pod serves; as upstream, it is not verified.
    context = server.extensions.get(_ANYBODY)
    if context is None:
        context = server.extensions[_ANYBODY] = client_context(insecure=True)
    return context
