"""Clients of exec and port-forward for tests: SPDY and WebSocket spoken with the project's own codecs."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlencode

from shirube.serving.http_client import upgrade
from shirube.streaming import channels, websocket
from shirube.streaming.port_forward import TUNNEL_PROTOCOL
from shirube.streaming.spdy_session import Session, StreamData, StreamEnded, StreamReplied, StreamReset
from shirube.streaming.websocket import Closed, Message, WebSocket

SPDY = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")]


def exec_target(pod: str, command: list[str], container: str = "c0", tty: bool = False, stdin: bool = True) -> str:
    query = [("command", part) for part in command] + [("output", "1")]
    query += [("input", "1")] * stdin + [("tty", "1") if tty else ("error", "1")]
    return f"/exec/default/{pod}/{container}?{urlencode(query)}"


class Channels:
    """A WebSocket client of exec or attach."""

    def __init__(self, connection, protocol):
        self.connection = connection
        self.protocol = protocol
        self.socket = WebSocket(client=True)
        self.received = {channels.STDOUT: b"", channels.STDERR: b"", channels.ERROR: b""}
        self.closed: Closed | None = None
        self.ended = False

    @classmethod
    async def connect(cls, port, target, protocol=channels.V5, tls=None):
        headers = websocket.request_headers([protocol.name])
        answer = await upgrade("127.0.0.1", port, "GET", target, headers, tls)
        if answer.status != 101:
            body = await answer.connection.read()
            answer.connection.abort()
            raise ConnectionRefusedError(f"{answer.status} {body.decode()}")
        assert answer.headers.get("sec-websocket-protocol") == protocol.name
        return cls(answer.connection, protocol)

    async def send(self, channel, data):
        self.socket.send(self.protocol.encode(channel, data), text=self.protocol.base64)
        await self.connection.write(self.socket.take())

    async def end_stdin(self):
        self.socket.send(self.protocol.end(channels.STDIN))
        await self.connection.write(self.socket.take())

    async def step(self):
        data = await self.connection.read()
        if not data:
            self.ended = True
        for event in self.socket.receive(data):
            if isinstance(event, Message):
                channel, piece = self.protocol.decode(event.data)
                self.received[channel] += piece
            elif isinstance(event, Closed):
                self.closed = event
                self.ended = True
        if answer := self.socket.take():
            await self.connection.write(answer)

    async def until(self, text, channel=channels.STDOUT):
        async with asyncio.timeout(60):
            while text not in self.received[channel]:
                assert not self.ended, f"ended with {self.received}"
                await self.step()

    async def finish(self):
        """Read to the end; the outcome."""
        async with asyncio.timeout(60):
            while not self.ended:
                await self.step()
        await self.connection.close()
        return json.loads(self.received[channels.ERROR] or "null")


def exit_code(status):
    if status["status"] == "Success":
        return 0
    return int(status["details"]["causes"][0]["message"])


class SpdyClient:
    """A SPDY client over bytes; `connection` may be a tunnel."""

    def __init__(self, connection):
        self.connection = connection
        self.session = Session(server=False)
        self.replied = set()
        self.received = {}
        self.ended = set()
        self.gone = False

    @classmethod
    async def connect(cls, port, target, protocol, tls=None):
        headers = [*SPDY, ("X-Stream-Protocol-Version", protocol)]
        answer = await upgrade("127.0.0.1", port, "POST", target, headers, tls)
        assert answer.status == 101, await answer.connection.read()
        assert answer.headers.get("x-stream-protocol-version") == protocol
        return cls(answer.connection)

    async def flush(self):
        if data := self.session.take():
            await self.connection.write(data)

    async def open(self, **headers):
        stream = self.session.open(tuple(headers.items()))
        self.received[stream] = b""
        await self.until(lambda: stream in self.replied)
        return stream

    async def send(self, stream, data, fin=False):
        self.session.send(stream, data, fin=fin)
        await self.flush()

    async def until(self, what):
        async with asyncio.timeout(60):
            while not what():
                assert not self.gone, "the connection ended"
                await self.flush()
                data = await self.connection.read()
                self.gone = not data
                for event in self.session.receive(data):
                    match event:
                        case StreamReplied(stream, _):
                            self.replied.add(stream)
                        case StreamData(stream, piece):
                            self.received[stream] += piece
                        case StreamEnded(stream) | StreamReset(stream, _):
                            self.ended.add(stream)
                await self.flush()


class TunnelConnection:
    """A connection inside a WebSocket tunnel."""

    def __init__(self, connection):
        self.connection = connection
        self.socket = WebSocket(client=True)
        self.buffer = b""

    @classmethod
    async def connect(cls, port, target, tls=None):
        answer = await upgrade("127.0.0.1", port, "GET", target, websocket.request_headers([TUNNEL_PROTOCOL]), tls)
        assert answer.status == 101, await answer.connection.read()
        assert answer.headers.get("sec-websocket-protocol") == TUNNEL_PROTOCOL
        return cls(answer.connection)

    async def write(self, data):
        self.socket.send(data)
        await self.connection.write(self.socket.take())

    async def read(self, n=65536):
        while not self.buffer:
            data = await self.connection.read()
            if not data:
                return b""
            for event in self.socket.receive(data):
                if isinstance(event, Closed):
                    return b""
                self.buffer += event.data
        data, self.buffer = self.buffer, b""
        return data

    async def close(self):
        await self.connection.close()
