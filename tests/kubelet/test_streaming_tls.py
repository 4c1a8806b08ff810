"""Streams over TLS, which is how they come: its transports end differently from plain ones."""

from __future__ import annotations

import asyncio
import socket

import pytest
from streaming_clients import SPDY
from test_server import authority, identity
from test_streaming_relay import Runtime

from shirube.kubelet import streaming_runtime
from shirube.kubelet.streaming_runtime import Streams
from shirube.serving.http import Server
from shirube.serving.http_client import upgrade
from shirube.serving.tls import client_context, server_context
from shirube.streaming import websocket


@pytest.fixture
async def connect(tmp_path):
    """Starts a TLS server before a runtime; opens upgrades to it."""
    certificate, key = identity(tmp_path, authority(tmp_path), "node")
    tls = client_context(tmp_path / "ca.pem")
    running = []

    async def start(runtime, method, headers):
        listener = await asyncio.start_server(runtime.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/x"

        async def handle(request):
            return await streaming_runtime.remote_command_response(request, url, Streams(True, True, True, False))

        server = Server(handle, tls=server_context(certificate, key))
        await server.start([socket.create_server(("127.0.0.1", 0))])
        running.append((listener, server))
        answer = await upgrade("127.0.0.1", server.ports[0], method, "/", headers, tls, server_hostname="localhost")
        assert answer.status == 101
        return answer.connection

    yield start
    for listener, server in running:
        await server.drain(0.1)
        listener.close()
        await listener.wait_closed()


async def test_a_slow_reader_gets_what_was_said_before_the_end(connect):
    async def speak(reader, writer):
        writer.write(b"x" * 3_000_000)

    connection = await connect(Runtime(then=speak), "POST", SPDY)
    await asyncio.sleep(2.5)  # longer than closing alone would wait
    size = 0
    while data := await connection.read():
        size += len(data)
        await asyncio.sleep(0.005)
    assert size == 3_000_000
    await connection.close()


async def test_a_client_that_leaves_before_the_runtime_is_ready(connect):
    runtime = Runtime()
    connection = await connect(runtime, "GET", websocket.request_headers(["v5.channel.k8s.io"]))
    connection.abort()
    await runtime.closed()
