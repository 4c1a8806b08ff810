from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web
from tests.client.memory_api import MemoryApi

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, DEPLOYMENTS, PODS
from shirube.client import rest
from shirube.client.config import KubeConfig
from shirube.client.rest import Client, Unreachable, query


def test_query_spells_options_as_the_api_does():
    text = query({"label_selector": "a=b", "watch": True, "continue_": "x", "limit": None, "dryRun": ["All"]})
    assert text == "labelSelector=a%3Db&watch=true&continue=x&dryRun=All"


async def test_errors_are_what_the_server_said(client: Client):
    with pytest.raises(ApiError) as caught:
        await client.get(PODS, "none", "default")
    assert (caught.value.code, caught.value.reason) == (404, "NotFound")


async def test_conflicts_and_status(api: MemoryApi, client: Client):
    made = await client.create(DEPLOYMENTS, {"metadata": {"name": "d", "namespace": "x"}, "spec": {}})
    await client.update_status(DEPLOYMENTS, {**made, "status": {"replicas": 1}, "spec": {"ignored": True}})
    now = await client.get(DEPLOYMENTS, "d", "x")
    assert now["status"] == {"replicas": 1}
    assert now["spec"] == {}
    with pytest.raises(ApiError) as caught:
        await client.update(DEPLOYMENTS, made)
    assert caught.value.reason == "Conflict"


async def test_watch_yields_events(client: Client):
    await client.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "x"}})
    async for event in client.watch(CONFIGMAPS, "x", resource_version="0"):
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")
        break


@pytest.fixture
async def http_server():
    """A real socket, answering as told."""
    seen: list[web.Request] = []
    answers: list[web.Response] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        await request.read()
        if "watch" in request.query:
            stream = web.StreamResponse()
            await stream.prepare(request)
            for piece in (b'{"type":"ADDED","obj', b'ect":{"n":1}}\n{"type":"A"', b',"object":{}}\n'):
                await stream.write(piece)
                await asyncio.sleep(0.01)
            return stream
        return answers.pop(0)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    client = Client.from_config(KubeConfig(server=f"http://127.0.0.1:{port}", token="secret"), "tester")
    yield client, answers, seen
    await client.close()
    await runner.cleanup()


async def test_429_with_retry_after_is_tried_again(http_server):
    client, answers, seen = http_server
    answers += [web.Response(status=429, headers={"Retry-After": "0"}), web.json_response({"kind": "Pod"})]
    assert await client.get(PODS, "p", "n") == {"kind": "Pod"}
    assert len(seen) == 2
    assert seen[0].headers["Authorization"] == "Bearer secret"
    assert seen[0].headers["User-Agent"].startswith("tester/v1.")


async def test_an_answer_that_is_no_status_is_still_an_error(http_server):
    client, answers, _ = http_server
    answers.append(web.Response(status=502, text="bad gateway"))
    with pytest.raises(ApiError) as caught:
        await client.get(PODS, "p", "n")
    assert (caught.value.code, caught.value.message) == (502, "bad gateway")


async def test_watch_lines_are_put_together_from_pieces(http_server):
    client, _, _ = http_server
    assert [e async for e in client.watch(PODS)] == [
        {"type": "ADDED", "object": {"n": 1}},
        {"type": "A", "object": {}},
    ]


async def test_a_watch_of_a_server_that_has_vanished_ends(monkeypatch: pytest.MonkeyPatch):
    """It said one thing and then nothing, not even that it is over."""
    monkeypatch.setattr(rest, "_WATCH_GRACE_SECONDS", 0.05)
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        line = b'{"type":"ADDED","object":{}}\n'
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(line), line))
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Client.from_config(KubeConfig(server=f"http://127.0.0.1:{port}"), "tester")
    try:
        async with asyncio.timeout(60):
            assert [e async for e in client.watch(PODS, timeout_seconds=0)] == [{"type": "ADDED", "object": {}}]
    finally:
        gone.set()
        await client.close()
        server.close()
        await server.wait_closed()


async def test_nobody_there_is_unreachable():
    client = Client.from_config(KubeConfig(server="http://127.0.0.1:1"), "tester")
    with pytest.raises(Unreachable, match="cannot reach the API server"):
        await client.get(PODS, "p", "n")
    await client.close()


async def test_connections_find_out_that_the_other_end_is_gone():
    """What the kernel is told of every connection; a cut link itself is in tests/cluster/test_node_failure.py."""
    made = rest._socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0)))
    with made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 20
