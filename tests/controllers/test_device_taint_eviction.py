"""Pods leave tainted devices: when, and with what words."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import EVENTS, NAMESPACES, PODS, RESOURCECLAIMS, RESOURCESLICES
from shirube.controllers.context import Context
from shirube.controllers.device_taint_eviction import DeviceTaintEvictionController, deadline

DRIVER = "gpu.example.com"
THEN = "2026-01-01T00:00:00Z"
SINCE = 1767225600.0
TAINT = {"key": "broken", "value": "yes", "effect": "NoExecute", "timeAdded": THEN}


@pytest.mark.parametrize(
    ("taints", "tolerations", "leave"),
    [
        ([], [], None),
        ([TAINT], [], SINCE),
        ([{**TAINT, "effect": "NoSchedule"}], [], None),
        ([TAINT], [{"operator": "Exists"}], None),
        ([TAINT], [{"key": "broken", "operator": "Equal", "value": "no"}], SINCE),
        ([TAINT], [{"key": "broken", "operator": "Exists", "tolerationSeconds": 60}], SINCE + 60),
        ([TAINT], [{"operator": "Exists", "tolerationSeconds": 60}, {"operator": "Exists"}], None),
        ([TAINT, {**TAINT, "key": "other"}], [{"key": "broken", "operator": "Exists", "tolerationSeconds": 9}], SINCE),
        ([{**TAINT, "timeAdded": None}], [{"operator": "Exists", "tolerationSeconds": -1}], 7.0),
    ],
)
def test_when_a_pod_has_to_go(taints, tolerations, leave):
    assert deadline(taints, tolerations, 7.0) == leave


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house, house.controllers(only="device-taint-eviction-controller"):
        yield house


async def slice_with(house, *taints):
    pool = {"name": "n", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": "n", "pool": pool, "devices": [{"name": "gpu-0", "taints": list(taints)}]}
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s"}, "spec": spec}
    return await house.admin.create(RESOURCESLICES, body)


async def user(house, name, node="n", **more):
    """A pod on a node, with a claim to the device."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "finalizers": ["example.com/held"]},
        "spec": {"containers": [{"name": "c", "image": "x"}], **({"nodeName": node} if node else {})},
    }
    made = await house.admin.create(PODS, body)
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
    claim = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name}}
    await house.admin.create(RESOURCECLAIMS, {**claim, "spec": {"devices": {"requests": [request]}}}, "default")
    result = {"request": "gpu", "driver": DRIVER, "pool": "n", "device": "gpu-0", **more}
    reserved = [{"resource": "pods", "name": name, "uid": made["metadata"]["uid"]}]
    status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved}
    await house.admin.patch(RESOURCECLAIMS, name, {"status": status}, "default", subresource="status")


async def leaving(house, name):
    try:
        found = await house.admin.get(PODS, name, "default")
    except ApiError as error:
        assert error.code == 404
        return None
    return found if found["metadata"].get("deletionTimestamp") else None


async def test_a_taint_that_comes_evicts_who_does_not_tolerate_it(house):
    made = await slice_with(house)
    await user(house, "plain")
    await user(house, "brave", tolerations=[{"operator": "Exists", "effect": "NoExecute"}])
    made["spec"]["devices"][0]["taints"] = [TAINT]
    await house.admin.update(RESOURCESLICES, made)
    found = await until(lambda: leaving(house, "plain"))
    target = next(c for c in found["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "DeletionByDeviceTaintManager")
    assert target["message"] == "Device Taint manager: deleting due to NoExecute taint"

    async def said():
        events = (await house.admin.list(EVENTS, "default"))["items"]
        return [e["message"] for e in events if e["reason"] == "DeviceTaintManagerEviction"]

    assert await until(said) == ["Marking for deletion"]
    assert not await leaving(house, "brave")


async def test_a_claim_to_a_device_that_is_tainted_already(house):
    await slice_with(house, {"key": "broken", "effect": "NoExecute"})
    await user(house, "late")
    await until(lambda: leaving(house, "late"))


async def messages(house, name):
    events = (await house.admin.list(EVENTS, "default"))["items"]
    return [e["message"] for e in events if e["involvedObject"]["name"] == name]


async def test_a_pod_without_a_node_stays_until_it_has_one(house):
    """It may still find another device: its claim is reserved before it is bound."""
    await slice_with(house, TAINT)
    await user(house, "early", node=None)
    await user(house, "bound")
    await until(lambda: leaving(house, "bound"))
    assert not await leaving(house, "early")
    target = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "early"}, "target": {"name": "n"}}
    await house.admin.create(PODS, target, "default", "binding", "early")
    await until(lambda: leaving(house, "early"))


async def test_a_taint_that_goes_in_time_is_told(house):
    made = await slice_with(house, {"key": "broken", "effect": "NoExecute"})
    patient = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3600}
    await user(house, "patient", tolerations=[patient])
    await user(house, "hasty")
    await until(lambda: leaving(house, "hasty"))
    made["spec"]["devices"][0]["taints"] = []
    await house.admin.update(RESOURCESLICES, made)
    assert await until(lambda: messages(house, "patient")) == ["Cancelling deletion"]
    assert not await leaving(house, "patient")


@pytest.mark.parametrize("effect", ["NoSchedule", "None"])
async def test_other_effects_and_devices_of_outdated_slices_evict_nobody(house, effect):
    made = await slice_with(house, {"key": "broken", "effect": effect})
    await user(house, "calm")
    outdated = {**made, "metadata": {"name": "older"}, "spec": {**made["spec"]}}
    outdated["spec"]["pool"] = {**made["spec"]["pool"], "generation": 0}
    outdated["spec"]["devices"] = [{"name": "gpu-0", "taints": [TAINT]}]
    await house.admin.create(RESOURCESLICES, outdated)
    made["spec"]["devices"].append({"name": "gpu-1", "taints": [TAINT]})
    await house.admin.update(RESOURCESLICES, made)
    await user(house, "other", device="gpu-1")
    await until(lambda: leaving(house, "other"))
    assert not await leaving(house, "calm")


async def test_a_claim_that_is_no_longer_reserved_keeps_nobody_waiting(house):
    await slice_with(house, {"key": "broken", "effect": "NoExecute"})
    patient = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3600}
    await user(house, "patient", tolerations=[patient])
    await user(house, "hasty")
    await until(lambda: leaving(house, "hasty"))
    await house.admin.patch(RESOURCECLAIMS, "patient", {"status": {"reservedFor": []}}, "default", subresource="status")
    assert await until(lambda: messages(house, "patient")) == ["Cancelling deletion"]


class Evictions:
    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def patch(self, gvr: Any, name: str, *_: Any, **__: Any) -> None:
        pass

    async def delete(self, gvr: Any, name: str, *_: Any, **__: Any) -> None:
        self.deleted.append(name)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_in_whatever_order_things_are_heard_of(order):
    """Slices, claims and pods are followed each by itself."""
    client = Evictions()
    context = Context(client, lambda _: client)  # type: ignore[arg-type, return-value]
    controller = DeviceTaintEvictionController(context)
    pool = {"name": "n", "generation": 1, "resourceSliceCount": 1}
    devices = [{"name": "gpu-0", "taints": [TAINT]}]
    result = {"request": "gpu", "driver": DRIVER, "pool": "n", "device": "gpu-0"}
    reserved = [{"resource": "pods", "name": "p", "uid": "u"}]
    told = [
        (RESOURCESLICES, {"metadata": {"name": "s"}, "spec": {"driver": DRIVER, "pool": pool, "devices": devices}}),
        (
            RESOURCECLAIMS,
            {
                "metadata": {"name": "c", "namespace": "default", "uid": "c"},
                "status": {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved},
            },
        ),
        (
            PODS,
            {
                "metadata": {"name": "p", "namespace": "default", "uid": "u"},
                "spec": {"nodeName": "n", "containers": []},
            },
        ),
    ]
    for number in order:
        gvr, obj = told[number]
        obj["metadata"]["resourceVersion"] = "1"
        context.informer(gvr)._event("ADDED", obj)
        while not controller.queue.idle:
            key = await controller.queue.get()
            await controller.process(key)
            controller.queue.done(key)
    await context.close(0.0)
    assert client.deleted == ["p"]


async def test_nobody_evicts_pods_of_another_namespace(house):
    """By a claim of his own that says that it is reserved for one."""
    await slice_with(house, TAINT)
    body = {"metadata": {"name": "victim"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "x"}]}}
    victim = await house.admin.create(PODS, body, "default")
    await house.admin.create(NAMESPACES, {"metadata": {"name": "other"}})
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
    claim = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}}
    await house.admin.create(RESOURCECLAIMS, claim, "other")
    result = {"request": "gpu", "driver": DRIVER, "pool": "n", "device": "gpu-0"}
    reserved = [{"resource": "pods", "name": "victim", "uid": victim["metadata"]["uid"]}]
    status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved}
    await house.admin.patch(RESOURCECLAIMS, "c", {"status": status}, "other", subresource="status")
    await user(house, "own")
    await until(lambda: leaving(house, "own"))
    assert await house.admin.get(PODS, "victim", "default")
    assert not await leaving(house, "victim")
