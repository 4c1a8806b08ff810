"""Exec, attach and port-forward: from a client's request and the runtime's URL to a connection between the two.

The runtime's streaming server (in the node's network namespace, on loopback) speaks SPDY/3.1 and WebSocket up to
v4. Clients that speak these are passed through; `v5.channel.k8s.io` and WebSocket tunnels are translated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from shirube.kubelet import streaming_relay
from shirube.serving.http_client import MAX_HEAD, parse_head
from shirube.serving.messages import Connection, Headers, Request, Response, Upgrade
from shirube.serving.raw import RawConnection
from shirube.streaming import channels, port_forward, remote_command, websocket
from shirube.streaming.translation import Translation

CONNECT_SECONDS = 30.0
UNCLAIMED_SECONDS = 10.0
_MAX_ERROR = 64 * 1024
# End-to-end headers of an upgrade; credentials are not for the runtime.
_PASSED = frozenset(
    (
        "connection",
        "upgrade",
        "user-agent",
        "x-stream-protocol-version",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-protocol",
        "sec-websocket-accept",
    )
)


@dataclass(frozen=True, slots=True)
class Streams:
    """What a client of exec or attach wants connected."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


class RuntimeAnswer(NamedTuple):
    status: int
    headers: Headers
    connection: RawConnection


def plain(status: int, text: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """An error in words, as this server's clients expect it."""
    return Response(status, text.encode(), list(headers), "text/plain; charset=utf-8")


async def is_upgrade(request: Request) -> bool:
    """Whether the connection can be upgraded. Raises BodyTooLarge when there is a body."""
    connection = ",".join(request.headers.get_all("connection")).lower().split(",")
    asks = "upgrade" in (token.strip() for token in connection) and "upgrade" in request.headers
    if asks:
        await request.read(0)
    return asks


def wants_translation(request: Request) -> bool:
    """Whether the client asks for v5 channels over WebSocket."""
    headers = request.headers.items()
    if not websocket.is_upgrade(headers):
        return False
    chosen = websocket.choose_protocol(websocket.offered_protocols(headers), channels.PROTOCOLS)
    return chosen == channels.V5.name


async def remote_command_response(request: Request, url: str, streams: Streams) -> Response | Upgrade:
    """Connect a client of exec or attach."""
    if not wants_translation(request):
        return await _pass_through(request, url)
    session = remote_command.RemoteCommand(
        channels.V5, stdin=streams.stdin, stdout=streams.stdout, stderr=streams.stderr, tty=streams.tty
    )
    return await _translate(request, url, remote_command.RUNTIME_PROTOCOL, channels.V5.name, session)


async def port_forward_response(request: Request, url: str) -> Response | Upgrade:
    """Connect a client of port-forward."""
    headers = request.headers.items()
    if websocket.is_upgrade(headers) and port_forward.is_tunnel(websocket.offered_protocols(headers)):
        protocol = port_forward.RUNTIME_PROTOCOL
        return await _translate(request, url, protocol, port_forward.TUNNEL_PROTOCOL, port_forward.Tunnel())
    return await _pass_through(request, url)


async def _translate(
    request: Request, url: str, runtime_protocol: str, client_protocol: str, session: Translation
) -> Response | Upgrade:
    try:
        accepted = websocket.accept_headers(request.headers.items(), client_protocol)
    except websocket.HandshakeError as error:
        return plain(400, f"cannot upgrade the connection: {error}")
    spdy = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", runtime_protocol)]
    answer = await _connect(url, "POST", spdy)
    if isinstance(answer, Response):
        return answer
    return _handover(
        accepted, answer.connection, lambda client, runtime: streaming_relay.translate(client, runtime, session)
    )


async def _pass_through(request: Request, url: str) -> Response | Upgrade:
    answer = await _connect(url, request.method, _passed(request.headers))
    if isinstance(answer, Response):
        return answer
    return _handover(_passed(answer.headers), answer.connection, streaming_relay.pass_through)


def _handover(
    headers: list[tuple[str, str]],
    runtime: RawConnection,
    relay: Callable[[Connection, Connection], Awaitable[None]],
) -> Upgrade:
    # A client that is gone by now never gets its upgrade: nobody else would close the runtime's connection.
    unclaimed = asyncio.get_running_loop().call_later(UNCLAIMED_SECONDS, runtime.abort)

    async def run(client: Connection) -> None:
        unclaimed.cancel()
        await relay(client, runtime)

    return Upgrade(headers, run)


def _passed(headers: Headers) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name in _PASSED]


async def _connect(url: str, method: str, headers: list[tuple[str, str]]) -> RuntimeAnswer | Response:
    """The runtime's answer when it upgrades, else the response that tells the client why not."""
    try:
        answer = await _open(url, method, headers)
    except (OSError, TimeoutError, ConnectionError) as error:
        return plain(502, f"cannot reach the container runtime's streaming server: {error or type(error).__name__}")
    except ValueError as error:
        return plain(502, f"cannot use the container runtime's streaming address: {error}")
    if answer.status == 101:
        return answer
    try:
        length = int(answer.headers.get("content-length") or 0)
        async with asyncio.timeout(5):
            body = await _read_exactly(answer.connection, min(length, _MAX_ERROR))
    except (TimeoutError, ValueError, ConnectionError):
        body = b""
    finally:
        answer.connection.abort()
    text = body.decode("utf-8", "replace") or "container runtime did not upgrade the connection"
    return plain(answer.status, text)


async def _read_exactly(connection: RawConnection, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := await connection.read(size - len(data))):
        data += more
    return data


async def _open(url: str, method: str, headers: list[tuple[str, str]]) -> RuntimeAnswer:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or not parts.port:
        raise ValueError(f"{parts.scheme}://{parts.netloc} is not plain HTTP on this node")
    target = parts.path + ("?" + parts.query if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers]
    head = ("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode("latin-1", "replace")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        # A container may leave its stdin unread for as long as it likes: no write timeout but the session's.
        _, connection = await loop.create_connection(
            lambda: RawConnection(streaming_relay.IDLE_TIMEOUT), parts.hostname, parts.port
        )
        try:
            await connection.write(head)
            status, answer = parse_head(await connection.read_until(b"\r\n\r\n", MAX_HEAD))
        except BaseException:
            connection.abort()
            raise
    return RuntimeAnswer(status, answer, connection)
