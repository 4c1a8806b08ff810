"""A request passed on to another server, upgrades included, and its answer on to the client, both as they come.

What is behind a pod, a service, a node or an APIService gets it this way. Credentials stay here: `Authorization`,
`Impersonate-*`, identity headers and tokens in WebSocket protocols.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from shirube.api import errors
from shirube.apiserver.subresources import http_stream, tunnel
from shirube.serving.messages import Request, Response, Upgrade

_OURS = frozenset(("authorization", "host", "content-length", "expect"))
_FRAMING = tunnel.HOP_BY_HOP | {"content-type", "content-length"}

Header = tuple[str, str]


class Place(NamedTuple):
    host: str
    port: int
    tls: ssl.SSLContext | None
    name: str | None = None  # that the serving certificate is for; None: `host`


def headers_of(request: Request, *more: str) -> list[Header]:
    """The client's headers that may leave, without those that begin with one of `more`."""
    listed = (request.headers.get("connection") or "").lower().split(",")
    dropped = _OURS | tunnel.HOP_BY_HOP | {name.strip() for name in listed}
    return tunnel.without_credentials(
        (name, value)
        for name, value in request.headers.items()
        if name not in dropped and not name.startswith(("impersonate-", "x-remote-", *more))
    )


def forwarded_for(request: Request) -> str:
    """The chain of those through whom a request came, this client included."""
    before = request.headers.get("x-forwarded-for")
    return f"{before}, {request.peer.host}" if before else request.peer.host


async def pass_on(
    request: Request,
    place: Place,
    target: str,
    headers: list[Header],
    location: Callable[[str], str] = lambda value: value,
) -> Response | Upgrade:
    """`target` is path and query; `location` rewrites that header of the answer. Raises ApiError 400, 503."""
    if tunnel.wants_upgrade(request):
        headers = [*headers, ("Connection", "Upgrade"), ("Upgrade", request.headers.get("upgrade") or "")]
        return await tunnel.open_tunnel(
            place.host, place.port, request.method, target, headers, place.tls, server_hostname=place.name
        )
    answer = await _asked(request, place, target, headers)
    out = [
        (name, location(value) if name == "location" else value)
        for name, value in answer.headers.items()
        if name not in _FRAMING
    ]
    body: AsyncIterator[bytes] | bytes = answer.body
    if request.method == "HEAD" or answer.status in (204, 304):
        await answer.body.aclose()
        body = b""
    return Response(answer.status, body, out, answer.headers.get("content-type") or "")


async def _asked(request: Request, place: Place, target: str, headers: list[Header]) -> http_stream.Answer:
    length = request.headers.get("content-length")
    has_body = request.body.size > 0 or not request.body.complete
    if not has_body and request.method in ("POST", "PUT", "PATCH"):
        headers = [*headers, ("Content-Length", "0")]
    try:
        return await http_stream.exchange(
            place.host,
            place.port,
            request.method,
            target,
            headers,
            place.tls,
            body=request.stream() if has_body else None,
            length=int(length) if has_body and length and length.isdigit() else None,
            server_hostname=place.name,
        )
    except (OSError, TimeoutError) as error:
        raise tunnel.unreachable(place.host, place.port, error) from error
    except ValueError as error:
        raise errors.bad_request(f"cannot pass the request on: {error}") from error
