"""Smuggling through a failed proxy upgrade (as in CVE-2018-1002105), and other ways to desynchronise two parsers.

Published flaw: a client asked to upgrade a proxied request, the other side refused, and the server left both
connections joined: what the client sent next reached the other side under the server's own credentials.
Here a refused upgrade is an ordinary answer: the connection to the other side is closed, and the client's next request
is authenticated and authorised like any other.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.apiserver.conftest import PODS
from tests.apiserver.flaws.conftest import allow, rule

from shirube.apiserver.subresources import proxy_target
from shirube.serving.http import Server

UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


class Backend:
    """Speaks raw bytes, answers each connection's first head as told, and remembers all that it hears."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heard: list[bytes] = []
        self.connections = 0

    async def serve(self, reader, writer):
        self.connections += 1
        heard = bytearray()
        self.heard.append(heard)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                heard += data
                if heard.endswith(b"\r\n\r\n"):
                    writer.write(self.answer)
                    await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def joined(world, monkeypatch, answer):
    """(backend as pod `web`, a connection to the API server)"""
    monkeypatch.setattr(proxy_target, "check_address", lambda host: None)  # loopback stands for a pod
    backend = Backend(answer)
    behind = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    port = behind.sockets[0].getsockname()[1]
    await world.ok("POST", PODS, {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    status = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    await world.ok("PATCH", f"{PODS}/web/status", status, content_type="application/merge-patch+json")
    await allow(world, "mallory", [rule("pods/proxy")], "default")
    import socket

    sock = socket.create_server(("127.0.0.1", 0))
    front = Server(world.server.handle, tls=None)
    await front.start([sock])
    reader, writer = await asyncio.open_connection("127.0.0.1", sock.getsockname()[1])
    try:
        async with asyncio.timeout(60):
            yield backend, port, reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await front.drain(0.1)
        behind.close()
        await behind.wait_closed()


async def answer_of(reader):
    """(status, body) of one answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = head.lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length")), None)
    if length is not None:
        return int(head.split()[1]), await reader.readexactly(length)
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return int(head.split()[1]), body


REFUSALS = [
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_after_a_refused_upgrade_the_next_request_is_the_servers(world, monkeypatch, refusal):
    async with joined(world, monkeypatch, refusal) as (backend, port, reader, writer):
        user = "Host: x\r\nX-Test-User: mallory\r\n"
        first = f"GET {PODS}/web:{port}/proxy/ HTTP/1.1\r\n{user}{UPGRADE}\r\n"
        smuggled = f"GET /api/v1/namespaces/kube-system/secrets HTTP/1.1\r\n{user}\r\n"
        writer.write((first + smuggled).encode())
        status, _ = await answer_of(reader)
        assert status == int(refusal.split()[1])
        status, body = await answer_of(reader)
        assert (status, b"cannot list resource" in body) == (403, True)
    assert len(backend.heard) == 1
    assert bytes(backend.heard[0]).count(b"HTTP/1.1") == 1
    assert b"secrets" not in bytes(backend.heard[0])


async def test_an_answer_that_is_no_http_ends_the_attempt(world, monkeypatch):
    async with joined(world, monkeypatch, b"220 smtp ready\r\n\r\n") as (_, port, reader, writer):
        writer.write(f"GET {PODS}/web:{port}/proxy/ HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n".encode())
        status, body = await answer_of(reader)
        assert (status, b"not an HTTP/1 answer" in body) == (503, True)


async def test_a_switch_that_nobody_asked_for_is_refused(world, monkeypatch):
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    async with joined(world, monkeypatch, switching) as (backend, port, reader, writer):
        writer.write(f"GET {PODS}/web:{port}/proxy/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status, _ = await answer_of(reader)
        assert status == 503
        assert backend.connections == 1


AMBIGUOUS = [
    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "Content-Length: 4\r\nContent-Length: 5\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 4\r\n X: folded\r\n",
]


@pytest.mark.parametrize("headers", AMBIGUOUS)
async def test_requests_that_two_parsers_would_read_differently_are_refused(world, monkeypatch, headers):
    async with joined(world, monkeypatch, REFUSALS[1]) as (backend, port, reader, writer):
        writer.write(f"POST {PODS}/web:{port}/proxy/ HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        writer.write(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _ = await answer_of(reader)
        assert status == 400
        assert await reader.read() == b""  # and the connection is closed
    assert backend.heard == []


async def test_hop_by_hop_headers_and_credentials_stay_here(world, monkeypatch):
    async with joined(world, monkeypatch, REFUSALS[1]) as (backend, port, reader, writer):
        writer.write(
            f"GET {PODS}/web:{port}/proxy/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"
            "Impersonate-User: admin\r\nImpersonate-Group: system:masters\r\n"
            "X-Remote-User: admin\r\nX-Remote-Group: system:masters\r\n"
            "Connection: keep-alive, X-Drop\r\nX-Drop: me\r\nTE: trailers\r\nX-Keep: this\r\n\r\n".encode()
        )
        status, _ = await answer_of(reader)
        assert status == 200
    heard = bytes(backend.heard[0]).lower()
    for gone in (b"secret", b"impersonate", b"x-remote", b"x-drop", b"te: trailers"):
        assert gone not in heard, gone
    assert b"x-keep: this" in heard


async def test_a_path_cannot_carry_another_request(world, monkeypatch):
    async with joined(world, monkeypatch, REFUSALS[1]) as (backend, port, reader, writer):
        path = f"{PODS}/web:{port}/proxy/a%0d%0aX-Injected:%20yes%0d%0a%0d%0aGET%20/b"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status, _ = await answer_of(reader)
        assert status == 200
    assert bytes(backend.heard[0]).count(b"\r\n\r\n") == 1
    assert b"\nx-injected" not in bytes(backend.heard[0]).lower()


async def test_a_response_that_is_passed_on_is_a_response(world, monkeypatch):
    answer = b"HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c\r\nContent-Length: 2\r\n\r\nok"
    async with joined(world, monkeypatch, answer) as (_, port, reader, writer):
        writer.write(f"GET {PODS}/web:{port}/proxy/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        assert int(head.split()[1]) == 503 or "\rSet-Cookie" not in head
