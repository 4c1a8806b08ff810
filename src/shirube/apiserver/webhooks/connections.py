"""Connections to webhooks that stay open between calls: a handshake costs more than most answers.

Kept per address, name, caBundle and credential; a few idle ones each, closed after `IDLE` seconds. A call on a kept
connection that ends before any of its answer came is made once more on a new one, since the other side may have closed
it just then; reviews are questions, so that asking twice is harmless. Follows what Go's transport does for upstream.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import httptools

from shirube.serving.raw import RawConnection

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

IDLE = 90.0  # seconds
KEPT = 16  # idle connections to one place
LOOK = 15.0  # seconds between two looks for idle ones


class Place(NamedTuple):
    host: str
    port: int
    name: str  # that the certificate is for
    bundle: str  # whom to trust; part of the identity: another bundle must not reuse what this one let in
    identity: str = ""  # and so is whom we showed ourselves to be


class _Answer:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.begun = self.complete = self.reusable = False
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        self.begun = self.parser.get_status_code() >= 200  # interim answers are passed over

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)
        self.size += len(body)

    def on_message_complete(self) -> None:
        self.complete = self.begun
        self.reusable = self.begun and bool(self.parser.should_keep_alive())  # known only now


class Stale(ConnectionError):
    """A kept connection that was closed before it answered."""


class Pool:
    def __init__(self, server: ServerContext) -> None:
        self._clock = server.clock
        self._idle: dict[Place, list[tuple[RawConnection, float]]] = {}

    @staticmethod
    def of(server: ServerContext) -> Pool:
        found: Pool | None = server.extensions.get("webhook-connections")
        if found is None:
            found = server.extensions["webhook-connections"] = Pool(server)
        return found

    async def post(
        self,
        place: Place,
        tls: ssl.SSLContext | None,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        limit: int,
    ) -> tuple[int, bytes]:
        """(status, body). Raises OSError, ConnectionError, ssl.SSLError; ValueError for an answer beyond `limit`."""
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        lines.append(f"Content-Length: {len(body)}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a request line or header contains a line break")
        request = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
        while (kept := self._take(place)) is not None:
            try:
                return await self._ask(kept, place, request, limit)
            except Stale:
                continue
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            RawConnection, place.host, place.port, ssl=tls, server_hostname=place.name if tls else None
        )
        return await self._ask(connection, place, request, limit)

    async def _ask(self, connection: RawConnection, place: Place, request: bytes, limit: int) -> tuple[int, bytes]:
        answer = _Answer()
        kept = False
        try:
            await _exchange(connection, answer, request, limit)
            kept = answer.reusable
        finally:
            if not kept:
                connection.abort()
        self._give(place, connection)
        return answer.parser.get_status_code(), b"".join(answer.chunks)

    def _take(self, place: Place) -> RawConnection | None:
        held = self._idle.get(place)
        while held:
            connection, _ = held.pop()
            if not connection.closed.done():
                return connection
        return None

    def _give(self, place: Place, connection: RawConnection) -> None:
        held = self._idle.setdefault(place, [])
        if connection.closed.done():
            return
        if len(held) < KEPT:
            held.append((connection, self._clock.monotonic()))
        else:
            connection.abort()

    def sweep(self, idle: float) -> None:
        """End what nobody has used for `idle` seconds."""
        now = self._clock.monotonic()
        for place, held in list(self._idle.items()):
            old = [connection for connection, since in held if now - since >= idle]
            for connection in old:
                connection.abort()
            self._idle[place] = [(c, since) for c, since in held if c not in old and not c.closed.done()]
            if not self._idle[place]:
                del self._idle[place]


async def _exchange(connection: RawConnection, answer: _Answer, request: bytes, limit: int) -> None:
    try:
        await connection.write(request)
        while not answer.complete:
            data = await connection.read()
            if not data:
                raise ConnectionResetError("the connection was closed before an answer came")
            answer.parser.feed_data(data)
            if answer.size > limit:
                raise ValueError(f"the answer is longer than {limit} bytes")
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise ConnectionError(f"not an HTTP/1 answer: {error}") from error
    except ConnectionError as error:
        if not answer.begun:
            raise Stale(str(error)) from error
        raise


async def keep(server: ServerContext) -> None:
    """End idle connections; all of them when the server stops. Runs until cancelled."""
    pool = Pool.of(server)
    try:
        while True:
            await asyncio.sleep(LOOK)
            pool.sweep(IDLE)
    finally:
        pool.sweep(0.0)
