"""Endpoints: who is in them, how they are packed and cut, and when they are written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items
from tests.controllers.test_endpoint_slice import pod, service
from tests.waiting import until

from shirube.api.endpoint_subsets import repacked
from shirube.api.gvr import ENDPOINTS, PODS, SERVICES
from shirube.client.rest import Client
from shirube.controllers import service_backends as behind
from shirube.controllers.endpoints import EndpointsController, subsets_of, truncated
from shirube.controllers.pod_selection import index_labels

HEADLESS = "service.kubernetes.io/headless"
OVER = "endpoints.kubernetes.io/over-capacity"
Json = dict[str, Any]


def ips(subset: Json, field: str = "addresses") -> list[str]:
    return [a["ip"] for a in subset.get(field, ())]


def two_ports(*, second: bool = True, n: int = 1, **more: Any) -> Json:
    one = pod(n, **more)
    ports = [{"name": "web", "containerPort": 8080}] + [{"name": "tls", "containerPort": 8443}] * second
    one["spec"]["containers"] = [{"ports": ports}]
    return one


BOTH = [{"name": "http", "port": 80, "targetPort": "web"}, {"name": "https", "port": 443, "targetPort": "tls"}]


def test_ports_are_together_that_the_same_pods_offer():
    """Not pods that offer the same ports: who lacks one has the other all the same, in one list with everybody."""
    found = subsets_of(service(ports=BOTH), [two_ports(n=1), two_ports(n=2, second=False)])
    assert [(ips(s), [p["port"] for p in s["ports"]]) for s in found] == [
        (["10.0.0.2", "10.0.0.3"], [8080]),
        (["10.0.0.2"], [8443]),
    ]
    (one,) = subsets_of(service(ports=BOTH), [two_ports(n=1), two_ports(n=2)])
    assert (ips(one), [p["name"] for p in one["ports"]]) == (["10.0.0.2", "10.0.0.3"], ["http", "https"])


def test_ready_and_unready_share_a_subset():
    (one,) = subsets_of(service(), [pod(1), pod(2, ready=False)])
    assert (ips(one), ips(one, "notReadyAddresses")) == (["10.0.0.2"], ["10.0.0.3"])


def test_pods_on_one_node_s_network_are_each_there():
    first, second = pod(1), pod(2)
    second["status"]["podIP"] = first["status"]["podIP"]
    (one,) = subsets_of(service(), [first, second])
    assert [(a["ip"], a["targetRef"]["name"]) for a in one["addresses"]] == [("10.0.0.2", "p1"), ("10.0.0.2", "p2")]
    second["spec"]["containers"][0]["ports"][0]["containerPort"] = 9090
    assert len(subsets_of(service(), [first, second])) == 2


def test_one_port_under_two_protocols_and_two_names():
    ports = [{"name": "d", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
    (one,) = subsets_of(service(ports=ports), [pod(1)])
    assert [(p["name"], p["protocol"]) for p in one["ports"]] == [("d", "TCP"), ("u", "UDP")]
    twice = [{"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 81, "targetPort": 8080}]
    (one,) = subsets_of(service(ports=twice), [pod(1)])
    assert [p["name"] for p in one["ports"]] == ["a", "b"]


def test_app_protocols_are_carried_on():
    (one,) = subsets_of(service(ports=[{"port": 80, "appProtocol": "kubernetes.io/h2c"}]), [pod(1)])
    assert one["ports"] == [{"port": 80, "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"}]


def test_headless_services_may_have_no_ports():
    assert subsets_of(service(clusterIP="None", ports=[]), [pod(1)]) == [
        {"addresses": [{"ip": "10.0.0.2", "nodeName": "n1", "targetRef": behind.target_reference(pod(1))}]}
    ]
    assert subsets_of(service(ports=[]), [pod(1)]) == [], "others have nothing to offer then"


def test_ports_that_no_pod_has_are_left_out():
    assert subsets_of(service(ports=[{"port": 80, "targetPort": "nobody"}]), [pod(1)]) == []


def test_the_first_family_counts():
    both = pod(1)
    both["status"]["podIPs"] = [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]
    assert [ips(s) for s in subsets_of(service(ipFamilies=["IPv6", "IPv4"]), [both])] == [["fd00::2"]]
    assert [ips(s) for s in subsets_of(service(ipFamilies=["IPv4", "IPv6"]), [both])] == [["10.0.0.2"]]
    assert subsets_of(service(ipFamilies=["IPv6"]), [pod(2)]) == [], "a pod without an address of it is left out"


def test_pods_without_an_address_are_not_there():
    waiting = pod(1)
    del waiting["status"]["podIP"]
    assert subsets_of(service(), [waiting]) == []


@pytest.mark.parametrize(
    ("ready", "unready", "expected_ready", "expected_unready"),
    [
        ([50, 100, 100, 100, 100], [50, 100, 100, 100, 100], [50, 100, 100, 100, 100], [50, 100, 100, 100, 100]),
        ([90, 110, 50, 10, 20], [101, 200, 200, 201, 298], [90, 110, 50, 10, 20], [73, 144, 144, 145, 214]),
        ([205, 400, 402, 400, 693], [100, 200, 200, 200, 300], [98, 191, 192, 191, 328], [0, 0, 0, 0, 0]),
    ],
)
def test_each_subset_has_its_share_of_a_thousand(ready, unready, expected_ready, expected_unready):
    subsets = [
        {"addresses": [{"ip": "x"}] * r, "notReadyAddresses": [{"ip": "x"}] * u, "ports": []}
        for r, u in zip(ready, unready, strict=True)
    ]
    cut, over = truncated(subsets)
    assert over is (sum(ready) + sum(unready) > 1000)
    assert [len(s.get("addresses", ())) for s in cut] == expected_ready
    assert [len(s.get("notReadyAddresses", ())) for s in cut] == expected_unready


subset = st.fixed_dictionaries(
    {
        "addresses": st.lists(st.integers(1, 9), max_size=4),
        "notReadyAddresses": st.lists(st.integers(1, 9), max_size=4),
        "ports": st.lists(st.integers(80, 83), max_size=3),
    }
)


@given(st.lists(subset, max_size=5))
def test_packing_keeps_what_is_said_and_packs_no_further(drawn: list[Json]):
    subsets = []
    for one in drawn:
        made: Json = {f: [{"ip": f"10.0.0.{n}"} for n in one[f]] for f in ("addresses", "notReadyAddresses")}
        made["ports"] = [{"port": n, "protocol": "TCP"} for n in one["ports"]]
        subsets.append(made)

    def said(found: list[Json]) -> tuple[set[Any], set[Any]]:
        ready, unready = set(), set()
        for s in found:
            for port in s.get("ports") or [{}]:
                ready |= {(a["ip"], port.get("port")) for a in s.get("addresses") or ()}
                unready |= {(a["ip"], port.get("port")) for a in s.get("notReadyAddresses") or ()}
        return ready - unready, unready

    packed = repacked(subsets)
    assert said(packed) == said(subsets)
    assert repacked(packed) == packed == repacked(list(reversed(subsets)))
    offered = [tuple(sorted([*ips(s), "-", *ips(s, "notReadyAddresses")])) for s in packed]
    assert len(packed) <= 5 and len({str(s.get("ports")) for s in packed}) == len(packed) == len(offered)


async def one_of(client: Client) -> Json | None:
    found = await items(client, ENDPOINTS)
    return found[0] if found else None


async def test_a_service_without_a_selector_keeps_what_people_wrote(house: House, client: Client, api: MemoryApi):
    plain = service()
    del plain["spec"]["selector"]
    mine = {"metadata": {"name": "web", "namespace": "default"}, "subsets": [{"addresses": [{"ip": "6.7.8.9"}]}]}
    await client.create(ENDPOINTS, mine)
    await client.create(SERVICES, plain)
    await client.create(PODS, pod(1))
    async with house.running(EndpointsController) as controllers:
        await house.settle(controllers)
        (kept,) = await items(client, ENDPOINTS)
        assert ips(kept["subsets"][0]) == ["6.7.8.9"]
        await client.patch(SERVICES, "web", {"spec": {"selector": {"app": "web"}}}, "default")
        await until(lambda: _shows(client, ["10.0.0.2"]))
        await client.patch(SERVICES, "web", {"spec": {"selector": None}}, "default")
        await client.delete(PODS, "p1", "default", grace_period_seconds=0)
        await house.settle(controllers)
        assert await _shows(client, ["10.0.0.2"]), "without a selector they are people's again"


async def _shows(client: Client, addresses: list[str], field: str = "addresses") -> bool:
    found = await one_of(client)
    return found is not None and [ip for s in found.get("subsets") or () for ip in ips(s, field)] == addresses


async def test_an_external_name_has_none_until_it_is_a_service(house: House, client: Client):
    await client.create(PODS, pod(1))
    await client.create(SERVICES, service(type="ExternalName", externalName="example.com", clusterIP=""))
    async with house.running(EndpointsController) as controllers:
        await house.settle(controllers)
        assert await items(client, ENDPOINTS) == []
        change = {"spec": {"type": "ClusterIP", "externalName": None, "clusterIP": "10.96.0.5"}}
        await client.patch(SERVICES, "web", change, "default")
        made = await until(lambda: one_of(client))
        assert HEADLESS not in made["metadata"]["labels"]


async def test_labels_follow_the_service_and_say_whether_it_is_headless(house: House, client: Client):
    await client.create(SERVICES, service(clusterIP="None"))
    async with house.running(EndpointsController):
        made = await until(lambda: one_of(client))
        assert made["metadata"]["labels"].items() >= {"team": "a", HEADLESS: ""}.items()
        change = {"metadata": {"labels": {"team": "b", HEADLESS: "mine"}}, "spec": {"clusterIP": "10.96.0.5"}}
        await client.patch(SERVICES, "web", change, "default")

        async def renamed() -> bool:
            labels = (await items(client, ENDPOINTS))[0]["metadata"]["labels"]
            return labels.get("team") == "b" and HEADLESS not in labels

        await until(renamed)


async def test_they_come_back_when_somebody_deletes_them(house: House, client: Client):
    await client.create(PODS, pod(1))
    await client.create(SERVICES, service())
    async with house.running(EndpointsController):
        first = await until(lambda: one_of(client))
        await client.delete(ENDPOINTS, "web", "default")

        async def back() -> bool:
            found = await one_of(client)
            return found is not None and found["metadata"]["uid"] != first["metadata"]["uid"]

        await until(back)


async def test_a_service_that_is_going_away_is_served_until_the_end(house: House, client: Client):
    held = service()
    held["metadata"]["finalizers"] = ["service.kubernetes.io/load-balancer-cleanup"]
    await client.create(SERVICES, held)
    await client.create(PODS, pod(1))
    async with house.running(EndpointsController):
        await until(lambda: _shows(client, ["10.0.0.2"]))
        await client.delete(SERVICES, "web", "default")
        await client.create(PODS, pod(2))
        await until(lambda: _shows(client, ["10.0.0.2", "10.0.0.3"]))
        await client.patch(SERVICES, "web", {"metadata": {"finalizers": None}}, "default")

        async def gone() -> bool:
            return await items(client, ENDPOINTS) == []

        await until(gone)


async def test_a_change_that_does_not_concern_them_writes_nothing(house: House, client: Client, api: MemoryApi):
    await client.create(PODS, pod(1))
    await client.create(SERVICES, service())
    async with house.running(EndpointsController) as controllers:
        made = await until(lambda: one_of(client))
        await client.patch(SERVICES, "web", {"metadata": {"annotations": {"a": "b"}}}, "default")
        await client.patch(PODS, "p1", {"metadata": {"annotations": {"a": "b"}}}, "default")
        await house.settle(controllers)
        assert (await items(client, ENDPOINTS)) == [made]


@pytest.mark.parametrize("phase", ["Running", "Pending", "Unknown", "Failed", "Succeeded"])
@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("ready", [False, True])
async def test_what_state_of_a_pod_counts(house: House, phase: str, published: bool, deleted: bool, ready: bool):
    one = pod(1, ready=ready, **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {}))
    one["status"]["phase"] = phase
    informer = house.context().informer(PODS)
    index_labels(informer)
    informer.store.put("default/p1", one)
    subsets = subsets_of(service(publishNotReadyAddresses=published), behind.backends(service(), informer))
    counted = [len(s.get(f, ())) for s in subsets for f in ("addresses", "notReadyAddresses")] or [0, 0]
    if phase in ("Failed", "Succeeded"):
        assert counted == [0, 0]
    elif published:
        assert counted == [1, 0]
    else:
        assert counted == ([0, 0] if deleted else [1, 0] if ready else [0, 1])


async def test_a_change_back_is_not_lost_in_an_old_picture(house: House, client: Client):
    """Ready, not ready, ready: by the time of the third the cache still shows the first."""
    context = house.context()
    controller = EndpointsController(context)
    stores = {g: context.informer(g).store for g in (SERVICES, PODS, ENDPOINTS)}

    async def readiness(value: bool) -> float | None:
        stores[PODS].put("default/p1", pod(1, ready=value))
        return await controller.reconcile("default/web")

    stores[SERVICES].put("default/web", service())
    await readiness(True)
    first = await client.get(ENDPOINTS, "web", "default")
    stores[ENDPOINTS].put("default/web", first)
    await readiness(False)
    assert ips((await client.get(ENDPOINTS, "web", "default"))["subsets"][0], "notReadyAddresses")
    assert await readiness(True) is not None, "it waits for its own write"
    stores[ENDPOINTS].put("default/web", await client.get(ENDPOINTS, "web", "default"))
    await readiness(True)
    assert ips((await client.get(ENDPOINTS, "web", "default"))["subsets"][0]) == ["10.0.0.2"]
    await context.close()


async def test_a_pod_that_ends_leaves_and_one_that_is_relabelled_moves(house: House, client: Client):
    await client.create(SERVICES, service())
    await client.create(PODS, pod(1))
    await client.create(PODS, pod(2))
    async with house.running(EndpointsController):
        await until(lambda: _shows(client, ["10.0.0.2", "10.0.0.3"]))
        await client.patch(PODS, "p1", {"metadata": {"labels": {"app": "other"}}}, "default")
        await until(lambda: _shows(client, ["10.0.0.3"]))
        await client.patch(PODS, "p2", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
        await until(lambda: _shows(client, []))


@pytest.mark.parametrize("published", [False, True])
async def test_terminating_pods_stay_only_where_all_are_published(house: House, client: Client, published: bool):
    await client.create(SERVICES, service(publishNotReadyAddresses=published))
    await client.create(PODS, {**pod(1), "metadata": {**pod(1)["metadata"], "finalizers": ["example.com/hold"]}})
    await client.create(PODS, pod(2, ready=False))
    async with house.running(EndpointsController) as controllers:
        await until(lambda: _shows(client, ["10.0.0.2", "10.0.0.3"] if published else ["10.0.0.2"]))
        await client.delete(PODS, "p1", "default")
        await house.settle(controllers)
        await until(lambda: _shows(client, ["10.0.0.2", "10.0.0.3"] if published else []))
        if not published:
            assert await _shows(client, ["10.0.0.3"], "notReadyAddresses")


async def test_the_note_of_too_many_comes_goes_and_is_put_right(house: House, client: Client):
    await client.create(SERVICES, service())
    for n in range(1001):
        await client.create(PODS, pod(n, ready=n != 0))
    async with house.running(EndpointsController):

        async def said(value: str | None, ready: int) -> bool:
            found = await one_of(client)
            if found is None:
                return False
            count = sum(len(ips(s)) for s in found.get("subsets") or ())
            return (found["metadata"].get("annotations") or {}).get(OVER) == value and count == ready

        await until(lambda: said("truncated", 1000))
        await client.patch(ENDPOINTS, "web", {"metadata": {"annotations": {OVER: "mine"}}}, "default")
        await client.patch(SERVICES, "web", {"metadata": {"annotations": {"look": "again"}}}, "default")
        await until(lambda: said("truncated", 1000))
        await client.delete(PODS, "p0", "default", grace_period_seconds=0)
        await until(lambda: said(None, 1000))
