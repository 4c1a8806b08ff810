from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items, make_ready
from tests.waiting import until

from shirube.api.gvr import ENDPOINTS, ENDPOINTSLICES, NODES, PODS, SERVICES
from shirube.client.rest import Client
from shirube.controllers import endpoint_slice_plan as planning
from shirube.controllers import service_backends as behind
from shirube.controllers.endpoint_slice import EndpointSliceController
from shirube.controllers.endpoints import EndpointsController, subsets_of, truncated


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "web",
            "namespace": "default",
            "uid": "svc",
            "labels": {"team": "a"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "selector": {"app": "web"},
            "clusterIP": "10.96.0.5",
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
            **spec,
        },
    }


def pod(n: int, *, ready: bool = True, port: int = 8080, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"p{n}",
            "namespace": "default",
            "uid": f"u{n}",
            "labels": {"app": "web"},
            **metadata,
        },
        "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "web", "containerPort": port}]}]},
        "status": {
            "phase": "Running",
            "podIP": f"10.0.{n // 250}.{n % 250 + 1}",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def carried_out(plan: planning.Plan, slices: dict[str, Any], counter: list[int]) -> None:
    for one in plan.create:
        counter[0] += 1
        one["metadata"]["name"] = f"s{counter[0]}"
        slices[one["metadata"]["name"]] = one
    for one in plan.update:
        slices[one["metadata"]["name"]] = one
    for one in plan.delete:
        del slices[one["metadata"]["name"]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 260), st.tuples(st.booleans(), st.sampled_from([80, 81]))), max_size=5))
def test_slices_always_say_what_the_pods_say(history: list[dict[int, tuple[bool, int]]]):
    slices: dict[str, Any] = {}
    counter = [0]
    for state in history:
        pods = [pod(n, ready=ready, port=port) for n, (ready, port) in sorted(state.items())]
        carried_out(planning.plan(service(), pods, {}, slices.values()), slices, counter)
        assert planning.plan(service(), pods, {}, slices.values()).empty, "a second look changes nothing"
        shown = {
            (e["targetRef"]["uid"], e["conditions"]["ready"], s["ports"][0]["port"])
            for s in slices.values()
            for e in s["endpoints"]
        }
        assert shown == {(f"u{n}", ready, port) for n, (ready, port) in state.items()}
        assert all(len(s["endpoints"]) <= planning.MOST for s in slices.values())
        assert slices, "a service without backends has an empty slice"
        assert all(s["endpoints"] for s in slices.values()) or len(slices) == 1


def test_one_pod_that_changes_writes_one_slice():
    pods = [pod(n) for n in range(250)]
    slices: dict[str, Any] = {}
    carried_out(planning.plan(service(), pods, {}, []), slices, [0])
    assert len(slices) == 3
    pods[120] = pod(120, ready=False)
    plan = planning.plan(service(), pods, {}, slices.values())
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 0)


def _planned(pods: list[dict[str, Any]], slices: dict[str, Any], one: dict[str, Any] | None = None) -> list[int]:
    plan = planning.plan(one or service(), pods, {}, slices.values())
    return [len(plan.create), len(plan.update), len(plan.delete)]


def test_few_writes_go_before_full_slices():
    """The documentation's own example: ten new endpoints, and two slices with room for five each."""
    pods = [pod(n) for n in range(200)]
    slices: dict[str, Any] = {}
    carried_out(planning.plan(service(), pods, {}, []), slices, [0])
    for one in slices.values():
        one["endpoints"] = one["endpoints"][:95]
    kept = {e["targetRef"]["uid"] for s in slices.values() for e in s["endpoints"]}
    there = [p for p in pods if p["metadata"]["uid"] in kept]
    assert _planned(there + [pod(n) for n in range(300, 310)], slices) == [1, 0, 0]
    assert _planned(there + [pod(n) for n in range(300, 305)], slices) == [0, 1, 0]


def test_another_target_port_is_one_write_of_the_same_slice():
    slices: dict[str, Any] = {}
    carried_out(planning.plan(service(), [pod(1), pod(2)], {}, []), slices, [0])
    moved = [pod(1, port=9090), pod(2, port=9090)]
    assert _planned(moved, slices) == [0, 1, 0]
    carried_out(planning.plan(service(), moved, {}, slices.values()), slices, [1])
    assert [s["ports"][0]["port"] for s in slices.values()] == [9090]
    assert _planned([], slices) == [0, 1, 0], "emptied, it says that there is nobody"


def test_slices_that_the_service_does_not_own_go():
    slices: dict[str, Any] = {}
    carried_out(planning.plan(service(), [pod(1)], {}, []), slices, [0])
    again = service()
    again["metadata"]["uid"] = "another"
    assert _planned([pod(1)], slices, again) == [1, 0, 1], "of a Service that was of that name"
    (one,) = slices.values()
    one["metadata"]["ownerReferences"] = []
    assert _planned([pod(1)], slices) == [1, 0, 1], "of nobody: nobody would take it away with the Service"
    one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert _planned([pod(1)], slices) == [1, 0, 0], "already on its way"


def test_terminating_unready_and_published():
    dying = pod(1, deletionTimestamp="2026-01-01T00:00:00Z")
    endpoint = planning.endpoint_of(service(), dying, "10.0.0.1", None)
    assert endpoint["conditions"] == {"ready": False, "serving": True, "terminating": True}
    published = planning.endpoint_of(service(publishNotReadyAddresses=True), pod(2, ready=False), "x", None)
    assert published["conditions"] == {"ready": True, "serving": False, "terminating": False}
    assert subsets_of(service(), [dying]) == []
    assert subsets_of(service(publishNotReadyAddresses=True), [dying])[0]["addresses"]


def test_zones_hostnames_and_hints():
    node = {"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}}
    one = pod(1)
    one["spec"] |= {"hostname": "first", "subdomain": "web"}
    endpoint = planning.endpoint_of(service(trafficDistribution="PreferSameNode"), one, "x", node)
    assert (endpoint["zone"], endpoint["hostname"]) == ("z1", "first")
    assert endpoint["hints"] == {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}


def test_dual_stack_makes_slices_of_each_family():
    both = pod(1)
    both["status"]["podIPs"] = [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]
    plan = planning.plan(service(ipFamilies=["IPv4", "IPv6"]), [both], {}, [])
    assert {s["addressType"]: s["endpoints"][0]["addresses"] for s in plan.create} == {
        "IPv4": ["10.0.0.1"],
        "IPv6": ["fd00::1"],
    }


def test_named_ports_differ_from_pod_to_pod():
    subsets = subsets_of(service(), [pod(1, port=8080), pod(2, port=9090), pod(3, port=8080, ready=True)])
    assert [(s["ports"][0]["port"], len(s["addresses"])) for s in subsets] == [(8080, 2), (9090, 1)]


def test_numbers_and_sidecars_as_targets():
    one = pod(1)
    assert behind.target_port(one, {"port": 80}) == 80
    assert behind.target_port(one, {"port": 80, "targetPort": 81}) == 81
    assert behind.target_port(one, {"port": 80, "targetPort": "none"}) is None
    one["spec"]["initContainers"] = [
        {"restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 7}]},
        {"ports": [{"name": "init", "containerPort": 8}]},
    ]
    assert behind.target_port(one, {"port": 80, "targetPort": "side"}) == 7
    assert behind.target_port(one, {"port": 80, "targetPort": "init"}) is None


def test_endpoints_are_cut_at_a_thousand():
    subsets, over = truncated(subsets_of(service(), [pod(n, ready=n % 2 == 0) for n in range(1200)]))
    assert over
    assert len(subsets[0]["addresses"]) == 600
    assert len(subsets[0]["notReadyAddresses"]) == 400


async def test_follow_pods_and_go_with_the_service(house: House, client: Client, api: MemoryApi):
    await client.create(SERVICES, service())
    await client.create(NODES, {"metadata": {"name": "n1"}})
    async with house.running(EndpointsController, EndpointSliceController) as controllers:
        made = await until(lambda: items(client, ENDPOINTSLICES))
        assert made[0]["endpoints"] == []
        assert made[0]["metadata"]["labels"][planning.SERVICE_NAME] == "web"
        for n in (1, 2):
            await client.create(PODS, {**pod(n), "status": {"phase": "Pending"}})
        await make_ready(client, pod(1), ip="10.0.0.1")

        async def shown() -> bool:
            slices = await items(client, ENDPOINTSLICES)
            endpoints = [e for s in slices for e in s["endpoints"]]
            (old,) = await items(client, ENDPOINTS)
            return len(endpoints) == 1 and old.get("subsets", [{}])[0].get("addresses") is not None

        await until(shown)
        await house.settle(controllers)
        writes = len(api.writes())
        for controller in controllers:
            controller.queue.add("default/web")
        await house.settle(controllers)
        assert len(api.writes()) == writes, "nothing changed, nothing is written"
        await client.delete(SERVICES, "web", "default")

        async def gone() -> bool:
            return not await items(client, ENDPOINTS)

        await until(gone)
