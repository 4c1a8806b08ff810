"""The bytes of DNS: UDP datagrams, and TCP with its two-byte lengths."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import cast

from shirube.foundation import log
from shirube.foundation.tasks import cancel, spawn
from shirube.network.dns.answer import Responder
from shirube.network.dns.metrics import DnsMetrics

_logger = log.get("dns")
_MOST_UDP = 2000
_IDLE_SECONDS = 10.0


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder, metrics: DnsMetrics) -> None:
        self._responder = responder
        self._metrics = metrics
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    def connection_lost(self, error: Exception | None) -> None:
        self._closed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        started = time.perf_counter()
        reply = self._responder.at_once(data, tcp=False)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, address)
            self._metrics.observe(reply, time.perf_counter() - started, tcp=False)
            return
        if len(self._tasks) >= _MOST_UDP:
            return  # the client asks again; memory stays bounded
        task = spawn(self._answer(data, address), name="dns-query")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        started = time.perf_counter()
        reply = await self._responder.respond(data, tcp=False)
        self._metrics.observe(reply, time.perf_counter() - started, tcp=False)
        if reply is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(reply, address)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()
        await cancel(*self._tasks)


class DnsServer:
    """Listens on one address for UDP and TCP."""

    def __init__(self, responder: Responder, metrics: DnsMetrics | None = None) -> None:
        self._responder = responder
        self.metrics = metrics or DnsMetrics()
        self._datagrams: _Datagrams | None = None
        self._tcp: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, host: str, port: int = 53) -> None:
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._accept, host, port)
        self.port = self._tcp.sockets[0].getsockname()[1]
        _, self._datagrams = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._responder, self.metrics), local_addr=(host, self.port)
        )

    async def close(self) -> None:
        if self._tcp is not None:
            self._tcp.close()
            await cancel(*self._connections)
            await self._tcp.wait_closed()
        if self._datagrams is not None:
            await self._datagrams.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = spawn(self._stream(reader, writer), name="dns-connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    packet = await reader.readexactly(length)
                started = time.perf_counter()
                reply = self._responder.at_once(packet, tcp=True) or await self._responder.respond(packet, tcp=True)
                self.metrics.observe(reply, time.perf_counter() - started, tcp=True)
                if reply is None:
                    return
                writer.write(len(reply).to_bytes(2, "big") + reply)
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            return  # the client is done, or too slow
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
