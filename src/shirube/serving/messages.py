"""Requests, responses and raw connections as values: what a handler sees, whatever carried them.

A `Request` is made by the HTTP server or, in process, by `Request.of`; its body arrives through a `Body` that
the carrier feeds and one reader drains. A handler answers with a `Response` (bytes, or an async iterator of
chunks that is written with back-pressure and always closed) or an `Upgrade` (101, then the raw connection).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class BodyTooLarge(Exception):
    """A request body is longer than its reader allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"request body is larger than {limit} bytes")
        self.limit = limit


class Disconnected(Exception):
    """The peer went away before the message was complete."""


class Headers:
    """Header fields in order of arrival; names compare without case. Values are latin-1 text."""

    __slots__ = ("_first", "_items")

    def __init__(self, items: Iterable[tuple[str, str]] = (), *, lower: bool = False) -> None:
        # The server's parser hands names over in lower case already.
        self._items = list(items) if lower else [(name.lower(), value) for name, value in items]
        self._first = dict(reversed(self._items))  # name -> its first value

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of `name`."""
        return self._first.get(name.lower(), default)

    def get_all(self, name: str) -> list[str]:
        name = name.lower()
        return [value for key, value in self._items if key == name]

    def any_begins(self, prefix: str) -> bool:
        """Whether the (lower-case) name of any field begins so."""
        for name in self._first:  # noqa: SIM110 - any() makes a generator, and this is asked of every request
            if name.startswith(prefix):
                return True
        return False

    def items(self) -> list[tuple[str, str]]:
        """(lower-case name, value) pairs in order."""
        return self._items

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._first

    def __iter__(self) -> Iterator[str]:
        return iter(name for name, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Headers({[name for name, _ in self._items]})"  # values may be secret


class Peer(NamedTuple):
    host: str = ""
    port: int = 0
    certificate: bytes | None = None  # DER, verified against the client CA


class Body:
    """The bytes of one request body on their way from the carrier to the handler."""

    __slots__ = ("_chunks", "_error", "_waiter", "complete", "expected", "on_drained", "on_wanted", "size")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.size = 0  # bytes fed and not yet taken
        self.expected: int | None = None  # Content-Length, where announced
        self.complete = False
        self.on_wanted: Callable[[], None] | None = None  # a reader waits (100-continue, resume reading)
        self.on_drained: Callable[[], None] | None = None

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self.size += len(data)
        self._wake()

    def finish(self) -> None:
        self.complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        if not self.complete:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take(self) -> bytes:
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self.size = 0
        if self.on_drained is not None:
            self.on_drained()
        return data

    async def more(self) -> bool:
        """Wait until there are bytes to take; False at the end. Raises Disconnected."""
        while not self._chunks:
            if self.complete:
                return False
            if self._error is not None:
                raise self._error
            if self.on_wanted is not None:
                self.on_wanted()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True


NOBODY = Peer()


@dataclass(slots=True)
class Request:
    method: str
    path: str  # raw, percent-encoded
    query: str = ""  # raw, without "?"
    headers: Headers = field(default_factory=Headers)
    peer: Peer = NOBODY
    body: Body = field(default_factory=Body)

    @classmethod
    def of(
        cls,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        peer: Peer | None = None,
    ) -> Request:
        """A request that did not come over a socket."""
        path, _, query = target.partition("?")
        request = cls(method, path, query, Headers(headers), peer or NOBODY)
        if body:
            request.body.feed(body)
        request.body.finish()
        return request

    async def read(self, limit: int) -> bytes:
        """The whole body; raises BodyTooLarge as soon as it is known to be longer than `limit` bytes."""
        body = self.body
        if body.expected is not None and body.expected > limit:
            raise BodyTooLarge(limit)
        if body.complete:  # the usual case: it all came in one segment
            if body.size > limit:
                raise BodyTooLarge(limit)
            return body.take() if body.size else b""
        parts: list[bytes] = []
        total = 0
        while await body.more():
            data = body.take()
            total += len(data)
            if total > limit:
                raise BodyTooLarge(limit)
            parts.append(data)
        return b"".join(parts)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes; reading slowly slows the sender."""
        while await self.body.more():
            yield self.body.take()


@dataclass(slots=True)
class Response:
    status: int
    body: bytes | AsyncIterator[bytes] = b""  # a chunk b"" sends what is held back (the head) now
    headers: list[tuple[str, str]] = field(default_factory=list)
    content_type: str = "application/json"


class Connection(Protocol):
    """Two streams of bytes: what is left of HTTP after a 101."""

    async def read(self, n: int = 65536) -> bytes:
        """Up to `n` bytes; b"" at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the peer is gone; waits while its buffer is full."""
        ...

    async def write_eof(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Upgrade:
    headers: list[tuple[str, str]]
    run: Callable[[Connection], Awaitable[None]]


Handler = Callable[[Request], Awaitable[Response | Upgrade]]
