"""One HTTP/1.1 exchange with somebody behind the API server, streamed both ways with back-pressure.

The request body is sent while the answer is read (who answers early is heard early); the answer's body comes as
an async iterator that closes the connection when it ends, or when the reader goes away. A log that is followed
for hours is just a long body. Upgrades go through `serving.http_client` instead.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

import httptools

from shirube.foundation import tasks
from shirube.serving.messages import Headers
from shirube.serving.raw import RawConnection

CONNECT_SECONDS = 30.0


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: Body  # close it (aclose) when it is not read to its end


class _Parser:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []
        self.chunks: list[bytes] = []
        self.head_done = False
        self.complete = False
        self.parser = httptools.HttpResponseParser(self)
        # Scripts behind small servers end their lines with LF alone, which upstream's proxy takes, too. Nothing follows
        # an answer on its connection, so that nothing can be smuggled.
        self.parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)

    def on_message_begin(self) -> None:
        self.headers, self.head_done = [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        # Interim answers (100 Continue) are passed over.
        self.head_done = self.parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.complete = self.head_done


async def exchange(
    host: str,
    port: int,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    tls: ssl.SSLContext | None,
    *,
    body: AsyncIterator[bytes] | None = None,
    length: int | None = None,
    server_hostname: str | None = None,
) -> Answer:
    """Send a request, return the answer as soon as its head is there.

    `length` is the body's length where it is known; else it is sent in chunks. Raises OSError, TimeoutError,
    ConnectionError (no HTTP answer).
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        _, connection = await loop.create_connection(
            RawConnection, host, port, ssl=tls, server_hostname=server_hostname if tls else None
        )
    sender = None
    try:
        await connection.write(_head(method, target, host, port, headers, body is not None, length))
        if body is not None:
            sender = tasks.spawn(_send(connection, body, length is None), name="proxy-request-body")
        parser = _Parser()
        while not parser.head_done:
            if not _feed(parser, await connection.read()):
                raise ConnectionError("the connection was closed before an answer came")
    except BaseException:
        await tasks.cancel(sender)
        connection.abort()
        raise
    status = parser.parser.get_status_code()
    empty = method == "HEAD" or status in (204, 304)
    return Answer(status, Headers(parser.headers), Body(connection, parser, sender, empty))


def _head(
    method: str,
    target: str,
    host: str,
    port: int,
    headers: Iterable[tuple[str, str]],
    has_body: bool,
    length: int | None,
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    headers = list(headers)
    if not any(name.lower() == "host" for name, _ in headers):
        shown = f"[{host}]" if ":" in host else host
        lines.append(f"Host: {shown}:{port}")
    lines += [f"{name}: {value}" for name, value in headers]
    if has_body:
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    lines.append("Connection: close")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a request line or header contains a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _send(connection: RawConnection, body: AsyncIterator[bytes], chunked: bool) -> None:
    try:
        async for data in body:
            if data:
                await connection.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        if chunked:
            await connection.write(b"0\r\n\r\n")
    except ConnectionError:
        return  # the other side has heard enough; its answer says why


def _feed(parser: _Parser, data: bytes) -> bool:
    """False at the end of the connection. Raises ConnectionError on what is not HTTP."""
    if not data:
        return False
    try:
        parser.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        raise ConnectionError("the other side switched protocols without being asked") from None
    except httptools.HttpParserError as error:
        raise ConnectionError(f"not an HTTP/1 answer: {error}") from error
    return True


class Body:
    """The rest of an answer, chunk by chunk. Ends its connection when it ends, or when it is closed.

    Not an async generator: closing one that was never started would not run its `finally`.
    """

    def __init__(
        self, connection: RawConnection, parser: _Parser, sender: asyncio.Task[None] | None, empty: bool
    ) -> None:
        self._connection = connection
        self._parser = parser
        self._sender = sender
        self._empty = empty
        self._begun = False

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        parser = self._parser
        begun, self._begun = self._begun, True
        if not begun and not self._empty and not parser.chunks and not parser.complete:
            return b""  # the head leaves now: whoever watches waits for it
        if not self._empty:
            try:
                while not parser.chunks and not parser.complete:
                    if not _feed(parser, await self._connection.read()):
                        break
            except BaseException:
                await self.aclose()
                raise
            if parser.chunks:
                chunks, parser.chunks = parser.chunks, []
                return b"".join(chunks)
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._connection.abort()
        await tasks.cancel(self._sender)
        await asyncio.wait((self._connection.closed,), timeout=1)


async def read_all(body: Body, limit: int) -> bytes:
    """Up to `limit` bytes; the rest is not read."""
    data = b""
    async for chunk in body:
        data += chunk
        if len(data) >= limit:
            break
    await body.aclose()
    return data[:limit]
