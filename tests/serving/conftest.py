"""A server on a loopback socket around whatever handler a test brings."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop

from shirube.serving.http import Handler, Server


def pytest_asyncio_loop_factories(config, item):
    """Servers run on uvloop, the simulation on asyncio's own loop: transports differ in their corners."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass
class Running:
    server: Server
    port: int

    async def talk(self, data: bytes, *, finish: bool = True) -> bytes:
        """Send bytes, and read until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        if finish:
            await writer.drain()
        async with asyncio.timeout(60):
            answer = await reader.read()
        writer.close()
        return answer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    running: list[Server] = []

    async def start(handler: Handler, **options: Any) -> Running:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        server = Server(handler, **options)
        await server.start([sock])
        running.append(server)
        return Running(server, port)

    yield start
    for server in running:
        await server.drain(0.1)
