"""Node lifecycle, taint eviction, pod CIDRs, pod garbage."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import House, items
from tests.waiting import until

from shirube.api.gvr import EVENTS, LEASES, NODES, PODS
from shirube.client.rest import Client
from shirube.controllers import node_lifecycle
from shirube.controllers import pods as of_pods
from shirube.controllers.node_ipam import NodeIPAMController, RangeExhausted, first_free
from shirube.controllers.node_lifecycle import NodeLifecycleController, silent_conditions, wanted_taints
from shirube.controllers.pod_gc import PodGCController, excess_finished
from shirube.controllers.taint_eviction import TaintEvictionController, deadline, leaves_at, tolerates
from shirube.foundation.clock import SYSTEM, ManualClock, rfc3339

NOW = 1_750_000_000.0


def node(name: str = "n1", ready: str | None = "True", **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": rfc3339(NOW)}] if ready else []
    return {"metadata": {"name": name}, "spec": spec, "status": {"conditions": conditions}}


def keys(taints: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in taints}


def test_conditions_become_taints():
    assert wanted_taints(node(), NOW, disrupted=False) == []
    assert keys(wanted_taints(node(ready="Unknown"), NOW, disrupted=False)) == {
        ("unreachable", "NoSchedule"),
        ("unreachable", "NoExecute"),
    }
    assert keys(wanted_taints(node(ready="False"), NOW, disrupted=True)) == {("not-ready", "NoSchedule")}
    pressed = node(unschedulable=True)
    pressed["status"]["conditions"].append({"type": "MemoryPressure", "status": "True"})
    assert keys(wanted_taints(pressed, NOW, disrupted=False)) == {
        ("memory-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    }


def test_other_peoples_taints_stay_and_ours_keep_their_date():
    foreign = {"key": "mine", "effect": "NoExecute", "value": "x"}
    old = {"key": node_lifecycle.UNREACHABLE, "effect": "NoExecute", "timeAdded": "2020-01-01T00:00:00Z"}
    stale = {"key": node_lifecycle.NOT_READY, "effect": "NoExecute"}
    taints = wanted_taints(node(ready="Unknown", taints=[foreign, old, stale]), NOW, disrupted=False)
    assert taints[:2] == [foreign, old]
    assert keys(taints[2:]) == {("unreachable", "NoSchedule")}


def test_a_new_node_keeps_the_taint_that_admission_gave_it():
    taint = {"key": node_lifecycle.NOT_READY, "effect": "NoSchedule"}
    assert wanted_taints(node(ready=None, taints=[taint]), NOW, disrupted=False) == [taint]


def test_silence_makes_conditions_unknown():
    conditions = {c["type"]: c for c in silent_conditions(node(), NOW)}
    assert conditions["Ready"]["reason"] == "NodeStatusUnknown"
    assert conditions["DiskPressure"]["reason"] == "NodeStatusNeverUpdated"


async def test_a_node_that_falls_silent_and_comes_back(house: House, client: Client):
    clock = ManualClock()
    for name in ("n1", "n2"):
        await client.create(NODES, node(name))
    ready = {"type": "Ready", "status": "True"}
    pod = {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "conditions": [ready]},
    }
    await client.create(PODS, pod)
    lease = {"metadata": {"name": "n2", "namespace": "kube-node-lease"}, "spec": {"renewTime": "1"}}
    await client.create(LEASES, lease)
    async with house.running(NodeLifecycleController, context=house.context(clock=clock)) as (controller,):
        await house.settle([controller])
        clock.advance(39)
        await client.patch(LEASES, "n2", {"spec": {"renewTime": "2"}}, "kube-node-lease")
        await until(lambda: controller._heard["n2"].lease == "2")
        controller.queue.add("n1")
        await house.settle([controller])
        assert (await client.get(NODES, "n1"))["status"]["conditions"][0]["status"] == "True"
        clock.advance(2)
        for name in ("n1", "n2"):
            controller.queue.add(name)

        async def silent() -> bool:
            taints = (await client.get(NODES, "n1"))["spec"].get("taints") or []
            return ("unreachable", "NoExecute") in keys(taints)

        await until(silent)
        (pod,) = await items(client, PODS)
        assert pod["status"]["conditions"][0]["status"] == "False"
        assert "taints" not in (await client.get(NODES, "n2"))["spec"], "its lease was renewed"
        status = node()["status"]
        status["conditions"][0]["lastHeartbeatTime"] = rfc3339(NOW + 60)
        await client.patch(NODES, "n1", {"status": status}, subresource="status")

        async def back() -> bool:
            return not (await client.get(NODES, "n1"))["spec"].get("taints")

        await until(back)


@pytest.mark.parametrize("age,expected", [(0, ["RegisteredNode", "RemovingNode"]), (3600, ["RemovingNode"])])
async def test_nodes_that_come_and_go_are_told(house: House, client: Client, age: float, expected: list[str]):
    """But those that were there long before the controller has started."""
    await client.create(NODES, node())
    clock = ManualClock(SYSTEM.now() + age)
    async with house.running(NodeLifecycleController, context=house.context(clock=clock)) as (controller,):
        await house.settle([controller])
        await client.delete(NODES, "n1")

        async def told() -> list[dict[str, Any]]:
            events = (await client.list(EVENTS, "default"))["items"]
            return events if any(e["reason"] == "RemovingNode" for e in events) else []

        events = await until(told)
        assert sorted(e["reason"] for e in events) == expected
        texts = {e["reason"]: e["message"] for e in events}
        assert texts["RemovingNode"] == "Node n1 event: Removing Node n1 from Controller"
        assert all(e["involvedObject"]["kind"] == "Node" for e in events)


async def test_a_pod_is_called_not_ready_once(house: House, client: Client):
    ready = {"type": "Ready", "status": "True"}
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"nodeName": "n1"}}
    await client.create(PODS, {**pod, "status": {"phase": "Running", "conditions": [ready]}})
    async with house.running(NodeLifecycleController) as (controller,):
        for _ in range(2):
            await controller._mark_pods_not_ready("n1")  # the second time on what the cache held before
    (event,) = await items(client, EVENTS)
    assert (event["reason"], event["count"]) == ("NodeNotReady", 1)


NO_EXECUTE = {"key": "k", "value": "v", "effect": "NoExecute", "timeAdded": rfc3339(NOW)}


@pytest.mark.parametrize(
    "toleration,expected",
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Equal", "value": "w"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, True),
    ],
)
def test_tolerations(toleration: dict[str, Any], expected: bool):
    assert tolerates(toleration, NO_EXECUTE) is expected


def test_deadlines():
    exists = {"key": "k", "operator": "Exists"}
    assert deadline([NO_EXECUTE], [], 0) == NOW
    assert deadline([NO_EXECUTE], [exists], 0) is None
    assert deadline([NO_EXECUTE], [{**exists, "tolerationSeconds": 30}], 0) == NOW + 30
    both = [{**exists, "tolerationSeconds": 30}, {**exists, "tolerationSeconds": 10}]
    assert deadline([NO_EXECUTE], both, 0) == NOW + 10
    assert deadline([{**NO_EXECUTE, "effect": "NoSchedule"}], [], 0) is None
    assert deadline([{k: v for k, v in NO_EXECUTE.items() if k != "timeAdded"}], [], 5) == 5


def test_when_a_pod_leaves():
    exists = {"key": "k", "operator": "Exists"}

    def pod(*tolerations: dict[str, Any], came: float = 0) -> dict[str, Any]:
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": rfc3339(NOW + came)}
        return {"metadata": {}, "spec": {"tolerations": tolerations}, "status": {"conditions": [scheduled]}}

    assert leaves_at([], pod(), 0) is None
    assert leaves_at([NO_EXECUTE], pod(came=60), 0) == NOW, "not tolerated: at once"
    patient = {**exists, "tolerationSeconds": 30}
    assert leaves_at([NO_EXECUTE], pod(patient, came=-60), 0) == NOW + 30, "from the taint on"
    assert leaves_at([NO_EXECUTE], pod(patient, came=600), 0) == NOW + 630, "from the pod's arrival on"
    assert leaves_at([NO_EXECUTE], pod(exists, patient), 0) is None, "the first one that matches counts"
    assert leaves_at([NO_EXECUTE, {"key": "q", "effect": "NoExecute"}], pod(exists), 7) == 7


async def test_pods_leave_a_tainted_node_in_their_time(house: House, client: Client):
    await client.create(NODES, node())
    patient = {"key": "k", "operator": "Exists", "tolerationSeconds": 1}
    stays = {"operator": "Exists"}
    for name, tolerations in (("now", []), ("later", [patient]), ("stays", [stays])):
        await client.create(
            PODS,
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": "n1", "tolerations": tolerations},
                "status": {},
            },
        )
    async with house.running(TaintEvictionController):
        taint = {"key": "k", "effect": "NoExecute"}
        await client.patch(NODES, "n1", {"spec": {"taints": [taint]}})

        async def names() -> set[str]:
            return {p["metadata"]["name"] for p in await items(client, PODS)}

        async def is_now(wanted: set[str]) -> bool:
            return await names() == wanted

        await until(lambda: is_now({"later", "stays"}))
        await until(lambda: is_now({"stays"}))
        # The same taint again is a new one, though no pod saw the first one go.
        await client.delete(PODS, "stays", "default", grace_period_seconds=0)
        await client.patch(NODES, "n1", {"spec": {"taints": None}})
        spec = {"nodeName": "n1", "tolerations": [patient]}
        await client.create(PODS, {"metadata": {"name": "again", "namespace": "default"}, "spec": spec, "status": {}})
        loop = asyncio.get_running_loop()
        tainted = loop.time()
        await client.patch(NODES, "n1", {"spec": {"taints": [taint]}})
        await until(lambda: is_now(set()))
        assert loop.time() - tainted > 0.9


async def test_an_eviction_that_is_called_off_is_told(house: House, client: Client):
    taint = {"key": "k", "effect": "NoExecute"}
    await client.create(NODES, node(taints=[taint]))
    spec = {"nodeName": "n1", "tolerations": [{"operator": "Exists", "tolerationSeconds": 300}]}
    await client.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec, "status": {}})
    async with house.running(TaintEvictionController) as (controller,):
        await until(lambda: controller._leaving)
        await client.patch(NODES, "n1", {"spec": {"taints": None}})
        (event,) = await until(lambda: items(client, EVENTS))
        assert (event["reason"], event["message"]) == (
            "TaintManagerEviction",
            "Cancelling deletion of Pod default/p",
        )


@given(st.sets(st.integers(0, 15)))
def test_subnets_never_overlap(taken: set[int]):
    cluster = ipaddress.ip_network("10.0.0.0/20")
    networks = [ipaddress.ip_network(f"10.0.{n}.0/24") for n in taken]
    if len(taken) == 16:
        with pytest.raises(RangeExhausted):
            first_free(cluster, 24, networks)
        return
    _, found = first_free(cluster, 24, networks)
    assert found.subnet_of(cluster)
    assert not any(found.overlaps(n) for n in networks)


async def test_every_node_gets_its_own_pod_cidr(house: House, client: Client):
    await client.create(NODES, node("n0", podCIDR="10.244.0.0/24", podCIDRs=["10.244.0.0/24"]))
    async with house.running(NodeIPAMController):
        for n in range(1, 6):
            await client.create(NODES, node(f"n{n}"))

        async def cidrs() -> list[str] | None:
            found = [o["spec"].get("podCIDR") for o in (await client.list(NODES))["items"]]
            return found if all(found) else None

        found = await until(cidrs)
        assert len(set(found)) == 6
        assert found[1].endswith("/24")


async def test_pods_of_a_node_that_is_gone_are_failed_and_deleted(house: House, client: Client):
    clock = ManualClock()
    await client.create(NODES, node())
    for name, node_name in (("lost", "gone"), ("fine", "n1")):
        await client.create(
            PODS,
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": node_name},
                "status": {"phase": "Running"},
            },
        )
    async with house.running(PodGCController, context=house.context(clock=clock)) as (controller,):
        await house.settle([controller])
        assert len(await items(client, PODS)) == 2
        clock.advance(41)
        controller.queue.add("sweep")

        async def only_fine() -> bool:
            return [p["metadata"]["name"] for p in await items(client, PODS)] == ["fine"]

        await until(only_fine)


async def test_pods_of_a_node_out_of_service_are_let_go_once_it_is_down(house: House, client: Client):
    out = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    await client.create(NODES, node(taints=[out]))
    metadata = {"name": "p", "namespace": "default", "finalizers": ["test/hold"]}
    await client.create(PODS, {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}})
    await client.delete(PODS, "p", "default")

    async def phase() -> str:
        return str((await client.get(PODS, "p", "default"))["status"]["phase"])

    async with house.running(PodGCController) as (controller,):
        await house.settle([controller])
        assert await phase() == "Running", "its agent is at work: it ends the pod itself"
        status = node(ready="Unknown")["status"]
        await client.patch(NODES, "n1", {"status": status}, subresource="status")
        await until(lambda: not of_pods.ready(controller._nodes.store.get(None, "n1")))
        controller.queue.add("sweep")

        async def failed() -> bool:
            return await phase() == "Failed"

        await until(failed)


async def test_a_deleted_pod_without_a_node_fails_for_those_who_hold_it(house: House, client: Client):
    metadata = {"name": "p", "namespace": "default", "finalizers": ["test/hold"]}
    await client.create(PODS, {"metadata": metadata, "spec": {}, "status": {"phase": "Pending"}})
    await client.delete(PODS, "p", "default")
    async with house.running(PodGCController):

        async def failed() -> bool:
            return (await client.get(PODS, "p", "default"))["status"]["phase"] == "Failed"

        await until(failed)


def test_evicted_pods_go_before_other_finished_ones():
    pods = [
        {"metadata": {"name": f"p{n}", "creationTimestamp": rfc3339(NOW + n)}, "status": {"phase": "Failed"}}
        for n in range(3)
    ]
    pods[2]["status"]["reason"] = "Evicted"
    assert [p["metadata"]["name"] for p in excess_finished(pods, 1)] == ["p2", "p0"]


def test_only_the_newest_finished_pods_are_kept():
    pods = [
        {"metadata": {"name": f"p{n}", "creationTimestamp": rfc3339(NOW + n)}, "status": {"phase": "Failed"}}
        for n in range(5)
    ]
    assert [p["metadata"]["name"] for p in excess_finished(pods, 3)] == ["p0", "p1"]
