"""The HTTP/1.1 server: `Server(handler, tls=…)`, and the names that handlers need.

Mechanism: `protocol.HttpProtocol` parses with httptools and runs one task a connection; this module owns what is
common to all connections: listening, timeouts (one sweep a second instead of a timer a connection), draining.
Used by the API server, the node agent and metrics endpoints.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from shirube.foundation import log, tasks
from shirube.serving.exchange import Limits
from shirube.serving.messages import (
    Body,
    BodyTooLarge,
    Connection,
    Disconnected,
    Handler,
    Headers,
    Peer,
    Request,
    Response,
    Upgrade,
)
from shirube.serving.protocol import HttpProtocol

__all__ = [
    "Body",
    "BodyTooLarge",
    "Connection",
    "Disconnected",
    "Handler",
    "Headers",
    "Limits",
    "Peer",
    "Request",
    "Response",
    "Server",
    "Upgrade",
]

_logger = log.get("http")
BACKLOG = 1024


class Server:
    """Serves `handler` on listening sockets until drained."""

    def __init__(
        self,
        handler: Handler,
        *,
        tls: ssl.SSLContext | None = None,
        max_header: int = 128 * 1024,
        idle_timeout: float = 180.0,
        header_timeout: float = 20.0,
        body_timeout: float = 60.0,
        write_timeout: float = 60.0,
        max_connections: int = 20_000,
    ) -> None:
        self._tls = tls
        self._limits = Limits(max_header, idle_timeout, header_timeout, body_timeout, write_timeout)
        self._max_connections = max_connections
        self._handler = handler
        self._protocols: set[HttpProtocol] = set()
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False
        self.requests = 0  # answered so far

    @property
    def connections(self) -> int:
        return len(self._protocols)

    async def start(self, sockets: list[socket.socket]) -> None:
        """Accept on these sockets (bound or already listening). The server owns and closes them."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            sock.setblocking(False)
            more: dict[str, Any] = {}
            if self._tls is not None:
                more = {"ssl": self._tls, "ssl_handshake_timeout": 10.0, "ssl_shutdown_timeout": 2.0}
            self._servers.append(await loop.create_server(self._protocol, sock=sock, backlog=BACKLOG, **more))
        self._sweeper = tasks.spawn(self._sweep(), name="http-timeouts")

    def _protocol(self) -> HttpProtocol:
        return HttpProtocol(self._handler, self._limits, self)

    def opened(self, protocol: HttpProtocol) -> bool:
        """A connection was made; False refuses it."""
        if len(self._protocols) >= self._max_connections:
            return False
        self._protocols.add(protocol)
        self._empty.clear()
        return True

    def closed(self, protocol: HttpProtocol) -> None:
        self._protocols.discard(protocol)
        if not self._protocols:
            self._empty.set()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            now = loop.time()
            for protocol in list(self._protocols):
                protocol.check_deadline(now)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let requests in flight finish for up to `seconds`, then end what is left."""
        self.draining = True
        for server in self._servers:
            server.close()
        for protocol in list(self._protocols):
            protocol.close_when_idle()
        if not await tasks.signalled(self._empty, seconds):
            _logger.info("ending connections that are still busy", connections=len(self._protocols))
        for protocol in list(self._protocols):
            protocol.abort()
        if not await tasks.signalled(self._empty, 5):
            _logger.warning("connections did not end", connections=len(self._protocols))
        await tasks.cancel(self._sweeper)
        self._sweeper = None

    @property
    def ports(self) -> list[int]:
        """The TCP ports that it listens on."""
        names = [s.getsockname() for server in self._servers for s in server.sockets]
        return [name[1] for name in names if isinstance(name, tuple)]
