"""Claims of pods as a controller may find them: half made, of others, in use by whom it does not know."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES
from shirube.client.rest import Client
from shirube.controllers.resource_claim import ANNOTATION, FINALIZER, ResourceClaimController

SPEC = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}


async def pod(client: Client, name: str = "p", **status: Any) -> dict[str, Any]:
    spec = {"containers": [], "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]}
    made = await client.create(PODS, {"metadata": {"name": name}, "spec": spec}, "default")
    if status:
        made = await client.patch(PODS, name, {"status": status}, "default", subresource="status")
    return made


def owned(by: dict[str, Any], name: str = "made", **metadata: Any) -> dict[str, Any]:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": by["metadata"]["name"], "uid": by["metadata"]["uid"]}
    described = {"name": name, "annotations": {ANNOTATION: "gpu"}, "ownerReferences": [{**owner, "controller": True}]}
    return {"metadata": {**described, **metadata}, "spec": SPEC}


async def template(client: Client) -> None:
    await client.create(RESOURCECLAIMTEMPLATES, {"metadata": {"name": "t"}, "spec": {"spec": SPEC}}, "default")


async def names(client: Client, namespace: str = "default") -> list[str]:
    return sorted(c["metadata"]["name"] for c in (await client.list(RESOURCECLAIMS, namespace))["items"])


async def told(client: Client, name: str = "p") -> list[Any]:
    status = (await client.get(PODS, name, "default")).get("status") or {}
    return [s.get("resourceClaimName") for s in status.get("resourceClaimStatuses") or ()]


def creations(api: MemoryApi) -> int:
    return sum(1 for method, path in api.requests if method == "POST" and path.endswith("/resourceclaims"))


async def test_one_that_was_made_but_not_told_is_found(house: House, client: Client, api: MemoryApi):
    """Its maker died in between: there is not another."""
    await template(client)
    await client.create(RESOURCECLAIMS, owned(await pod(client)), "default")
    before = creations(api)
    async with house.running(ResourceClaimController) as controllers:
        await house.settle(controllers)
    assert (await told(client), creations(api) - before) == (["made"], 0)


@pytest.mark.parametrize("what", ["deleted", "elsewhere", "of another name", "of another pod"])
async def test_what_is_not_the_pods_is_not_taken_for_its_own(house: House, client: Client, what: str):
    await template(client)
    made = await pod(client)
    if what == "deleted":
        await client.create(RESOURCECLAIMS, owned(made, finalizers=["example.com/held"]), "default")
        await client.delete(RESOURCECLAIMS, "made", "default")
    elif what == "elsewhere":
        await client.create(RESOURCECLAIMS, owned(made), "other")
    elif what == "of another name":
        await client.create(RESOURCECLAIMS, owned(made, annotations={ANNOTATION: "nic"}), "default")
    else:
        await client.create(RESOURCECLAIMS, owned(await pod(client, "q")), "default")
    async with house.running(ResourceClaimController) as controllers:
        await house.settle(controllers)
    (name,) = await told(client)
    assert name not in ("made", None) and name in await names(client)


@pytest.mark.parametrize("status", [{"phase": "Succeeded"}, {"resourceClaimStatuses": [{"name": "gpu"}]}])
async def test_who_needs_none_gets_none(house: House, client: Client, status: dict[str, Any]):
    await template(client)
    await pod(client, **status)
    async with house.running(ResourceClaimController) as controllers:
        await house.settle(controllers)
    assert await names(client) == []


async def test_one_that_cannot_be_made_is_tried_again(house: House, client: Client, api: MemoryApi):
    await template(client)
    await pod(client)
    failures = 2

    def fault(method: str, path: str) -> None:
        nonlocal failures
        if method == "POST" and path.endswith("/resourceclaims") and failures:
            failures -= 1
            raise ApiError(409, "Conflict", "not now")

    api.fault = fault
    async with house.running(ResourceClaimController):
        await until(lambda: told(client), 10)
    assert (failures, len(await names(client))) == (0, 1)


async def allocated(client: Client, claim: dict[str, Any], *users: tuple[str, str]) -> None:
    await client.create(
        RESOURCECLAIMS, {**claim, "metadata": {**claim["metadata"], "finalizers": [FINALIZER]}}, "default"
    )
    result = {"request": "gpu", "driver": "d", "pool": "n", "device": "gpu-0"}
    reserved = [{"resource": "pods", "name": name, "uid": uid} for name, uid in users]
    status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved}
    await client.patch(RESOURCECLAIMS, claim["metadata"]["name"], {"status": status}, "default", subresource="status")


async def status_of(client: Client, name: str) -> dict[str, Any]:
    return (await client.get(RESOURCECLAIMS, name, "default")).get("status") or {}


async def test_a_pod_that_only_the_server_knows_keeps_its_devices(house: House, client: Client):
    made = await pod(client)
    await allocated(client, owned(made), ("p", made["metadata"]["uid"]))
    controller = ResourceClaimController(house.context())
    claim = await client.get(RESOURCECLAIMS, "made", "default")
    controller._claims._event("ADDED", claim)  # of pods it has heard nothing
    await controller.reconcile("claim:default/made")
    assert await status_of(client, "made") == claim["status"]


async def test_others_than_pods_keep_their_devices(house: House, client: Client):
    """This controller knows nothing of them."""
    reserved = [{"apiGroup": "x.io", "resource": "workloads", "name": "w", "uid": "u"}]
    await allocated(client, {"metadata": {"name": "shared"}, "spec": SPEC})
    await client.patch(RESOURCECLAIMS, "shared", {"status": {"reservedFor": reserved}}, "default", subresource="status")
    async with house.running(ResourceClaimController) as controllers:
        await house.settle(controllers)
    found = await status_of(client, "shared")
    assert found["reservedFor"] == reserved and found["allocation"]


async def test_what_was_allocated_early_waits_for_its_first_user(house: House, client: Client):
    await allocated(client, {"metadata": {"name": "early"}, "spec": SPEC})
    async with house.running(ResourceClaimController) as controllers:
        await house.settle(controllers)
        assert (await status_of(client, "early"))["allocation"]
        await client.delete(RESOURCECLAIMS, "early", "default")
        await house.settle(controllers)
    assert await names(client) == []


async def test_a_pod_that_is_done_leaves_nothing(house: House, client: Client):
    made = await pod(client, phase="Failed")
    await allocated(client, owned(made), ("p", made["metadata"]["uid"]))
    async with house.running(ResourceClaimController) as controllers:
        await house.settle(controllers)
    assert await names(client) == []
