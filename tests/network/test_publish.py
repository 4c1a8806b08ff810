"""Ports on the host's loopback, carried to a server: with a supervisor, real sockets and both protocols."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest
from tests.forking import forked
from tests.ports import free_port
from tests.waiting import eventually

from shirube.cluster.supervisor import Supervisor
from shirube.network.publish import Port, Publisher, Target

SERVICE = {"metadata": {"namespace": "x", "name": "web", "uid": "u"}, "spec": {}}


class Events:
    """Remembers what people are told."""

    def __init__(self):
        self.told = []

    def event(self, obj, kind, reason, message):
        self.told.append((reason, message))


@pytest.fixture
def control(tmp_path):
    path = tmp_path / "control.sock"
    pid = forked(lambda: Supervisor(path, []).run())
    eventually(path.exists, "the supervisor listens")
    yield path
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data[::-1], address)


@pytest.fixture
async def server():
    """The port, on 127.0.0.2, of a server that says everything backwards over TCP and UDP."""

    async def answer(reader, writer):
        writer.write((await reader.read(100))[::-1])
        writer.close()
        await writer.wait_closed()

    tcp = await asyncio.start_server(answer, "127.0.0.2", 0)
    port = tcp.sockets[0].getsockname()[1]
    udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("127.0.0.2", port))
    yield port
    udp.close()
    tcp.close()
    await tcp.wait_closed()


async def over_tcp(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"abc")
    writer.write_eof()
    said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return said


async def over_udp(port):
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", port))
        client.send(b"abc")
        async with asyncio.timeout(60):
            return await loop.sock_recv(client, 100)


async def test_both_protocols_reach_the_first_backend_that_takes_them(control, server):
    tcp, udp = Port("TCP", free_port()), Port("UDP", free_port())
    # 127.0.0.3 refuses TCP connections.
    backends = {"TCP": ["127.0.0.3", "127.0.0.2"], "UDP": ["127.0.0.2"]}
    for port, ask in ((tcp, over_tcp), (udp, over_udp)):
        publisher = Publisher("127.0.0.1", control, Events(), lambda _, p=port: backends[p.protocol])
        assert await publisher.follow({port: Target(SERVICE, server)})
        assert await ask(port.number) == b"cba"
        assert await ask(port.number) == b"cba"
        assert await publisher.follow({})
        with pytest.raises((ConnectionError, TimeoutError)):
            await ask(port.number)
        publisher.close()
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_port_that_is_taken_is_told_once_and_tried_again(control, server):
    events = Events()
    publisher = Publisher("127.0.0.1", control, events, lambda _: ["127.0.0.2"])
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = Port("TCP", taken.getsockname()[1])
        for _ in range(2):
            assert not await publisher.follow({port: Target(SERVICE, server)})
        assert [reason for reason, _ in events.told] == ["PortNotPublished"]
        assert str(port.number) in events.told[0][1]
    assert await publisher.follow({port: Target(SERVICE, server)})
    assert await over_tcp(port.number) == b"cba"
    await publisher.follow({})
    publisher.close()
