"""A small HTTP/1.1 client for upgrades: send one request head, read one answer's head, hand over the connection.

For tunnels (exec, attach, port-forward, proxied WebSockets), where a general client would want to own the
bytes that follow. Everything else uses aiohttp.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import NamedTuple

from shirube.serving.messages import Headers
from shirube.serving.raw import RawConnection

MAX_HEAD = 64 * 1024


class Answer(NamedTuple):
    status: int
    headers: Headers
    connection: RawConnection  # what follows the head: the upgraded stream after 101, else the answer's body


async def upgrade(
    host: str,
    port: int,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    tls: ssl.SSLContext | None,
    *,
    timeout: float = 30.0,
    server_hostname: str | None = None,
) -> Answer:
    """Connect to `host:port` (or the unix socket `host`, with port 0) and send the request.

    `headers` come as given (Host is added when missing); interim 1xx answers are passed over. The caller
    closes the connection. Raises OSError, TimeoutError.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        if port == 0:
            _, connection = await loop.create_unix_connection(RawConnection, host, ssl=tls)
        else:
            _, connection = await loop.create_connection(
                RawConnection, host, port, ssl=tls, server_hostname=server_hostname if tls else None
            )
        try:
            await connection.write(_head(method, target, host, port, list(headers)))
            while True:
                status, answer = parse_head(await connection.read_until(b"\r\n\r\n", MAX_HEAD))
                if status >= 200 or status == 101:
                    return Answer(status, answer, connection)
        except BaseException:
            connection.abort()
            raise


def _head(method: str, target: str, host: str, port: int, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    if not any(name.lower() == "host" for name, _ in headers):
        shown = f"[{host}]" if ":" in host else host
        lines.append(f"Host: {shown}:{port}" if port else "Host: localhost")
    lines += [f"{name}: {value}" for name, value in headers]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("a request line or header contains a line break")
    return (text + "\r\n\r\n").encode("latin-1")


def parse_head(head: bytes) -> tuple[int, Headers]:
    """Status and headers of an answer's head. Raises ConnectionError on anything else."""
    first, *rest = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if not parts[0].startswith("HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
        raise ConnectionError(f"not an HTTP/1 answer: {first[:80]!r}")
    headers = []
    for line in rest:
        if line:
            name, colon, value = line.partition(":")
            if not colon:
                raise ConnectionError(f"malformed header line {line[:80]!r}")
            headers.append((name.strip(), value.strip()))
    return int(parts[1]), Headers(headers)
