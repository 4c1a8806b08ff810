"""EndpointSlices where it is easy to be wrong: packing, labels, families, nodes that are not there, other hands."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items
from tests.controllers.test_endpoint_slice import carried_out, pod, service
from tests.controllers.test_endpoint_topology import node
from tests.waiting import until

from shirube.api.gvr import ENDPOINTSLICES, NODES, PODS, SERVICES
from shirube.client.rest import Client
from shirube.controllers import endpoint_slice_plan as planning
from shirube.controllers.endpoint_slice import EndpointSliceController

Json = dict[str, Any]
MANAGED_BY = planning.MANAGED_BY


class Slices:
    """What a plan after the other makes of a Service's slices."""

    def __init__(self, *lengths: int) -> None:
        self.found: dict[str, Json] = {}
        self._made = [0]
        at = 0
        for length in lengths:
            made = planning.plan(service(), [pod(n) for n in range(at, at + length)], {}, [])
            carried_out(made, self.found, self._made)
            at += length

    def look(self, one: Json, pods: list[Json], nodes: dict[str, Json] | None = None) -> tuple[int, int, int]:
        """(created, updated, deleted)"""
        made = planning.plan(one, pods, nodes or {}, self.found.values())
        counts = len(made.create), len(made.update), len(made.delete)
        carried_out(made, self.found, self._made)
        assert planning.plan(one, pods, nodes or {}, self.found.values()).empty, "a second look changes nothing"
        return counts

    @property
    def lengths(self) -> list[int]:
        return sorted(len(s["endpoints"]) for s in self.found.values())

    def addresses(self) -> list[str]:
        return sorted(e["addresses"][0] for s in self.found.values() for e in s["endpoints"])


def pods(*numbers: int, **more: Any) -> list[Json]:
    return [pod(n, **more) for n in numbers]


@pytest.mark.parametrize(
    ("before", "total", "writes", "after"),
    [
        ((), 250, (3, 0, 0), [50, 100, 100]),
        ((62, 61), 250, (1, 1, 0), [61, 89, 100]),  # the rest into the fullest that has room for it
        ((74, 74), 300, (2, 0, 0), [52, 74, 74, 100]),  # rather one more slice than two more writes
        ((98,), 100, (0, 1, 0), [100]),
        ((100,), 101, (1, 0, 0), [1, 100]),
        ((100, 100), 200, (0, 0, 0), [100, 100]),
    ],
)
def test_few_writes(before: tuple[int, ...], total: int, writes: tuple[int, int, int], after: list[int]):
    slices = Slices(*before)
    assert slices.look(service(), pods(*range(total))) == writes
    assert slices.lengths == after


def test_slices_that_change_anyway_are_filled():
    slices = Slices(100, 30, 60)
    left = [n for n in range(190) if n % 10]  # a tenth is gone from each
    assert slices.look(service(), pods(*left, *range(200, 219))) == (0, 3, 0)
    assert sum(slices.lengths) == 171 + 19


def test_slices_that_would_be_empty_are_used_again():
    slices = Slices(30, 30, 30)
    assert slices.look(service(), pods(*range(500, 550))) == (0, 1, 2)
    assert slices.lengths == [50]


def test_all_ports_of_a_service_change_in_as_many_writes_as_there_are_slices():
    slices = Slices(100, 100, 50)
    moved = service(ports=[{"name": "http", "port": 80, "targetPort": 81, "protocol": "TCP"}])
    assert slices.look(moved, pods(*range(250))) == (0, 3, 0)


def test_a_change_of_ports_packs_what_lies_scattered():
    slices = Slices(*[30] * 10)
    assert slices.look(service(), pods(*range(300))) == (0, 0, 0), "nothing is written to pack alone"
    moved = service(ports=[{"name": "http", "port": 80, "targetPort": 81, "protocol": "TCP"}])
    assert slices.look(moved, pods(*range(300))) == (0, 3, 7)
    assert slices.lengths == [100, 100, 100]


def test_new_ones_go_into_the_fullest_of_those_that_change():
    slices = Slices(80, 20)
    changed = [pod(n, ready=bool(n % 10)) for n in range(100)]
    assert slices.look(service(), [*changed, *pods(*range(200, 215))]) == (0, 2, 0)
    assert slices.lengths == [20, 95]


def test_slices_of_an_older_kind_of_address_are_replaced():
    slices = Slices(80, 50)
    for one in slices.found.values():
        one["addressType"] = "IP"
    assert slices.look(service(), pods(*range(130))) == (2, 0, 2)
    assert slices.lengths == [30, 100]


def test_labels_of_the_service_are_those_of_the_slices():
    slices = Slices(150, 0)
    del slices.found["s3"]  # the empty one of `0`
    one = service()
    one["metadata"]["labels"] = {
        "team": "b",
        planning.SERVICE_NAME: "bad",
        MANAGED_BY: "actor",
        "service.kubernetes.io/headless": "no",
    }
    assert slices.look(one, pods(*range(150))) == (0, 2, 0)
    expected = {"team": "b", planning.SERVICE_NAME: "web", MANAGED_BY: planning.CONTROLLER}
    assert all(s["metadata"]["labels"] == expected for s in slices.found.values())
    assert slices.look(service(clusterIP="None"), pods(*range(150))) == (0, 2, 0)
    assert all(s["metadata"]["labels"]["service.kubernetes.io/headless"] == "" for s in slices.found.values())


def test_the_empty_slice_follows_the_labels_in_place():
    slices = Slices(0)
    renamed = service()
    renamed["metadata"]["labels"] = {"team": "b"}
    assert slices.look(renamed, []) == (0, 1, 0)
    assert slices.look(renamed, pods(1)) == (0, 1, 0), "it becomes the first real one"
    assert slices.look(renamed, []) == (0, 1, 0)
    assert slices.lengths == [0]


def test_a_service_of_two_families_gives_one_up_and_takes_it_back():
    both = pods(1)
    both[0]["status"]["podIPs"] = [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]
    slices = Slices()
    assert slices.look(service(ipFamilies=["IPv4", "IPv6"]), both) == (2, 0, 0)
    assert slices.look(service(ipFamilies=["IPv4"]), both) == (0, 0, 1)
    assert slices.addresses() == ["10.0.0.2"]
    assert slices.look(service(ipFamilies=["IPv6", "IPv4"]), both) == (1, 0, 0)
    assert slices.addresses() == ["10.0.0.2", "fd00::2"]
    assert slices.look(service(ipFamilies=["IPv4", "IPv6"]), pods(1)) == (0, 1, 0), (
        "an empty one says that there are none"
    )


def test_families_that_nobody_wrote_down_are_those_of_the_cluster_ip():
    assert [s["addressType"] for s in planning.plan(service(clusterIP="fd00::5"), [], {}, []).create] == ["IPv6"]


def test_named_ports_that_differ_make_slices_of_their_own():
    slices = Slices()
    many = [pod(n, port=8080 + n % 5) for n in range(300)]
    assert slices.look(service(), many) == (5, 0, 0)
    assert slices.lengths == [60] * 5
    many[0] = pod(0, port=8081)
    assert slices.look(service(), many) == (0, 2, 0)
    assert Counter(s["ports"][0]["port"] for s in slices.found.values()) == dict.fromkeys(range(8080, 8085), 1)
    assert slices.lengths == [59, 60, 60, 60, 61]


def test_ports_that_no_pod_has_leave_endpoints_without_ports():
    (made,) = planning.plan(service(ports=[{"name": "x", "port": 80, "targetPort": "nobody"}]), pods(1), {}, []).create
    assert (made["ports"], len(made["endpoints"])) == ([], 1)


def test_who_has_no_address_or_has_ended_is_no_endpoint():
    waiting = pod(1)
    del waiting["status"]["podIP"]
    (made,) = planning.plan(service(), [waiting], {}, []).create
    assert made["endpoints"] == []


def test_five_thousand_pods():
    slices = Slices()
    many = pods(*range(5000))
    started = time.process_time()
    assert slices.look(service(), many) == (50, 0, 0)
    many[2500] = pod(2500, ready=False)
    assert slices.look(service(), many) == (0, 1, 0)
    assert slices.look(service(), many[:2500] + many[2501:]) == (0, 1, 0)
    assert slices.look(service(), many[1250:]) == (0, 1, 12), "the one that had gone fills up who lost some anyway"
    assert slices.look(service(), []) == (0, 1, 37) and slices.lengths == [0]
    assert time.process_time() - started < 10, "ten plans of thousands are a matter of a second"


def test_hints_by_wish_of_the_service():
    nodes = {"n1": node("n1", "z1")}
    slices = Slices()

    def hints(wish: str | None, zone: str = "z1", **annotations: str) -> Any:
        one = service(**({"trafficDistribution": wish} if wish else {}))
        one["metadata"]["annotations"] = annotations
        nodes["n1"] = node("n1", zone)
        slices.look(one, pods(1), nodes)
        (only,) = slices.found.values()
        return only["endpoints"][0].get("hints")

    auto = {"service.kubernetes.io/topology-mode": "Auto"}
    assert hints(None) is None
    assert hints("PreferClose") == {"forZones": [{"name": "z1"}]}
    assert hints("PreferClose", **auto) is None, "zones by share were asked for, and one pod makes none"
    assert hints("PreferClose") == {"forZones": [{"name": "z1"}]}
    assert hints(None) is None
    assert hints("PreferSameZone") == {"forZones": [{"name": "z1"}]}
    assert hints("PreferSameNode") == {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}
    assert hints("PreferSameNode", zone="") == {"forNodes": [{"name": "n1"}]}
    assert hints("PreferSameZone", zone="") is None
    assert hints("PreferClose", **{"service.kubernetes.io/topology-mode": "Disabled"}) is not None
    older = {"service.kubernetes.io/topology-aware-hints": "Disabled", **auto}
    assert hints("PreferClose", **older) is not None, "the older annotation goes before the newer"


def test_unready_pods_have_no_hints():
    one = service(trafficDistribution="PreferSameZone")
    (made,) = planning.plan(one, pods(1, ready=False), {"n1": node("n1", "z1")}, []).create
    assert "hints" not in made["endpoints"][0]
    published = service(trafficDistribution="PreferSameZone", publishNotReadyAddresses=True)
    (made,) = planning.plan(published, pods(1, ready=False), {"n1": node("n1", "z1")}, []).create
    assert made["endpoints"][0]["hints"] == {"forZones": [{"name": "z1"}]}


# On a live controller


async def shown(client: Client) -> list[str]:
    return sorted(a for s in await items(client, ENDPOINTSLICES) for e in s["endpoints"] for a in e["addresses"])


async def shows(client: Client, *addresses: str) -> bool:
    return await shown(client) == sorted(addresses) and bool(await items(client, ENDPOINTSLICES))


async def given(client: Client, one: Json, *numbers: int) -> None:
    await client.create(NODES, node("n1", "z1"))
    await client.create(SERVICES, one)
    for n in numbers:
        await client.create(PODS, pod(n))


async def test_pods_of_a_node_that_is_not_there_are_left_out_until_it_is(house: House, client: Client):
    await given(client, service(), 1)
    lost = pod(2)
    lost["spec"]["nodeName"] = "n2"
    await client.create(PODS, lost)
    async with house.running(EndpointSliceController) as controllers:
        await until(lambda: shows(client, "10.0.0.2"))
        await house.settle(controllers)
        await client.create(NODES, node("n2", "z2"))
        await until(lambda: shows(client, "10.0.0.2", "10.0.0.3"))
        await client.delete(NODES, "n2")
        await until(lambda: shows(client, "10.0.0.2"))
        await client.patch(SERVICES, "web", {"spec": {"publishNotReadyAddresses": True}}, "default")
        await until(lambda: shows(client, "10.0.0.2", "10.0.0.3"))


async def test_a_slice_that_somebody_deletes_comes_back(house: House, client: Client):
    await given(client, service(), 1)
    async with house.running(EndpointSliceController):
        await until(lambda: shows(client, "10.0.0.2"))
        for _ in range(3):
            (one,) = await items(client, ENDPOINTSLICES)
            await client.delete(ENDPOINTSLICES, one["metadata"]["name"], "default")

            async def another(old: str = one["metadata"]["uid"]) -> bool:
                found = await items(client, ENDPOINTSLICES)
                return len(found) == 1 and found[0]["metadata"]["uid"] != old

            await until(another, 3)


async def test_a_slice_that_somebody_changes_is_put_right(house: House, client: Client):
    await given(client, service(), 1)
    async with house.running(EndpointSliceController):
        await until(lambda: shows(client, "10.0.0.2"))
        (one,) = await items(client, ENDPOINTSLICES)
        wrong = [{"addresses": ["10.9.9.9"], "conditions": {"ready": True}}]
        await client.patch(ENDPOINTSLICES, one["metadata"]["name"], {"endpoints": wrong}, "default")
        await until(lambda: shows(client, "10.0.0.2"))


@pytest.mark.parametrize("label", [MANAGED_BY, planning.SERVICE_NAME])
async def test_a_slice_that_is_taken_away_by_its_label_is_made_again(house: House, client: Client, label: str):
    await given(client, service(), 1)
    async with house.running(EndpointSliceController):
        await until(lambda: shows(client, "10.0.0.2"))
        (one,) = await items(client, ENDPOINTSLICES)
        taken = {"metadata": {"labels": {label: "another"}}}
        await client.patch(ENDPOINTSLICES, one["metadata"]["name"], taken, "default")

        async def made() -> bool:
            found = await items(client, ENDPOINTSLICES)
            return sum(s["metadata"]["labels"].get(label) == one["metadata"]["labels"][label] for s in found) == 1

        await until(made)
        assert len(await items(client, ENDPOINTSLICES)) == 2, "the other one is somebody else's now"


async def test_slices_of_other_controllers_are_left_alone(house: House, client: Client, api: MemoryApi):
    foreign = {
        "metadata": {"name": "f", "namespace": "default", "labels": {planning.SERVICE_NAME: "web", MANAGED_BY: "x"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.9.9.9"]}],
        "ports": [],
    }
    await client.create(ENDPOINTSLICES, foreign)
    await given(client, service(), 1)
    async with house.running(EndpointSliceController) as controllers:
        await until(lambda: shows(client, "10.0.0.2", "10.9.9.9"))
        await client.delete(PODS, "p1", "default", grace_period_seconds=0)
        await house.settle(controllers)
        await until(lambda: shows(client, "10.9.9.9"))


async def test_a_selector_that_changes_and_one_that_goes(house: House, client: Client):
    await given(client, service(), 1)
    await client.create(PODS, pod(2, labels={"app": "other"}))
    async with house.running(EndpointSliceController) as controllers:
        await until(lambda: shows(client, "10.0.0.2"))
        await client.patch(SERVICES, "web", {"spec": {"selector": {"app": "other"}}}, "default")
        await until(lambda: shows(client, "10.0.0.3"))
        await client.patch(SERVICES, "web", {"spec": {"selector": None}}, "default")
        await client.delete(PODS, "p2", "default", grace_period_seconds=0)
        await house.settle(controllers)
        assert await shows(client, "10.0.0.3"), "without a selector nobody speaks for it"
        await client.patch(SERVICES, "web", {"spec": {"selector": {"app": "web"}}}, "default")
        await until(lambda: shows(client, "10.0.0.2"))


async def test_to_an_external_name_and_back(house: House, client: Client):
    await given(client, service(), 1)
    async with house.running(EndpointSliceController) as controllers:
        await until(lambda: shows(client, "10.0.0.2"))
        away = {"spec": {"type": "ExternalName", "externalName": "example.com", "clusterIP": ""}}
        await client.patch(SERVICES, "web", away, "default")
        await client.create(PODS, pod(2))
        await house.settle(controllers)
        assert await shows(client, "10.0.0.2")
        back = {"spec": {"type": "ClusterIP", "externalName": None, "clusterIP": "10.96.0.5"}}
        await client.patch(SERVICES, "web", back, "default")
        await until(lambda: shows(client, "10.0.0.2", "10.0.0.3"))


async def test_terminating_pods_stay_until_they_are_gone(house: House, client: Client):
    await given(client, service())
    await client.create(PODS, {**pod(1), "metadata": {**pod(1)["metadata"], "finalizers": ["example.com/hold"]}})
    async with house.running(EndpointSliceController):
        await until(lambda: shows(client, "10.0.0.2"))
        await client.delete(PODS, "p1", "default")

        async def leaving() -> Json | None:
            (one,) = await items(client, ENDPOINTSLICES)
            conditions: Json = one["endpoints"][0]["conditions"]
            return conditions if conditions["terminating"] else None

        assert await until(leaving) == {"ready": False, "serving": True, "terminating": True}
        await client.patch(PODS, "p1", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
        await until(lambda: shows(client))


async def test_a_service_that_is_going_away_is_served_until_the_end_but_not_anew(house: House, client: Client):
    held = service()
    held["metadata"]["finalizers"] = ["service.kubernetes.io/load-balancer-cleanup"]
    await given(client, held, 1)
    async with house.running(EndpointSliceController) as controllers:
        await until(lambda: shows(client, "10.0.0.2"))
        await client.delete(SERVICES, "web", "default")
        await client.create(PODS, pod(2))
        await until(lambda: shows(client, "10.0.0.2", "10.0.0.3"))
        await client.delete(PODS, "p1", "default", grace_period_seconds=0)
        await until(lambda: shows(client, "10.0.0.3"))
        (one,) = await items(client, ENDPOINTSLICES)
        await client.delete(ENDPOINTSLICES, one["metadata"]["name"], "default")
        await house.settle(controllers)
        assert await items(client, ENDPOINTSLICES) == []


async def test_a_service_that_is_made_again_has_slices_of_its_own(house: House, client: Client):
    await given(client, service(), 1)
    async with house.running(EndpointSliceController):
        await until(lambda: shows(client, "10.0.0.2"))
        first = (await items(client, ENDPOINTSLICES))[0]["metadata"]
        await client.delete(SERVICES, "web", "default")
        again = await client.create(SERVICES, service())

        async def owned() -> bool:
            owners = [s["metadata"]["ownerReferences"][0]["uid"] for s in await items(client, ENDPOINTSLICES)]
            return owners == [again["metadata"]["uid"]]

        await until(owned)
        assert (await items(client, ENDPOINTSLICES))[0]["metadata"]["name"] != first["name"]


async def test_the_trigger_time_is_that_of_the_newest_change(house: House, client: Client):
    await given(client, service())
    late = pod(1)
    late["status"]["conditions"][0]["lastTransitionTime"] = "2099-02-03T04:05:06Z"
    await client.create(PODS, late)
    async with house.running(EndpointSliceController):
        await until(lambda: shows(client, "10.0.0.2"))
        (one,) = await items(client, ENDPOINTSLICES)
        stamp = one["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"]
        assert stamp == "2099-02-03T04:05:06Z"
