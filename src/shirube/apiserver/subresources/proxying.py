"""services/proxy, pods/proxy, nodes/proxy: any HTTP request, any upgrade, passed on to what is behind.

Credentials stay here (`passing`); the other side learns who asked from where by `X-Forwarded-*`. Answers come back as
they are, except that a `Location` that leads to the other side's own paths is rewritten to lead through the proxy. A
path without its last "/" is redirected, so that relative links work.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from shirube.apiserver.admission.request import CONNECT
from shirube.apiserver.subresources import node_agent, passing, proxy_target, tunnel
from shirube.apiserver.subresources.admitting import admit
from shirube.apiserver.subresources.passing import Place
from shirube.apiserver.subresources.proxy_target import Target
from shirube.serving.messages import Request, Response, Upgrade
from shirube.serving.tls import client_context

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

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
    full = (rc.info.remainder or "/") + (f"?{request.query}" if request.query else "")
    place = Place(target.host, target.port, _tls(server, target))
    return await passing.pass_on(request, place, full, _headers(request), lambda value: _location(value, rc, target))


def _headers(request: Request) -> list[passing.Header]:
    headers = passing.headers_of(request, "x-forwarded-")
    if chain := passing.forwarded_for(request):
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
