"""Streams through the API server: a client on a real socket, a node agent behind real mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field

import orjson
import pytest

from shirube.api.gvr import ENDPOINTSLICES
from shirube.apiserver.subresources import websocket_frames
from shirube.apiserver.user import User
from shirube.cluster.certificates import ensure_node, ensure_pki
from shirube.serving import http_client, tls
from shirube.serving.http import Server
from shirube.serving.messages import Request, Response, Upgrade
from shirube.storage.types import Compare, Put

NS = "/api/v1/namespaces/default"
PODS = f"{NS}/pods"
WEBSOCKET = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"),
    ("Authorization", "Bearer secret"),
]
SPDY = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4.channel.k8s.io")]


def listening():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


@dataclass
class Behind:
    """A server behind the API server: remembers what it was asked, answers as the test says."""

    requests: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answer: object = None
    port: int = 0

    async def handle(self, request):
        self.requests.append(request)
        if (request.headers.get("upgrade") or "") and self.answer is None:
            return Upgrade(
                [("Upgrade", request.headers.get("upgrade")), ("Connection", "Upgrade"), ("X-Mark", "1")], echo
            )
        self.bodies.append(await request.read(4 << 20))
        if callable(self.answer):
            return self.answer()
        return self.answer or Response(200, b"hello", [("X-Mark", "1")], "text/plain")


async def echo(connection):
    while data := await connection.read():
        await connection.write(data.upper())
    await connection.close()


@contextlib.asynccontextmanager
async def served(handle, context=None):
    sock = listening()
    server = Server(handle, tls=context)
    await server.start([sock])
    try:
        yield sock.getsockname()[1]
    finally:
        await server.drain(0.1)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return ensure_pki(tmp_path_factory.mktemp("pki"), cluster_name="t", api_names=[], api_addresses=[])


@pytest.fixture
async def agent(pods, pki):
    """The agent of node n1, on which pod `p` (one container) and `two` (two containers) are."""
    behind = Behind()
    serving = ensure_node(pki, "n1", ["127.0.0.1"]).serving
    context = tls.server_context(serving.cert, serving.key, pki.ca.cert, "required")
    options = pods.context.options
    options.kubelet_ca = pki.ca.cert
    options.kubelet_client_cert = pki.apiserver_kubelet_client.cert
    options.kubelet_client_key = pki.apiserver_kubelet_client.key
    async with served(behind.handle, context) as port:
        behind.port = port
        await pods.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
        status = {
            "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        await pods.ok(
            "PATCH", "/api/v1/nodes/n1/status", {"status": status}, content_type="application/merge-patch+json"
        )
        for name, containers in (("p", ["c"]), ("two", ["a", "b"])):
            spec = {"nodeName": "n1", "containers": [{"name": n, "image": "i"} for n in containers]}
            await pods.ok("POST", PODS, {"metadata": {"name": name}, "spec": spec})
        yield behind


@pytest.fixture
async def front(pods):
    """The API server on a socket; its port."""
    async with served(pods.server.handle) as port:
        yield port


async def ask(port, target, headers, method="GET"):
    return await http_client.upgrade("127.0.0.1", port, method, target, headers, None, timeout=60)


async def talk(connection, data):
    async with asyncio.timeout(60):
        await connection.write(data)
        heard = b""
        while len(heard) < len(data):
            heard += await connection.read()
    return heard


# -- exec, attach, port-forward -----------------------------------------------------------------------------


@pytest.mark.parametrize(("headers", "method"), [(WEBSOCKET, "GET"), (SPDY, "POST")])
async def test_exec_passes_bytes_through(agent, front, headers, method):
    target = f"{PODS}/p/exec?command=sh&command=-c&command=echo%20hi&stdin=true&stdout=true&tty=true"
    status, answered, connection = await ask(front, target, headers, method)
    assert status == 101
    assert answered.get("x-mark") == "1"
    assert answered.get("upgrade") == dict(headers)["Upgrade"]
    big = bytes(range(97, 123)) * 20000
    assert await talk(connection, big) == big.upper()
    await connection.close()
    (request,) = agent.requests
    assert request.method == method
    assert request.path == "/exec/default/p/c"
    assert request.query == "input=1&output=1&tty=1&command=sh&command=-c&command=echo+hi"
    assert request.headers.get("authorization") is None
    assert "base64url.bearer" not in (request.headers.get("sec-websocket-protocol") or "")


async def test_attach_and_port_forward(agent, front):
    for target, path, query in (
        (f"{PODS}/two/attach?container=b&stdout=true", "/attach/default/two/b", "output=1"),
        (f"{PODS}/p/portforward?ports=80&ports=81", "/portForward/default/p", "port=80&port=81"),
    ):
        status, _, connection = await ask(front, target, SPDY, "POST")
        assert status == 101
        assert await talk(connection, b"abc") == b"ABC"
        await connection.close()
        assert (agent.requests[-1].path, agent.requests[-1].query) == (path, query)


async def test_the_agents_refusal_reaches_the_client(agent, front):
    agent.answer = Response(404, b'container not found ("c")', [], "text/plain")
    status, _, connection = await ask(front, f"{PODS}/p/exec?command=ls", SPDY, "POST")
    assert status == 404
    assert b'container not found ("c")' in await connection.read()
    await connection.close()


async def test_exec_needs(agent, pods):
    headers = {"connection": "Upgrade", "upgrade": "websocket"}
    table = [
        (f"{PODS}/two/exec?command=x", "a container name must be specified for pod two, choose one of: [a b]"),
        (f"{PODS}/p/exec?command=x&container=z", "container z is not valid for pod p"),
        (f"{PODS}/p/exec", "you must specify at least 1 command for the container"),
    ]
    for target, message in table:
        answer = await pods.post(target, **headers)
        assert (answer.status, answer.message) == (400, message)
    answer = await pods.post(f"{PODS}/p/exec?command=x")
    assert (answer.status, answer.message) == (400, "Upgrade request required")
    await pods.ok("POST", PODS, {"metadata": {"name": "w"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    answer = await pods.post(f"{PODS}/w/exec?command=x", **headers)
    assert answer.message == "pod w does not have a host assigned"


async def test_reading_is_not_executing(agent, pods):
    """A WebSocket is opened with GET; the right to get must not be enough."""
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rule = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}
    await pods.ok("POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]
    await pods.ok("POST", f"{rbac}/rolebindings", {"metadata": {"name": "r"}, "roleRef": ref, "subjects": subjects})
    pods.context.authenticator.user = User("jane")
    answer = await pods.get(f"{PODS}/p/exec?command=x", connection="Upgrade", upgrade="websocket")
    assert (answer.status, 'cannot create resource "pods/exec"' in answer.message) == (403, True)


async def test_agent_that_is_gone(agent, pods):
    status = {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}
    await pods.ok("PATCH", "/api/v1/nodes/n1/status", {"status": status}, content_type="application/merge-patch+json")
    answer = await pods.post(f"{PODS}/p/exec?command=x", connection="Upgrade", upgrade="SPDY/3.1")
    assert answer.status == 503
    assert answer.message.startswith("error trying to reach service: dial tcp 127.0.0.1:1:")
    answer = await pods.get(f"{PODS}/p/log")
    assert answer.status == 500
    assert "containerLogs/default/p/c" in answer.message


# -- logs ---------------------------------------------------------------------------------------------------


async def test_logs(agent, pods):
    agent.answer = Response(200, b"line 1\nline 2\n", [], "text/plain")
    answer = await pods.get(f"{PODS}/p/log?tailLines=2&timestamps=true&sinceSeconds=5&previous=true")
    assert (answer.status, answer.raw, answer.content_type) == (200, b"line 1\nline 2\n", "text/plain")
    assert agent.requests[0].path == "/containerLogs/default/p/c"
    assert sorted(agent.requests[0].query.split("&")) == [
        "previous=true",
        "sinceSeconds=5",
        "tailLines=2",
        "timestamps=true",
    ]


async def test_followed_log_comes_line_by_line(agent, pods):
    more = asyncio.Event()

    async def lines():
        yield b"one\n"
        await more.wait()
        yield b"two\n"

    agent.answer = lambda: Response(200, lines(), [], "text/plain")
    response = await pods.send("GET", f"{PODS}/p/log?follow=true")
    async with asyncio.timeout(60):
        assert await anext(response.body) == b""  # the head goes out before there is anything
        assert await anext(response.body) == b"one\n"
        more.set()
        assert await anext(response.body) == b"two\n"
    await response.body.aclose()


async def test_client_that_leaves_ends_the_agents_work(agent, pods):
    ended = asyncio.Event()

    async def endless():
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    agent.answer = lambda: Response(200, endless(), [], "text/plain")
    response = await pods.send("GET", f"{PODS}/p/log?follow=true")
    async with asyncio.timeout(60):
        for _ in range(3):
            await anext(response.body)
        await response.body.aclose()
        await ended.wait()


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("sinceSeconds=0", 422, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ("limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        ("container=z", 400, "container z is not valid for pod p"),
        ("sinceTime=yesterday", 400, "is not an RFC 3339 time"),
    ],
)
async def test_bad_log_options(agent, pods, query, status, message):
    answer = await pods.get(f"{PODS}/p/log?{query}")
    assert (answer.status, message in answer.message) == (status, True), answer.raw


async def test_the_agents_error_becomes_a_status(agent, pods):
    agent.answer = Response(400, b'previous terminated container "c" in pod "p" not found', [], "text/plain")
    answer = await pods.get(f"{PODS}/p/log?previous=true")
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
    assert answer.message == 'previous terminated container "c" in pod "p" not found'


async def test_logs_of_a_pod_without_a_node_are_empty(pods):
    await pods.ok("POST", PODS, {"metadata": {"name": "w"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert (await pods.get(f"{PODS}/w/log")).raw == b""


@pytest.mark.parametrize("protocol", ["binary.k8s.io", "base64.binary.k8s.io"])
async def test_logs_over_websocket(agent, front, protocol):
    agent.answer = Response(200, b"a line\n", [], "text/plain")
    headers = [(n, protocol if n == "Sec-WebSocket-Protocol" else v) for n, v in WEBSOCKET]
    status, answered, connection = await ask(front, f"{PODS}/p/log", headers)
    assert status == 101
    assert answered.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answered.get("sec-websocket-protocol") == protocol
    heard = b""
    async with asyncio.timeout(60):
        while data := await connection.read():
            heard += data
    await connection.close()
    assert heard == websocket_frames.message(b"a line\n", protocol) + websocket_frames.close()


# -- proxies ------------------------------------------------------------------------------------------------


async def store(api, gvr, obj):
    resource, context = api.context.table.by_gvr(gvr), api.context
    key = resource.key(obj["metadata"]["namespace"], obj["metadata"]["name"])
    revision = await context.storage.commit([Compare(key, 0)], [Put(key, orjson.dumps(obj))])
    await context.caches.seen(resource, revision)


@pytest.fixture
async def backend(pods, monkeypatch):
    """A plain web server as pod `web` and service `web`. (Loopback is refused; here it stands for a pod.)"""
    from shirube.apiserver.subresources import proxy_target

    monkeypatch.setattr(proxy_target, "check_address", lambda host: None)
    behind = Behind()
    async with served(behind.handle) as port:
        behind.port = port
        spec = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": port}]}]}
        await pods.ok("POST", PODS, {"metadata": {"name": "web"}, "spec": spec})
        status = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
        await pods.ok("PATCH", f"{PODS}/web/status", status, content_type="application/merge-patch+json")
        ports = [{"name": "http", "port": 80}]
        await pods.ok("POST", f"{NS}/services", {"metadata": {"name": "web"}, "spec": {"ports": ports}})
        piece = {
            "metadata": {
                "name": "web-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["127.0.0.1"], "conditions": {"ready": True}},
                {"addresses": ["127.0.0.9"], "conditions": {"ready": False}},
            ],
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        }
        # Straight into the store: validation rightly refuses loopback addresses.
        await store(pods, ENDPOINTSLICES, piece)
        yield behind


@pytest.mark.parametrize(
    "base",
    [f"{PODS}/web", f"{PODS}/http:web:", f"{NS}/services/web", f"{NS}/services/web:http", f"{NS}/services/http:web:80"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_proxy_passes_any_request(backend, pods, base, method):
    body = {"x": 1} if method in ("POST", "PUT", "PATCH") else None
    answer = await pods.call(method, f"{base}/proxy/a%20b/c?d=e&f", body, cookie="k=v", authorization="Bearer t")
    assert (answer.status, answer.raw, answer.header("x-mark")) == (200, b"hello", ["1"])
    request = backend.requests[-1]
    assert (request.method, request.path, request.query) == (method, "/a%20b/c", "d=e&f")
    assert request.headers.get("cookie") == "k=v"
    assert request.headers.get("authorization") is None
    assert backend.bodies[-1] == (b'{"x":1}' if body else b"")


async def test_proxy_redirects_to_the_directory(backend, pods):
    answer = await pods.get(f"{NS}/services/web/proxy?x=y")
    assert answer.status == 301
    assert answer.header("location") == [f"{NS}/services/web/proxy/?x=y"]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/next", f"{PODS}/web/proxy/next"),
        ("http://127.0.0.1:{port}/next?a=b", f"{PODS}/web/proxy/next?a=b"),
        ("https://example.com/next", "https://example.com/next"),
        ("relative", "relative"),
    ],
)
async def test_locations_lead_through_the_proxy(backend, pods, location, expected):
    backend.answer = Response(302, b"", [("Location", location.format(port=backend.port))], "")
    answer = await pods.get(f"{PODS}/web/proxy/here")
    assert (answer.status, answer.header("location")) == (302, [expected])


async def test_proxied_upgrade(backend, front):
    status, _, connection = await ask(front, f"{NS}/services/web:http/proxy/socket", WEBSOCKET)
    assert status == 101
    assert await talk(connection, b"abc") == b"ABC"
    await connection.close()
    assert backend.requests[0].path == "/socket"
    assert "base64url.bearer" not in (backend.requests[0].headers.get("sec-websocket-protocol") or "")


async def test_nobody_behind_the_service(pods):
    await pods.ok("POST", f"{NS}/services", {"metadata": {"name": "empty"}, "spec": {"ports": [{"port": 80}]}})
    answer = await pods.get(f"{NS}/services/empty/proxy/")
    assert (answer.status, answer.message) == (503, 'no endpoints available for service "empty"')
    assert (await pods.get(f"{NS}/services/none/proxy/")).status == 404
    answer = await pods.get(f"{NS}/services/empty:nope/proxy/")
    assert (answer.status, 'no service port "nope" found' in answer.message) == (503, True)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1"])
async def test_the_servers_own_machine_is_out_of_reach(pods, address):
    await pods.ok("POST", PODS, {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    status = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
    await pods.ok("PATCH", f"{PODS}/x/status", status, content_type="application/merge-patch+json")
    answer = await pods.get(f"{PODS}/x:80/proxy/")
    assert (answer.status, answer.message) == (400, "address not allowed")


async def test_node_proxy_reaches_the_agent(agent, pods, monkeypatch):
    from shirube.apiserver.subresources import proxy_target

    monkeypatch.setattr(proxy_target, "check_address", lambda host: None)  # loopback stands for a node
    for name in ("n1", f"n1:{agent.port}", f"https:n1:{agent.port}"):
        answer = await pods.get(f"/api/v1/nodes/{name}/proxy/metrics")
        assert (answer.status, answer.raw) == (200, b"hello")
        assert agent.requests[-1].path == "/metrics"


async def test_large_bodies_stream_both_ways(backend, pods):
    size = 8 << 20

    async def big():
        for _ in range(size // 65536):
            yield b"y" * 65536

    backend.answer = lambda: Response(200, big(), [], "application/octet-stream")
    answer = await pods.get(f"{PODS}/web/proxy/big")
    assert len(answer.raw) == size

    data = b"z" * (2 << 20)
    backend.answer = None
    await pods.call("POST", f"{PODS}/web/proxy/big", raw=data, content_type="application/octet-stream",
                    content_length=str(len(data)))  # fmt: skip
    assert backend.bodies[-1] == data
