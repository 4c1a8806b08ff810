"""Probe actions against real sockets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from shirube.kubelet.probes.check import Target, check


@contextlib.asynccontextmanager
async def server(answer):
    async def handle(reader, writer):
        if answer is not None:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(head) if callable(answer) else answer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def look(action, ports=None, timeout=2.0):
    return await check(None, action, Target("id", "127.0.0.1", ports or {}), timeout)


@pytest.mark.parametrize(
    ("line", "success", "output"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, ""),
        (b"HTTP/1.0 399 Fine\r\n\r\n", True, ""),
        (b"HTTP/1.1 500 No\r\n\r\n", False, "HTTP probe failed with statuscode: 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\n\r\n", True, None),
    ],
)
async def test_http_statuses(line, success, output):
    async with server(line) as port:
        outcome = await look({"httpGet": {"port": port}})
    assert outcome.success == success
    if output is not None:
        assert outcome.output == output


async def test_http_sends_headers_path_and_resolves_named_ports():
    seen = []

    def answer(head):
        seen.append(head.decode())
        return b"HTTP/1.1 200 OK\r\n\r\n"

    headers = [{"name": "Host", "value": "me.example"}, {"name": "X-A", "value": "b"}]
    async with server(answer) as port:
        action = {"httpGet": {"port": "web", "path": "/a?b=c", "httpHeaders": headers}}
        assert (await look(action, {"web": port})).success
        assert not (await look(action)).success
    lines = seen[0].split("\r\n")
    assert lines[0] == "GET /a?b=c HTTP/1.1"
    assert "Host: me.example" in lines and "X-A: b" in lines and "User-Agent: kube-probe/1.36" in lines


async def test_a_local_redirect_is_followed():
    def answer(head):
        if b"GET / " in head:
            return b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n"
        return b"HTTP/1.1 503 No\r\n\r\n"

    async with server(answer) as port:
        outcome = await look({"httpGet": {"port": port}})
    assert outcome.output == "HTTP probe failed with statuscode: 503"


async def test_tcp():
    async with server(None) as port:
        assert (await look({"tcpSocket": {"port": port}})).success
    outcome = await look({"tcpSocket": {"port": port}})
    assert outcome.output == f"dial tcp 127.0.0.1:{port}: connect: connection refused"


async def test_a_silent_server_times_out():
    async with server(lambda _head: b"") as port:
        assert not (await look({"httpGet": {"port": port}})).success
    with_nobody = {"httpGet": {"port": 9, "host": "240.0.0.1"}}
    assert not (await look(with_nobody, timeout=0.05)).success


async def test_grpc_health():
    import grpc.aio

    async def handle(request, _context):
        return b"\x08\x01" if request in (b"", b"\x0a\x02ok") else b"\x08\x02"

    health = grpc.aio.server()
    methods = {"Check": grpc.unary_unary_rpc_method_handler(handle)}
    health.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods),))
    port = health.add_insecure_port("127.0.0.1:0")
    await health.start()
    try:
        assert (await look({"grpc": {"port": port}})).success
        assert (await look({"grpc": {"port": port, "service": "ok"}})).success
        outcome = await look({"grpc": {"port": port, "service": "no"}})
        assert outcome.output == 'service unhealthy (responded with "NOT_SERVING")'
    finally:
        await health.stop(None)
        await health.wait_for_termination()  # its own tasks end here, not with `stop`
