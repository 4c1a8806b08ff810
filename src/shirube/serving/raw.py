"""A transport as two streams of bytes, with back-pressure both ways: what remains after an HTTP upgrade.

One `RawConnection` is an asyncio protocol. The HTTP server hands its transport over to one after a 101 (together
with bytes that came early); `http_client` starts with one. TLS cannot close one direction alone: `write_eof` is
then a no-op, and the peer learns of the end from `close`.
"""

from __future__ import annotations

import asyncio
from typing import cast

READ_HIGH = 256 * 1024  # bytes held for a slow reader before the sender is paused


class RawConnection(asyncio.Protocol):
    def __init__(self, write_timeout: float = 60.0) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._eof = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused_reading = False
        self._write_timeout = write_timeout
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def adopt(self, transport: asyncio.Transport, early: bytes = b"") -> None:
        """Take over a transport that another protocol served so far; `early` had been read from it already."""
        self._transport = transport
        self._buffer += early
        transport.set_protocol(self)
        transport.resume_reading()

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > READ_HIGH and not self._paused_reading and self._transport is not None:
            self._paused_reading = True
            self._transport.pause_reading()
        self._wake(self._reader)

    def eof_received(self) -> bool:
        self._eof = True
        self._wake(self._reader)
        # The other direction stays open, but for TLS, which has no half-closed connections.
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = True
        self._error = exc or ConnectionResetError("connection closed")
        self._transport = None
        self._wake(self._reader)
        self._wake(self._drained)
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        self._wake(self._drained)
        self._drained = None

    @staticmethod
    def _wake(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # ------------------------------------------------------------ messages.Connection

    async def read(self, n: int = 65536) -> bytes:
        while not self._buffer:
            if self._eof:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = bytes(self._buffer[:n])
        del self._buffer[:n]
        if self._paused_reading and len(self._buffer) < READ_HIGH // 2 and self._transport is not None:
            self._paused_reading = False
            self._transport.resume_reading()
        return data

    async def read_until(self, mark: bytes, limit: int) -> bytes:
        """Bytes up to and with `mark`; raises ConnectionError when it does not come within `limit` bytes."""
        data = b""
        while (at := data.find(mark)) < 0:
            if len(data) > limit:
                raise ConnectionError(f"no end of the message head within {limit} bytes")
            more = await self.read()
            if not more:
                raise ConnectionError("connection closed inside the message head")
            data += more
        end = at + len(mark)
        self._buffer[:0] = data[end:]
        return data[:end]

    async def write(self, data: bytes) -> None:
        if self._transport is None:
            raise self._error or ConnectionResetError("connection closed")
        self._transport.write(data)
        if self._drained is not None:
            try:
                async with asyncio.timeout(self._write_timeout):
                    await self._drained
            except TimeoutError:
                self.abort()
                raise ConnectionError("peer does not read what it is sent") from None
            if self._transport is None:
                raise self._error or ConnectionResetError("connection closed")

    async def write_eof(self) -> None:
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    async def close(self) -> None:
        """Send what is buffered, then close. Does not wait for a peer that has stopped reading."""
        if self._transport is not None:
            self._transport.close()
            await asyncio.wait((self.closed,), timeout=2)
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
