"""Proxying to loopback or link-local (as in CVE-2020-8562 and CVE-2020-8561): the server's own machine, or a cloud's
metadata service, reached through the server.

Pods, nodes and endpoints say themselves where they are. Addresses of this machine and link are refused whoever says
them, in every form, behind names too, and the server never shows its client certificate to itself.
"""

from __future__ import annotations

import orjson
import pytest
from tests.apiserver.conftest import PODS

from shirube.api.gvr import ENDPOINTSLICES
from shirube.storage.types import Compare, Put

NS = "/api/v1/namespaces/default"
OWN = [
    "127.0.0.1",
    "127.8.9.10",
    "169.254.169.254",
    "0.0.0.0",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "fe80::1",
    "::",
    "224.0.0.1",
    "ff02::1",
]


async def refused(api, target):
    answer = await api.get(target)
    return (answer.status, answer.message) == (400, "address not allowed")


async def test_pods(pods):
    await pods.ok("POST", PODS, {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    for address in OWN:
        # as a node agent could have written it: not all of these pass validation
        await pods.context.store.guaranteed_update(*_pod_status(address), subresource="status")
        assert await refused(pods, f"{PODS}/x:80/proxy/"), address
        assert await refused(pods, f"{PODS}/https:x:443/proxy/"), address


def _pod_status(address):
    from shirube.api.gvr import PODS as resource

    def change(pod):
        pod["status"]["podIP"] = address
        pod["status"]["podIPs"] = [{"ip": address}]
        return pod

    return resource, "default", "x", change


@pytest.mark.parametrize("address", OWN)
async def test_services(pods, address):
    ports = [{"name": "http", "port": 80}]
    await pods.ok("POST", f"{NS}/services", {"metadata": {"name": "s"}, "spec": {"ports": ports}})
    piece = {
        "metadata": {"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }
    # validation refuses them already
    made = await pods.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", piece)
    assert made.status == 422
    # were one there all the same, nobody would be led there
    resource, context = pods.context.table.by_gvr(ENDPOINTSLICES), pods.context
    key = resource.key("default", "s-1")
    stored = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **piece}
    revision = await context.storage.commit([Compare(key, 0)], [Put(key, orjson.dumps(stored))])
    await context.caches.seen(resource, revision)
    assert await refused(pods, f"{NS}/services/s:http/proxy/")


async def node_at(api, address, kind="InternalIP", port=10250):
    status = {
        "addresses": [{"type": kind, "address": address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    answer = await api.patch("/api/v1/nodes/n/status", {"status": status})
    assert answer.status == 200, answer.raw


async def test_nodes_and_their_agents(pods):
    await pods.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    for address in OWN:
        await node_at(pods, address)
        for target in ("n", "n:10250", "https:n:10250", "n:80"):
            assert await refused(pods, f"/api/v1/nodes/{target}/proxy/metrics"), (address, target)


@pytest.mark.parametrize("name", ["localhost", "ip6-localhost.localhost"])
async def test_names_of_this_machine(pods, name):
    await pods.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    await node_at(pods, name, "Hostname")
    answer = await pods.get("/api/v1/nodes/n/proxy/metrics")
    assert answer.status in (400, 503)
    assert answer.message == "address not allowed" or "cannot resolve" in answer.message


async def test_the_server_does_not_show_its_certificate_to_itself(pods):
    options = pods.context.options
    options.advertise_host, options.advertise_port = "192.0.2.1", 6443
    await pods.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    await node_at(pods, "192.0.2.1", port=6443)
    assert await refused(pods, "/api/v1/nodes/n/proxy/api/v1/secrets")
