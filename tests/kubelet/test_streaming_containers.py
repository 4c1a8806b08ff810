"""Exec, attach, port-forward and logs of real containers through the node agent's HTTPS API's handler."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from urllib.parse import parse_qs, urlencode

import orjson
import pytest
from node import pod, running_node, shell
from streaming_clients import Channels, SpdyClient, TunnelConnection, exec_target, exit_code

from shirube.foundation.tasks import spawn
from shirube.kubelet.server import NodeApi
from shirube.kubelet.server_access import User
from shirube.serving.http import Request, Response, Server
from shirube.serving.http_client import upgrade
from shirube.streaming import channels

pytestmark = pytest.mark.cluster
MASTER = User("test", groups=("system:masters",))


class Anybody:
    """Access for everybody: who may is the matter of test_server."""

    async def user(self, headers, peer):
        return MASTER

    async def allowed(self, user, verb, subresource):
        return True


class Served:
    def __init__(self, node, api, server):
        self.node, self.api, self.server = node, api, server
        self.port = server.ports[0]

    async def get(self, target):
        answer = await upgrade("127.0.0.1", self.port, "GET", target, [("Connection", "close")], None)
        body = b""
        while piece := await answer.connection.read():
            body += piece
        answer.connection.abort()
        return answer.status, body if "content-length" in answer.headers else unchunked(body)

    async def no_streams(self):
        async with asyncio.timeout(60):
            while sum(self.api.counters.open_streams.values()) or runtime_connections():
                await asyncio.sleep(0.02)


def unchunked(body):
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        out, body = out + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return out


def runtime_connections():
    """Tasks that move bytes of a stream."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("stream to")]


@pytest.fixture
async def served(containerd):
    async with running_node(containerd) as node:
        async with asyncio.timeout(60):
            while not hasattr(node, "agent"):
                await asyncio.sleep(0.01)
        api = NodeApi(node.agent, Anybody())
        server = Server(api.handle, write_timeout=3600)
        await server.start([socket.create_server(("127.0.0.1", 0))])
        served = Served(node, api, server)
        try:
            yield served
            await served.no_streams()
        finally:
            await server.drain(0.1)


@pytest.fixture
async def name(served):
    """A pod whose container echoes TCP on port 7777 and sleeps."""
    listening = "/bin/busybox grep -qi :1E61 /proc/net/tcp /proc/net/tcp6"
    script = f"nc -ll -p 7777 -e cat & until {listening}; do :; done; echo started; sleep 1000"
    name = served.node.run(pod("box", shell(script)))
    await served.node.ready(name)
    await served.node.log_with(name, "started")
    return name


# -- exec over v5


async def test_exec_gives_output_of_both_kinds_and_the_exit_code(served, name):
    target = exec_target(name, ["sh", "-c", "echo out; echo err >&2; exit 7"], stdin=False)
    client = await Channels.connect(served.port, target)
    status = await client.finish()
    assert client.received[channels.STDOUT] == b"out\n"
    assert client.received[channels.STDERR] == b"err\n"
    assert exit_code(status) == 7
    assert status["reason"] == "NonZeroExitCode"
    assert client.closed.code == 1000


async def test_stdin_ends_when_the_client_ends_it(served, name):
    client = await Channels.connect(served.port, exec_target(name, ["cat"]))
    data = os.urandom(300_000)
    for start in range(0, len(data), 20_000):
        await client.send(channels.STDIN, data[start : start + 20_000])
    await client.end_stdin()
    status = await client.finish()
    assert client.received[channels.STDOUT] == data
    assert exit_code(status) == 0


async def test_a_terminal_is_resized(served, name):
    target = exec_target(name, ["sh", "-c", "/bin/busybox stty size; read x; /bin/busybox stty size"], tty=True)
    client = await Channels.connect(served.port, target)
    await client.send(channels.RESIZE, b'{"Width":77,"Height":33}')
    await client.until(b"\n")
    await asyncio.sleep(0.2)
    await client.send(channels.STDIN, b"\n")
    status = await client.finish()
    assert client.received[channels.STDOUT].endswith(b"33 77\r\n")
    assert exit_code(status) == 0


async def test_a_client_that_goes_away_leaves_nothing(served, name):
    client = await Channels.connect(served.port, exec_target(name, ["cat"]))
    await client.send(channels.STDIN, b"x")
    await client.until(b"x")
    client.connection.abort()
    await served.no_streams()


async def test_a_slow_reader_gets_everything(served, name):
    size = 5_000_000
    target = exec_target(name, ["sh", "-c", f"/bin/busybox head -c {size} /dev/zero; exit 4"], stdin=False)
    client = await Channels.connect(served.port, target)
    await asyncio.sleep(0.5)
    status = await client.finish()
    assert len(client.received[channels.STDOUT]) == size
    assert exit_code(status) == 4


async def test_many_commands_at_once(served, name):
    async def one(number):
        client = await Channels.connect(served.port, exec_target(name, ["cat"]))
        await client.send(channels.STDIN, str(number).encode())
        await client.end_stdin()
        await client.finish()
        return client.received[channels.STDOUT]

    assert await asyncio.gather(*(one(n) for n in range(8))) == [str(n).encode() for n in range(8)]


async def test_a_command_that_does_not_exist(served, name):
    client = await Channels.connect(served.port, exec_target(name, ["/no/such"], stdin=False))
    status = await client.finish()
    assert status["status"] == "Failure"


# -- what is passed through


async def test_exec_over_spdy(served, name):
    client = await SpdyClient.connect(served.port, exec_target(name, ["cat"]), "v4.channel.k8s.io")
    error = await client.open(streamtype="error")
    stdin = await client.open(streamtype="stdin")
    stdout = await client.open(streamtype="stdout")
    await client.open(streamtype="stderr")
    await client.send(stdin, b"hello", fin=True)
    await client.until(lambda: {error, stdout} <= client.ended)
    assert client.received[stdout] == b"hello"
    assert orjson.loads(client.received[error])["status"] == "Success"
    await client.connection.close()


@pytest.mark.parametrize("protocol", [channels.V4, channels.V4_BASE64], ids=lambda p: p.name)
async def test_exec_over_older_channels(served, name, protocol):
    target = exec_target(name, ["sh", "-c", "echo hello; exit 3"], stdin=False)
    client = await Channels.connect(served.port, target, protocol)
    status = await client.finish()
    assert client.received[channels.STDOUT] == b"hello\n"
    assert exit_code(status) == 3


# -- attach


async def test_attach_to_the_main_process(served):
    name = served.node.run(pod("attached", shell("while read l; do echo got $l; done", stdin=True)))
    await served.node.ready(name)
    client = await Channels.connect(served.port, f"/attach/default/{name}/c0?input=1&output=1&error=1")
    await client.send(channels.STDIN, b"one\n")
    await client.until(b"got one\n")
    client.connection.abort()


# -- port-forward


async def echo_through(client, text):
    error = await client.open(streamtype="error", port="7777", requestid="0")
    data = await client.open(streamtype="data", port="7777", requestid="0")
    await client.send(error, b"", fin=True)
    await client.send(data, text)
    await client.until(lambda: client.received[data] == text)
    await client.send(data, b"", fin=True)
    await client.until(lambda: error in client.ended)
    assert client.received[error] == b""


async def test_port_forward_over_spdy(served, name):
    client = await SpdyClient.connect(served.port, f"/portForward/default/{name}", "portforward.k8s.io")
    await echo_through(client, b"ping")
    await client.connection.close()


async def test_port_forward_through_a_websocket_tunnel(served, name):
    client = SpdyClient(await TunnelConnection.connect(served.port, f"/portForward/default/{name}"))
    await echo_through(client, b"ping")
    await client.connection.close()


async def test_a_port_on_which_nobody_listens_is_told(served, name):
    client = SpdyClient(await TunnelConnection.connect(served.port, f"/portForward/default/{name}"))
    error = await client.open(streamtype="error", port="9", requestid="0")
    await client.open(streamtype="data", port="9", requestid="0")
    await client.until(lambda: error in client.ended or client.received[error])
    assert b"refused" in client.received[error]
    await client.connection.close()


# -- logs


async def test_logs_with_their_options(served):
    name = served.node.run(pod("talker", shell("for i in 1 2 3 4 5; do echo line $i; done; sleep 1000")))
    await served.node.ready(name)
    await served.node.log_with(name, "line 5")
    path = f"/containerLogs/default/{name}/c0"
    assert await served.get(path) == (200, b"line 1\nline 2\nline 3\nline 4\nline 5\n")
    assert await served.get(path + "?tailLines=2") == (200, b"line 4\nline 5\n")
    assert await served.get(path + "?limitBytes=6") == (200, b"line 1")
    assert (await served.get(path + "?sinceSeconds=3600"))[1].count(b"\n") == 5
    status, body = await served.get(path + "?timestamps=true&tailLines=1")
    assert body.endswith(b"Z line 5\n")
    status, body = await served.get(path + "?previous=true")
    assert (status, body) == (400, b'previous terminated container "c0" in pod "talker" not found')


async def test_logs_are_followed_until_the_container_ends(served):
    name = served.node.run(pod("brief", shell("echo one; read x; echo two", stdin=True), restartPolicy="Never"))
    await served.node.until(lambda: "running" in served.node.container(name)["state"])
    target = f"/containerLogs/default/{name}/c0?follow=true"
    following = spawn(served.get(target), name="follower")
    await served.node.log_with(name, "one")
    client = await Channels.connect(served.port, f"/attach/default/{name}/c0?input=1&output=1&error=1")
    await client.send(channels.STDIN, b"\n")
    await client.finish()
    assert await asyncio.wait_for(following, 60) == (200, b"one\ntwo\n")


async def test_what_cannot_be_reached_is_said(served, name):
    waiting = pod("pulling", {"image": "shirube.test/absent:1"})
    served.node.run(waiting)
    await served.node.until(lambda: served.node.container("pulling")["state"].get("waiting"))
    status, body = await served.get("/containerLogs/default/pulling/c0")
    assert status == 400
    assert b'container "c0" in pod "pulling" is waiting to start: ' in body
    assert await served.get("/containerLogs/default/absent/c0") == (404, b'pod "absent" does not exist')
    assert (await served.get(f"/containerLogs/default/{name}/x"))[1] == b'container "x" not found in pod "box"'
    with pytest.raises(ConnectionRefusedError, match='500 container not found \\("x"\\)'):
        await Channels.connect(served.port, exec_target(name, ["true"], container="x"))
    with pytest.raises(ConnectionRefusedError, match="404 pod does not exist"):
        await Channels.connect(served.port, exec_target("absent", ["true"]))
    status, body = await served.get(exec_target(name, ["true"]))
    assert (status, body) == (400, b"Upgrade request required")


# -- the official client


PODS = {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "create"]}
DISCOVERY = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.4"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [PODS]},
}


class ApiFront:
    """As much of an API server as kubectl needs to reach the node agent."""

    def __init__(self, served):
        self.served = served

    async def handle(self, request):
        parts = request.path.strip("/").split("/")
        if request.path in DISCOVERY:
            return Response(200, orjson.dumps(DISCOVERY[request.path]))
        if parts[:3] != ["api", "v1", "namespaces"] or len(parts) < 6:
            return Response(404, b'{"kind":"Status","apiVersion":"v1","status":"Failure","code":404}')
        found, rest = self.served.node.api.pod(parts[5]), parts[6:]
        if not rest:
            return Response(200, orjson.dumps(found))
        query = parse_qs(request.query)
        container = query.pop("container", ["c0"])[0]
        suffix = "" if rest[0] == "portforward" else f"/{container}"
        prefix = {"exec": "exec", "attach": "attach", "portforward": "portForward", "log": "containerLogs"}[rest[0]]
        request = Request(
            request.method,
            f"/{prefix}/default/{parts[5]}{suffix}",
            urlencode(query, doseq=True),
            request.headers,
            request.peer,
            request.body,
        )
        return await self.served.api.handle(request)


@contextlib.asynccontextmanager
async def kubectl_front(served, cache):
    server = Server(ApiFront(served).handle, write_timeout=3600)
    await server.start([socket.create_server(("127.0.0.1", 0))])
    try:
        yield [
            "kubectl",
            f"--server=http://127.0.0.1:{server.ports[0]}",
            "--kubeconfig=/dev/null",
            f"--cache-dir={cache}",
        ]
    finally:
        await server.drain(0.1)


async def run(command, stdin=b""):
    process = await asyncio.create_subprocess_exec(*command, stdin=-1, stdout=-1, stderr=-1)
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    return process.returncode, out, err


async def test_kubectl_execs_and_forwards(served, name, tmp_path):
    async with kubectl_front(served, tmp_path) as kubectl:
        assert await run([*kubectl, "exec", name, "--", "sh", "-c", "echo hi; exit 9"]) == (
            9,
            b"hi\n",
            b"command terminated with exit code 9\n",
        )
        data = os.urandom(1_000_000)
        code, out, err = await run([*kubectl, "exec", "-i", name, "--", "cat"], data)
        assert (code, out == data, err) == (0, True, b"")
        assert await run([*kubectl, "logs", name]) == (0, b"started\n", b"")
        forward = await asyncio.create_subprocess_exec(*kubectl, "port-forward", name, ":7777", stdout=-1, stderr=-1)
        line = await asyncio.wait_for(forward.stdout.readline(), 60)
        assert line.startswith(b"Forwarding from 127.0.0.1:"), await forward.stderr.read()
        port = int(line.split(b":")[1].split()[0])
        for text in (b"first\n", b"second\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(text)
            assert await asyncio.wait_for(reader.readline(), 60) == text
            writer.close()
            await writer.wait_closed()
        forward.terminate()
        await forward.communicate()
