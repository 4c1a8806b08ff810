"""Upgraded connections passed through byte for byte: exec, attach, port-forward, proxied WebSockets.

The other side is asked first. Only when it has switched protocols is the client's connection upgraded, with the
other side's headers; else the client gets the other side's answer. What the bytes mean (SPDY/3.1, WebSocket
channels) is between the two ends. A direction that ends is ended at the other side; when one side is gone, both
are closed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable

from shirube.api import errors
from shirube.serving import http_client
from shirube.serving.messages import Connection, Request, Response, Upgrade

# Headers of a hop, not of the message.
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."
_ERROR_BODY = 64 * 1024
# How long the rest of one direction may take when the other has ended.
_LINGER = 10.0


def wants_upgrade(request: Request) -> bool:
    """Whether the client asks to switch protocols."""
    connection = (request.headers.get("connection") or "").lower()
    return "upgrade" in connection and bool(request.headers.get("upgrade"))


def without_credentials(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without tokens that browsers put among the WebSocket protocols: those are for the API server only."""
    kept = []
    for name, value in headers:
        if name == "sec-websocket-protocol" and BEARER_PROTOCOL in value:
            protocols = [p.strip() for p in value.split(",")]
            value = ", ".join(p for p in protocols if not p.startswith(BEARER_PROTOCOL))
            if not value:
                continue
        kept.append((name, value))
    return kept


async def open_tunnel(
    host: str,
    port: int,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    tls: ssl.SSLContext | None,
    *,
    server_hostname: str | None = None,
) -> Response | Upgrade:
    """Ask the other side; the answer for the client. Raises ApiError 503 when it cannot be reached."""
    try:
        answer = await http_client.upgrade(host, port, method, target, headers, tls, server_hostname=server_hostname)
    except (OSError, TimeoutError) as error:
        raise unreachable(host, port, error) from error
    status, answered, connection = answer
    if status != 101:
        try:
            body = await _rest(connection, answered.get("content-length"))
        finally:
            connection.abort()
        content_type = answered.get("content-type") or "text/plain"
        return Response(status, body, [], content_type)
    kept = [(name, value) for name, value in answered.items() if name not in ("content-length", "date")]

    async def run(client: Connection) -> None:
        await pump(client, connection)

    return Upgrade(kept, run)


async def _rest(connection: Connection, length: str | None) -> bytes:
    wanted = min(int(length), _ERROR_BODY) if length and length.isdigit() else _ERROR_BODY
    data = b""
    try:
        async with asyncio.timeout(_LINGER):
            while len(data) < wanted and (chunk := await connection.read()):
                data += chunk
    except (TimeoutError, ConnectionError):
        return data
    return data


async def pump(left: Connection, right: Connection) -> None:
    """Carry bytes both ways until both directions have ended, or one side is gone."""
    try:
        async with asyncio.TaskGroup() as group:
            forth = group.create_task(_carry(left, right), name="tunnel-forth")
            back = group.create_task(_carry(right, left), name="tunnel-back")
            await asyncio.wait((forth, back), return_when=asyncio.FIRST_COMPLETED)
            # One side has said its last word; the other may finish its sentence.
            await asyncio.wait((forth, back), timeout=_LINGER)
            forth.cancel()
            back.cancel()
    finally:
        try:
            await left.close()
        finally:  # also when the wait for the first is cancelled
            await right.close()


async def _carry(source: Connection, sink: Connection) -> None:
    try:
        while data := await source.read():
            await sink.write(data)
        await sink.write_eof()
    except ConnectionError:
        return


def unreachable(host: str, port: int, error: BaseException) -> errors.ApiError:
    """The 503 for somebody who does not answer."""
    shown = f"[{host}]" if ":" in host else host
    why = str(error) or type(error).__name__
    return errors.service_unavailable(f"error trying to reach service: dial tcp {shown}:{port}: {why}")
