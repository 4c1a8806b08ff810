"""Several servers on one store: Endpoints and EndpointSlice of `kubernetes` list those that are alive."""

from __future__ import annotations

import orjson
import pytest

from shirube.api import gvr as g
from shirube.apiserver.bootstrap import endpoints
from shirube.apiserver.bootstrap.endpoints import EXPIRED, Servers
from shirube.apiserver.main import Options, assemble
from shirube.foundation.chance import Chance
from shirube.foundation.clock import ManualClock
from shirube.storage import open_storage
from shirube.storage.types import Put


@pytest.fixture
async def store():
    opened = await open_storage("memory:", ManualClock())
    yield opened
    await opened.close()


async def server(store, address, clock):
    context = assemble(Options(advertise_host=address), store, clock, Chance(1))
    await endpoints.assert_endpoints(context)
    return context


async def listed(context):
    """The addresses in both kinds of object, which agree."""
    found = []
    for gvr, obj in (
        (g.ENDPOINTS, await context.storage.get("/registry/core/endpoints/default/kubernetes")),
        (g.ENDPOINTSLICES, await context.storage.get("/registry/discovery.k8s.io/endpointslices/default/kubernetes")),
    ):
        value = orjson.loads(obj.value)
        if gvr == g.ENDPOINTS:
            found.append([a["ip"] for a in value["subsets"][0]["addresses"]])
        else:
            found.append([a for e in value["endpoints"] for a in e["addresses"]])
    assert found[0] == found[1]
    return found[0]


async def test_servers_come_and_go(store):
    clock = ManualClock()
    one = await server(store, "10.0.0.9", clock)
    two = await server(store, "10.0.0.10", clock)
    assert await listed(one) == ["10.0.0.9", "10.0.0.10"]
    await Servers.of(two).leave()
    assert await listed(one) == ["10.0.0.9"]
    await Servers.of(one).leave()  # the last one: nobody is there to be sent to instead
    assert await listed(one) == ["10.0.0.9"]


async def test_who_no_longer_renews_is_gone(store):
    clock = ManualClock()
    one, _ = await server(store, "10.0.0.1", clock), await server(store, "10.0.0.2", clock)
    await endpoints.assert_endpoints(one)
    assert await listed(one) == ["10.0.0.1", "10.0.0.2"]
    clock.advance(EXPIRED - 1)
    await endpoints.assert_endpoints(one)
    assert await listed(one) == ["10.0.0.1", "10.0.0.2"]
    clock.advance(2)
    await endpoints.assert_endpoints(one)
    assert await listed(one) == ["10.0.0.1"]


async def test_a_server_whose_clock_is_wrong_stays(store):
    """Only changes count, not what a lease says of the time."""
    clock, late = ManualClock(), ManualClock(now=0.0)
    one, two = await server(store, "10.0.0.1", clock), await server(store, "10.0.0.2", late)
    for _ in range(5):
        clock.advance(EXPIRED - 5)
        await store.commit([], [Put(f"{endpoints.LEASES}10.0.0.2", b"{}")])
        await endpoints.assert_endpoints(one)
    assert await listed(two) == ["10.0.0.1", "10.0.0.2"]


async def test_the_server_has_an_identity(api):
    leases = await api.ok("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")
    (lease,) = (o for o in leases["items"] if o["metadata"]["name"].startswith("apiserver-"))
    assert lease["metadata"]["labels"]["apiserver.kubernetes.io/identity"] == "kube-apiserver"
    before = lease["spec"]
    await endpoints.renew_identity(api.context)
    name = lease["metadata"]["name"]
    after = await api.ok("GET", f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}")
    assert after["spec"]["renewTime"] >= before["renewTime"]
    assert after["spec"]["holderIdentity"] == before["holderIdentity"]
