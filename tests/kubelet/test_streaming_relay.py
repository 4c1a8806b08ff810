"""Moving bytes between a client and a runtime's streaming server that a test plays."""

from __future__ import annotations

import asyncio
import json
import socket
from types import SimpleNamespace

import pytest
from streaming_clients import SPDY, Channels

from shirube.foundation.tasks import spawn
from shirube.kubelet import streaming_relay, streaming_runtime
from shirube.kubelet.streaming_runtime import Streams
from shirube.serving.http import Server
from shirube.serving.http_client import upgrade
from shirube.streaming import channels

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Secret: no\r\n\r\n"


class Runtime:
    """A streaming server that answers one head with `answer`, then does `then(reader, writer)`."""

    def __init__(self, answer=UPGRADED, then=None):
        self.answer, self.then = answer, then
        self.head = b""
        self.open = 0

    async def serve(self, reader, writer):
        self.open += 1
        try:
            self.head = await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            if self.then is not None:
                await self.then(reader, writer)
            else:
                await reader.read()
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()

    async def closed(self):
        async with asyncio.timeout(60):
            while self.open:
                await asyncio.sleep(0.01)


@pytest.fixture
async def between():
    """Starts a runtime and a server before it; the server's port."""
    running = []

    async def start(runtime):
        listener = await asyncio.start_server(runtime.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/exec/token?x=1"

        async def handle(request):
            if not await streaming_runtime.is_upgrade(request):
                return streaming_runtime.plain(400, "Upgrade request required")
            return await streaming_runtime.remote_command_response(request, url, Streams(True, True, True, False))

        server = Server(handle)
        await server.start([socket.create_server(("127.0.0.1", 0))])
        running.append((listener, server))
        return server.ports[0]

    yield start
    for listener, server in running:
        await server.drain(0.1)
        listener.close()


async def spdy(port, headers=()):
    return await upgrade("127.0.0.1", port, "POST", "/", [*SPDY, *headers], None)


async def test_bytes_pass_both_ways_and_credentials_do_not(between):
    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)

    runtime = Runtime(then=echo)
    answer = await spdy(
        await between(runtime), [("Authorization", "Bearer secret"), ("X-Stream-Protocol-Version", "a")]
    )
    assert answer.status == 101
    assert "x-secret" not in answer.headers
    head = runtime.head.lower()
    assert head.startswith(b"post /exec/token?x=1 http/1.1\r\n")
    assert b"x-stream-protocol-version: a" in head
    assert b"secret" not in head
    await answer.connection.write(b"ping")
    assert await answer.connection.read() == b"ping"
    answer.connection.abort()
    await runtime.closed()


async def test_the_runtimes_end_is_the_clients_after_all_that_was_said(between):
    async def speak(reader, writer):
        writer.write(b"x" * 3_000_000)

    answer = await spdy(await between(Runtime(then=speak)))
    await asyncio.sleep(0.1)
    size = 0
    async with asyncio.timeout(60):
        while data := await answer.connection.read():
            size += len(data)
    assert size == 3_000_000
    answer.connection.abort()


async def test_who_does_not_read_is_not_read_for(between):
    written = 0

    async def speak(reader, writer):
        nonlocal written
        while True:
            writer.write(b"x" * 65536)
            written += 65536
            await writer.drain()

    runtime = Runtime(then=speak)
    answer = await spdy(await between(runtime))
    before = -1
    async with asyncio.timeout(60):
        while before != written:
            before = written
            await asyncio.sleep(0.3)
    # What socket buffers and ours hold; not all that the runtime could say.
    assert written < 20_000_000
    answer.connection.abort()
    await runtime.closed()


async def test_a_refusal_of_the_runtime_is_handed_on(between):
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno token\n"
    answer = await spdy(await between(Runtime(refusal)))
    assert answer.status == 404
    assert await answer.connection.read() == b"no token\n"
    answer.connection.abort()


async def test_a_runtime_that_is_away_is_said(between):
    request = SimpleNamespace(
        headers=streaming_runtime.Headers(SPDY), method="POST", path="/", query="", peer=None, body=None
    )
    unused = socket.create_server(("127.0.0.1", 0))
    port = unused.getsockname()[1]
    unused.close()
    answer = await streaming_runtime.port_forward_response(request, f"http://127.0.0.1:{port}/x")
    assert answer.status == 502
    assert answer.body.startswith(b"cannot reach the container runtime's streaming server: ")
    answer = await streaming_runtime.port_forward_response(request, "https://127.0.0.1:1/x")
    assert b"is not plain HTTP on this node" in answer.body


async def test_a_runtime_that_vanishes_under_v5_is_a_failure(between):
    async def leave(reader, writer):
        pass

    client = await Channels.connect(await between(Runtime(then=leave)), "/")
    status = await client.finish()
    assert status["status"] == "Failure"
    assert client.closed.code == 1000


async def test_a_v5_client_that_leaves_ends_the_runtimes_session(between):
    runtime = Runtime()
    client = await Channels.connect(await between(runtime), "/", channels.V5)
    client.connection.abort()
    await runtime.closed()


async def test_a_runtime_that_accepts_no_streams_is_given_up(between, monkeypatch):
    monkeypatch.setattr(streaming_relay, "READY_SECONDS", 0.05)
    runtime = Runtime()
    client = await Channels.connect(await between(runtime), "/", channels.V5)
    await client.send(channels.STDIN, b"nobody takes it")
    assert (await client.finish())["status"] == "Failure"
    await runtime.closed()


async def test_a_bad_handshake_is_refused_before_the_runtime_is_asked(between):
    runtime = Runtime()
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "short"),
        ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
    ]
    answer = await upgrade("127.0.0.1", await between(runtime), "GET", "/", headers, None)
    assert answer.status == 400
    assert runtime.head == b""
    answer.connection.abort()


async def test_an_upgrade_that_nobody_takes_is_closed(monkeypatch):
    monkeypatch.setattr(streaming_runtime, "UNCLAIMED_SECONDS", 0.05)
    runtime = Runtime()
    listener = await asyncio.start_server(runtime.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/x"
    request = SimpleNamespace(headers=streaming_runtime.Headers(SPDY), method="POST")
    answer = await streaming_runtime.port_forward_response(request, url)
    assert answer.headers
    await runtime.closed()
    listener.close()


class Pipe:
    """One end of a connection in memory."""

    def __init__(self):
        self.incoming = asyncio.Queue()
        self.written = b""
        self.closed = False

    async def read(self, n=65536):
        return await self.incoming.get()

    async def write(self, data):
        self.written += data

    async def write_eof(self):
        pass

    async def close(self):
        self.closed = True


async def test_a_session_over_which_nothing_moves_ends(monkeypatch):
    monkeypatch.setattr(streaming_relay, "IDLE_TIMEOUT", 0.05)
    client, runtime = Pipe(), Pipe()
    await asyncio.wait_for(streaming_relay.pass_through(client, runtime), 60)
    assert runtime.closed


async def test_being_cancelled_closes_the_runtime():
    client, runtime = Pipe(), Pipe()
    session = spawn(streaming_relay.pass_through(client, runtime), name="session")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    session.cancel()
    await asyncio.wait((session,))
    assert runtime.closed


async def test_the_outcome_is_told_although_the_runtime_takes_no_more():
    """A command that ends with its stdin full: the runtime's side stays blocked, the client must know."""
    from shirube.streaming.remote_command import RemoteCommand
    from shirube.streaming.spdy_session import Session
    from shirube.streaming.websocket import Message, WebSocket

    class Stuck(Pipe):
        blocked = False

        async def write(self, data):
            await super().write(data)
            if self.blocked:
                await asyncio.Event().wait()

    client, runtime = Pipe(), Stuck()
    command = RemoteCommand(channels.V5, stdin=True, stdout=True, stderr=False, tty=False)
    session = spawn(streaming_relay.translate(client, runtime, command), name="session")
    while not runtime.written:
        await asyncio.sleep(0)
    far = Session(server=True)
    for event in far.receive(runtime.written):
        far.reply(event.stream)
    runtime.incoming.put_nowait(far.take())
    runtime.blocked = True
    near = WebSocket(client=True)
    near.send(b"\x00input")
    client.incoming.put_nowait(near.take())
    await asyncio.sleep(0.01)
    for stream in (1, 3, 5):
        far.send(stream, b'{"status":"Success"}' if stream == 1 else b"", fin=True)
    runtime.incoming.put_nowait(far.take())
    async with asyncio.timeout(60):
        while not command.runtime_done:
            await asyncio.sleep(0.01)
    told = [m.data for m in near.receive(client.written) if isinstance(m, Message)]
    assert json.loads(told[-1][1:]) == {"status": "Success"}
    session.cancel()
    await asyncio.wait((session,))


async def test_the_close_comes_by_itself_and_is_not_waited_on_for_ever(monkeypatch):
    """A client that polls its socket must find the close there; one that never answers it keeps nothing open."""
    monkeypatch.setattr(streaming_relay, "ANSWER", 0.05)

    class Records(Pipe):
        def __init__(self):
            super().__init__()
            self.records = []

        async def write(self, data):
            self.records.append(bytes(data))
            await super().write(data)

    class Ended:
        accepts_client, client_done, runtime_done = True, False, False
        said = b""

        def from_client(self, data):
            pass

        def from_runtime(self, data):
            self.runtime_done = True
            self.said = b"\x82\x02\x03x\x88\x02\x03\xe8"

        def take_for_client(self):
            said, self.said = self.said, b""
            return said

        def take_for_runtime(self):
            return b""

    client, runtime = Records(), Pipe()
    runtime.incoming.put_nowait(b"")
    await asyncio.wait_for(streaming_relay.translate(client, runtime, Ended()), 60)
    assert client.records == [b"\x82\x02\x03x", b"\x88\x02\x03\xe8"]
    assert runtime.closed
