"""Corners of the controllers that look after nodes and what is left of their pods."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items
from tests.controllers.test_nodes import NOW, keys, node
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import NODES, PODS
from shirube.client.rest import Client
from shirube.controllers import pods as of_pods
from shirube.controllers.node_lifecycle import (
    NodeLifecycleController,
    silent_conditions,
    wanted_labels,
    wanted_taints,
)
from shirube.controllers.pod_gc import PodGCController, excess_finished, held_by_finalizers
from shirube.controllers.taint_eviction import TaintEvictionController, leaves_at
from shirube.foundation.clock import ManualClock, rfc3339

OS, ARCH = "kubernetes.io/os", "kubernetes.io/arch"


def pod(name: str = "p", node_name: str = "n1", phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {"nodeName": node_name} if node_name else {},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]},
    }


# -- node lifecycle ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels,expected",
    [
        ({}, {}),
        ({"topology.kubernetes.io/region": "r"}, {}),
        ({"beta." + OS: "linux"}, {}),  # nothing to follow
        ({OS: "linux", ARCH: "amd64"}, {"beta." + OS: "linux", "beta." + ARCH: "amd64"}),
        ({OS: "linux", "beta." + OS: "windows", ARCH: "arm64", "beta." + ARCH: "arm64"}, {"beta." + OS: "linux"}),
        ({OS: "linux", "beta." + OS: "linux"}, {}),
    ],
)
def test_former_labels_follow(labels: dict[str, str], expected: dict[str, str]):
    assert wanted_labels({"metadata": {"name": "n", "labels": labels}}) == expected
    assert not wanted_labels({"metadata": {"name": "n", "labels": {**labels, **expected}}})


async def test_former_labels_are_written_once(house: House, client: Client, api: MemoryApi):
    one = node()
    one["metadata"]["labels"] = {OS: "linux", "mine": "x"}
    await client.create(NODES, one)
    async with house.running(NodeLifecycleController) as (controller,):
        await house.settle([controller])
        labels = (await client.get(NODES, "n1"))["metadata"]["labels"]
        assert labels == {OS: "linux", "beta." + OS: "linux", "mine": "x"}
        written = len(api.writes())
        controller.queue.add("n1")
        await house.settle([controller])
        assert len(api.writes()) == written


def test_a_node_that_never_spoke_is_dated_by_its_creation():
    one = node(ready=None)
    one["metadata"]["creationTimestamp"] = rfc3339(NOW - 100)
    conditions = silent_conditions(one, NOW)
    assert [c["type"] for c in conditions] == ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
    for condition in conditions:
        assert (condition["status"], condition["reason"]) == ("Unknown", "NodeStatusNeverUpdated")
        assert condition["lastHeartbeatTime"] == rfc3339(NOW - 100)
        assert condition["lastTransitionTime"] == rfc3339(NOW)


def test_what_is_unknown_already_keeps_its_time():
    one = node(ready="Unknown")
    one["status"]["conditions"][0].update(reason="mine", lastTransitionTime=rfc3339(NOW - 50))
    ready = next(c for c in silent_conditions(one, NOW) if c["type"] == "Ready")
    assert (ready["reason"], ready["lastTransitionTime"]) == ("mine", rfc3339(NOW - 50))


async def test_a_node_that_never_speaks_has_a_minute(house: House, client: Client):
    clock = ManualClock()
    await client.create(NODES, node("up"))
    await client.create(NODES, node("mute", ready=None))
    async with house.running(NodeLifecycleController, context=house.context(clock=clock)) as (controller,):
        await house.settle([controller])

        async def look(after: float) -> set[tuple[str, str]]:
            clock.advance(after)
            controller._heard["up"].at = clock.monotonic()
            controller.queue.add("mute")
            await house.settle([controller])
            return keys((await client.get(NODES, "mute"))["spec"].get("taints") or [])

        assert await look(59) == set()
        assert ("unreachable", "NoExecute") in await look(2)


def test_taints_change_places():
    """A node that was unreachable speaks again, and is not ready; and the other way round."""
    for was, now in (("Unknown", "False"), ("False", "Unknown")):
        before = wanted_taints(node(ready=was), NOW, disrupted=False)
        after = wanted_taints(node(ready=now, taints=before), NOW + 60, disrupted=False)
        assert not keys(before) & keys(after)
        assert {effect for _, effect in keys(after)} == {"NoSchedule", "NoExecute"}
        assert {t["timeAdded"] for t in after} == {rfc3339(NOW + 60)}


async def test_a_taint_has_its_place_taken_though_the_zone_may_lose_none(house: House, client: Client):
    await client.create(NODES, node("up"))
    await client.create(NODES, node("n1", ready="Unknown"))
    async with house.running(NodeLifecycleController) as (controller,):

        async def found() -> set[tuple[str, str]]:
            return keys((await client.get(NODES, "n1"))["spec"].get("taints") or [])

        async def unreachable() -> bool:
            return ("unreachable", "NoExecute") in await found()

        await until(unreachable)
        await client.patch(NODES, "n1", {"status": node(ready="False")["status"]}, subresource="status")

        async def swapped() -> bool:
            return await found() == {("not-ready", "NoExecute"), ("not-ready", "NoSchedule")}

        await until(swapped)  # within the ten seconds in which no other node may go
        await house.settle([controller])


async def test_pods_are_called_not_ready_though_it_fails_at_first(house: House, client: Client, api: MemoryApi):
    await client.create(NODES, node("n1", ready="False"))
    await client.create(PODS, pod())
    failures = [ApiError(500, "InternalError", "no"), ApiError(409, "Conflict", "changed")]

    def fault(method: str, path: str) -> None:
        if method == "PATCH" and "/pods/" in path and failures:
            raise failures.pop(0)

    api.fault = fault
    async with house.running(NodeLifecycleController) as (controller,):
        await until(lambda: len(failures) < 2)
        controller.queue.add("n1")

        async def told() -> bool:
            if len(failures) == 0:
                controller.queue.add("n1")
            return not of_pods.ready(await client.get(PODS, "p", "default"))

        await until(told, 10)


# -- pods nobody else cleans up ----------------------------------------------------------------------------


HELD = {"deletionTimestamp": rfc3339(NOW), "deletionGracePeriodSeconds": 0, "finalizers": ["test/hold"]}


@pytest.mark.parametrize(
    "phase,metadata,expected",
    [
        ("Succeeded", HELD, True),
        ("Failed", HELD, True),
        ("Running", HELD, False),
        ("Succeeded", {}, False),
        ("Succeeded", {**HELD, "deletionGracePeriodSeconds": None}, False),
        ("Succeeded", {**HELD, "deletionGracePeriodSeconds": 30}, False),
        ("Succeeded", {**HELD, "finalizers": []}, False),
    ],
)
def test_pods_for_which_nothing_is_left_to_do(phase: str, metadata: dict[str, Any], expected: bool):
    assert held_by_finalizers(pod(phase=phase, **metadata)) == expected


@pytest.mark.parametrize(
    "pods,kept,expected",
    [
        ([("a", "Failed", {}), ("b", "Succeeded", {}), ("c", "Failed", {})], 1, ["a", "b"]),
        ([("a", "Running", {}), ("b", "Succeeded", {}), ("c", "Failed", {})], 1, ["b"]),
        ([("a", "Succeeded", HELD), ("b", "Failed", HELD)], 1, []),
        ([("a", "Succeeded", HELD), ("b", "Failed", HELD), ("c", "Succeeded", {})], 2, ["c"]),
        ([("a", "Succeeded", HELD), ("b", "Failed", HELD), ("c", "Failed", HELD), ("d", "Failed", {})], 1, ["d"]),
    ],
)
def test_others_go_in_place_of_those_that_are_held(pods: list[Any], kept: int, expected: list[str]):
    made = [
        pod(name, phase=phase, creationTimestamp=rfc3339(NOW + n), **metadata)
        for n, (name, phase, metadata) in enumerate(pods)
    ]
    assert [p["metadata"]["name"] for p in excess_finished(made, kept)] == expected


async def test_a_pod_that_is_held_is_not_deleted_at_every_sweep(house: House, client: Client, api: MemoryApi):
    """Of a node that is gone; its conditions of before stay, a pod that has ended keeps its phase."""
    clock = ManualClock()
    for name, phase in (("ran", "Running"), ("done", "Succeeded")):
        await client.create(PODS, pod(name, "gone", phase, finalizers=["test/hold"]))
    async with house.running(PodGCController, context=house.context(clock=clock)) as (controller,):

        async def sweep() -> int:
            before = len(api.writes())
            controller.queue.add("sweep")
            await house.settle([controller])
            return len(api.writes()) - before

        await house.settle([controller])
        clock.advance(41)
        assert await sweep() == 3
        found = {p["metadata"]["name"]: p["status"] for p in await items(client, PODS)}
        assert found["done"]["phase"] == "Succeeded" and len(found["done"]["conditions"]) == 1
        assert found["ran"]["phase"] == "Failed"
        conditions = {c["type"]: c for c in found["ran"]["conditions"]}
        assert set(conditions) == {"Ready", "DisruptionTarget"}
        assert conditions["DisruptionTarget"]["message"] == "PodGC: node no longer exists"
        for one in await items(client, PODS):  # this store in memory does not keep it
            await client.patch(
                PODS, one["metadata"]["name"], {"metadata": {"deletionGracePeriodSeconds": 0}}, "default"
            )
        await until(lambda: all(held_by_finalizers(p) for p in controller._pods.store))
        assert await sweep() == 0


async def test_a_node_that_the_cache_does_not_show_is_asked_for(house: House, client: Client):
    clock = ManualClock()
    controller = PodGCController(house.context(clock=clock))  # its informers do not run
    for name in ("late", "gone"):
        controller._pods.store.put(f"default/{name}", await client.create(PODS, pod(name, name)))
    await controller.reconcile("sweep")
    clock.advance(80)
    await client.create(NODES, node("late"))
    await controller.reconcile("sweep")
    assert [p["metadata"]["name"] for p in await items(client, PODS)] == ["late"]


# -- taint eviction ----------------------------------------------------------------------------------------


def bearing(*tolerations: dict[str, Any]) -> dict[str, Any]:
    one = pod(creationTimestamp=rfc3339(NOW - 1000))
    one["spec"]["tolerations"] = list(tolerations)
    return one


def tolerating(key: str, seconds: int | None = None) -> dict[str, Any]:
    out: dict[str, Any] = {"key": key, "operator": "Exists", "effect": "NoExecute"}
    return out if seconds is None else {**out, "tolerationSeconds": seconds}


@pytest.mark.parametrize(
    "keys_of_taints,tolerations,expected",
    [
        ([], [], None),
        (["a"], [], 0),
        (["a"], [tolerating("a")], None),
        (["a"], [tolerating("a", 100)], 100),
        (["a"], [tolerating("a", -5)], 0),
        (["a", "b"], [tolerating("a", 100)], 0),
        (["a", "b"], [tolerating("a", 100), tolerating("b", 50)], 50),
        (["a", "b"], [tolerating("a", 100), tolerating("b")], 100),
        (["a", "b"], [tolerating("a"), tolerating("b")], None),
        (["a"], [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}], 0),
        (["a"], [{"operator": "Exists"}], None),
    ],
)
def test_of_several_taints_the_first_to_run_out_decides(
    keys_of_taints: list[str], tolerations: list[dict[str, Any]], expected: int | None
):
    taints = [{"key": key, "effect": "NoExecute", "timeAdded": rfc3339(NOW)} for key in keys_of_taints]
    leave = leaves_at(taints, bearing(*tolerations), NOW)
    assert (leave if leave is None else leave - NOW) == expected


def test_a_pod_that_comes_later_has_its_whole_time():
    taint = {"key": "a", "effect": "NoExecute", "timeAdded": rfc3339(NOW - 500)}
    one = bearing(tolerating("a", 100))
    one["status"]["conditions"].append({"type": "PodScheduled", "lastTransitionTime": rfc3339(NOW)})
    assert leaves_at([taint], one, NOW) == NOW + 100


@pytest.mark.parametrize("status,reason", [(500, "InternalError"), (429, "TooManyRequests"), (409, "Conflict")])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_an_eviction_is_tried_until_it_works(
    house: House, client: Client, api: MemoryApi, method: str, status: int, reason: str
):
    await client.create(NODES, node(taints=[{"key": "a", "effect": "NoExecute"}]))
    await client.create(PODS, pod(finalizers=["test/hold"]))
    left = [ApiError(status, reason, "not now")] * 6

    def fault(asked: str, path: str) -> None:
        if asked == method and "/pods/" in path and left:
            raise left.pop()

    api.fault = fault
    async with house.running(TaintEvictionController):

        async def gone() -> bool:
            return bool((await client.get(PODS, "p", "default"))["metadata"].get("deletionTimestamp"))

        await until(gone, 10)
    found = await client.get(PODS, "p", "default")
    target = [c for c in found["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert [(c["status"], c["reason"]) for c in target] == [("True", "DeletionByTaintManager")]
    assert not left


async def test_an_eviction_that_failed_is_dropped_when_the_taint_goes(house: House, client: Client, api: MemoryApi):
    await client.create(NODES, node(taints=[{"key": "a", "effect": "NoExecute"}]))
    await client.create(PODS, pod())

    def fault(method: str, path: str) -> None:
        if method == "DELETE":
            raise ApiError(500, "InternalError", "not now")

    api.fault = fault
    async with house.running(TaintEvictionController) as (controller,):
        await until(lambda: ("DELETE", "/api/v1/namespaces/default/pods/p") in api.requests)
        await client.patch(NODES, "n1", {"spec": {"taints": None}})
        await until(lambda: not controller._nodes.store.get(None, "n1")["spec"].get("taints"))
        api.fault = None
        await house.settle([controller])
        assert len(await items(client, PODS)) == 1
