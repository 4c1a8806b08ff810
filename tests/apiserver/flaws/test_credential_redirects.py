"""Redirects followed with the server's credentials (as in CVE-2018-1002102 and its kin for kubelets and webhooks).

Published flaw: a node agent, or an aggregated server, answers a request with a redirect, and the API server follows it
with its client certificate to a place of the other side's choice. Here no redirect of anybody is followed: the
client gets it, or an error.
"""

from __future__ import annotations

import contextlib
import socket

import pytest
from tests.apiserver.conftest import PODS

from shirube.apiserver.subresources import proxy_target
from shirube.cluster.certificates import ensure_node, ensure_pki
from shirube.serving import http_client, tls
from shirube.serving.http import Server
from shirube.serving.messages import Response

UPGRADE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
]


@contextlib.asynccontextmanager
async def served(handle, context=None):
    sock = socket.create_server(("127.0.0.1", 0))
    server = Server(handle, tls=context)
    await server.start([sock])
    try:
        yield sock.getsockname()[1]
    finally:
        await server.drain(0.1)


@pytest.fixture
async def lure(pods, tmp_path):
    """A node agent that sends everybody elsewhere; (port of the API server, who came there)."""
    pki = ensure_pki(tmp_path / "pki", cluster_name="t", api_names=[], api_addresses=[])
    serving = ensure_node(pki, "n1", ["127.0.0.1"]).serving
    context = tls.server_context(serving.cert, serving.key, pki.ca.cert, "required")
    options = pods.context.options
    options.kubelet_ca = pki.ca.cert
    options.kubelet_client_cert = pki.apiserver_kubelet_client.cert
    options.kubelet_client_key = pki.apiserver_kubelet_client.key
    victims = []

    async def elsewhere(request):
        victims.append(request)
        return Response(200, b"the loot")

    async with served(elsewhere, context) as trap:

        async def agent(request):
            await request.read(1 << 20)
            return Response(302, b"", [("Location", f"https://127.0.0.1:{trap}/trap")], "")

        async with served(agent, context) as port, served(pods.server.handle) as front:
            await pods.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
            status = {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            }
            await pods.patch("/api/v1/nodes/n1/status", {"status": status})
            spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}
            await pods.ok("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
            yield front, victims


@pytest.mark.parametrize("subresource", ["exec?command=id&stdout=true", "attach?stdout=true", "portforward?ports=80"])
async def test_streams(lure, subresource):
    front, victims = lure
    status, _, connection = await http_client.upgrade(
        "127.0.0.1", front, "GET", f"{PODS}/p/{subresource}", UPGRADE, None, timeout=60
    )
    connection.abort()
    assert status != 101
    assert victims == []


async def test_logs(lure, pods):
    answer = await pods.get(f"{PODS}/p/log")
    assert answer.status >= 300 and b"loot" not in answer.raw
    assert lure[1] == []


@pytest.mark.parametrize("path", ["metrics", "run/default/p/c?cmd=id"])
async def test_node_proxies(lure, pods, monkeypatch, path):
    monkeypatch.setattr(proxy_target, "check_address", lambda host: None)  # loopback stands for a node
    answer = await pods.get(f"/api/v1/nodes/n1/proxy/{path}")
    assert answer.status == 302 and b"loot" not in answer.raw
    assert lure[1] == []


async def test_admission_webhooks(lure, pods):
    # The redirecting agent as a webhook; its certificate is of no use to the lure, but it is asked.
    _, victims = lure
    port = (await pods.ok("GET", "/api/v1/nodes/n1"))["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    hook = {
        "name": "a.example.com",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/hook"},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    await pods.ok(
        "POST",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        {"metadata": {"name": "a"}, "webhooks": [hook]},
    )
    answer = await pods.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}})
    assert answer.status == 500
    assert victims == []
