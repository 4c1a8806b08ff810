"""Watching over a WebSocket."""

from __future__ import annotations

import asyncio
import socket

import orjson

from shirube.serving import http_client
from shirube.serving.http import Server

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
WEBSOCKET = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]


async def frame(connection, held: bytearray) -> tuple[int, bytes]:
    async def need(n):
        while len(held) < n:
            data = await connection.read()
            assert data, "the connection ended"
            held.extend(data)

    async with asyncio.timeout(60):
        await need(4)
        size, at = held[1], 2
        if size == 126:
            size, at = int.from_bytes(held[2:4], "big"), 4
        await need(at + size)
    opcode, payload = held[0] & 0x0F, bytes(held[at : at + size])
    del held[: at + size]
    return opcode, payload


async def test_each_event_is_a_text_message(api):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = Server(api.server.handle)
    await server.start([sock])
    try:
        target = f"{CONFIGMAPS}?watch=true"
        port = sock.getsockname()[1]
        status, headers, connection = await http_client.upgrade(
            "127.0.0.1", port, "GET", target, WEBSOCKET, None, timeout=60
        )
        assert status == 101 and headers.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        for name in ("a", "b"):
            await api.ok("POST", CONFIGMAPS, {"metadata": {"name": name}})
        held = bytearray()
        for name in ("a", "b"):
            opcode, payload = await frame(connection, held)
            event = orjson.loads(payload)
            assert opcode == 1
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", name)
        await connection.write(b"\x88\x80\x00\x00\x00\x00")  # a masked close frame
        async with asyncio.timeout(60):
            while await connection.read():
                continue
        await connection.close()
        assert not api.context.watchers
    finally:
        await server.drain(0.1)
