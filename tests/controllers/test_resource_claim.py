"""Claims made from templates, freed and deleted: on the real API server with RBAC, as the controller's own account."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.controllers.conftest import absent
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.gvr import EVENTS, PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES
from shirube.controllers.resource_claim import ANNOTATION, FINALIZER, PodClaim, done, generated, pod_claims

ONLY = "resourceclaim-controller"
REQUEST = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
SPEC = {"devices": {"requests": [REQUEST]}}


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house, house.controllers(only=ONLY):
        yield house


def pod(name="p", **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "x"}], **spec},
    }


def from_template(template="t"):
    return {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": template}]}


async def template(house, name="t"):
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": name}}
    spec = {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": SPEC}
    await house.admin.create(RESOURCECLAIMTEMPLATES, {**body, "spec": spec}, "default")


async def claims(house):
    return (await house.admin.list(RESOURCECLAIMS, "default"))["items"]


async def told(house, name="p"):
    """The claim that the pod's status names."""
    found = await house.admin.get(PODS, name, "default")
    statuses = found["status"].get("resourceClaimStatuses")
    return statuses[0]["resourceClaimName"] if statuses else None


async def held(house, name, *users, finalizers=(FINALIZER,)):
    """A claim that is allocated and reserved for these."""
    metadata = {"name": name, "finalizers": list(finalizers)}
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": metadata, "spec": SPEC}
    await house.admin.create(RESOURCECLAIMS, body, "default")
    await occupy(house, name, *users)


async def occupy(house, name, *users):
    result = {"request": "gpu", "driver": "gpu.example.com", "pool": "n", "device": "gpu-0"}
    reserved = [{"resource": "pods", "name": n, "uid": uid} for n, uid in users]
    status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved}
    await house.admin.patch(RESOURCECLAIMS, name, {"status": status}, "default", subresource="status")


async def status_of(house, name):
    return (await house.admin.get(RESOURCECLAIMS, name, "default")).get("status") or {}


async def gone(house, name):
    return await absent(house.admin, RESOURCECLAIMS, name, "default")


async def test_a_claim_is_made_from_a_template_and_told_and_goes_with_its_pod(house):
    await template(house)
    made = await house.admin.create(PODS, pod(**from_template()))
    name = await until(lambda: told(house))
    (claim,) = await claims(house)
    metadata = claim["metadata"]
    assert metadata["name"] == name
    assert name.startswith("p-gpu-")
    assert (metadata["labels"], metadata["annotations"]) == ({"a": "b"}, {"c": "d", ANNOTATION: "gpu"})
    owner = metadata["ownerReferences"][0]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Pod", made["metadata"]["uid"], True)
    assert claim["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] == "gpu"
    finished = {"status": {"phase": "Succeeded"}}
    await house.admin.patch(PODS, "p", finished, "default", subresource="status")
    await until(lambda: gone(house, name))


async def test_a_template_that_comes_late(house):
    await house.admin.create(PODS, pod(**from_template()))

    async def complained():
        events = (await house.admin.list(EVENTS, "default"))["items"]
        return [e["message"] for e in events if e["reason"] == "FailedResourceClaimCreation"]

    notes = await until(complained)
    assert notes == ['PodResourceClaim gpu: resource claim template "t" not found']
    await template(house)
    assert await until(lambda: told(house))


async def test_a_claim_deleted_by_accident_is_made_again(house):
    await template(house)
    await house.admin.create(PODS, pod(**from_template()))
    first = await until(lambda: told(house))
    await house.admin.delete(RESOURCECLAIMS, first, "default")

    async def another():
        name = await told(house)
        return name if name != first else None

    second = await until(another)
    assert [c["metadata"]["name"] for c in await claims(house)] == [second]


async def test_devices_go_back_with_the_last_user(house):
    user = await house.admin.create(PODS, pod("user"))
    await held(house, "one", ("gone", "uid-gone"), ("user", user["metadata"]["uid"]))

    async def users():
        return [u["name"] for u in (await status_of(house, "one")).get("reservedFor", [])] == ["user"]

    await until(users)
    assert (await status_of(house, "one"))["allocation"]
    await house.admin.delete(PODS, "user", "default", grace_period_seconds=0)

    async def free():
        found = await house.admin.get(RESOURCECLAIMS, "one", "default")
        return not found.get("status", {}).get("allocation") and not found["metadata"].get("finalizers")

    await until(free)
    assert not (await status_of(house, "one")).get("reservedFor")


async def test_a_pod_of_the_same_name_is_another(house):
    await house.admin.create(PODS, pod("user"))
    await held(house, "one", ("user", "uid-of-the-former"))

    async def free():
        return "allocation" not in await status_of(house, "one")

    await until(free)


async def test_a_deleted_claim_is_let_go_when_it_is_not_used(house):
    user = await house.admin.create(PODS, pod("user"))
    await held(house, "one", ("user", user["metadata"]["uid"]))
    await house.admin.delete(RESOURCECLAIMS, "one", "default")
    assert not await gone(house, "one")
    await house.admin.delete(PODS, "user", "default", grace_period_seconds=0)
    await until(lambda: gone(house, "one"))


async def test_an_allocated_claim_is_reserved_for_a_pod_that_is_on_a_node_already(house):
    await held(house, "one")
    body = pod("bound", nodeName="n", resourceClaims=[{"name": "gpu", "resourceClaimName": "one"}])
    made = await house.admin.create(PODS, body)

    async def reserved():
        return (await status_of(house, "one")).get("reservedFor")

    assert await until(reserved) == [{"resource": "pods", "name": "bound", "uid": made["metadata"]["uid"]}]


def test_names_are_short_enough_and_of_both():
    owner = pod("p" * 60)
    owner["metadata"]["uid"] = "u"
    made = generated(owner, PodClaim("c" * 60, "t", "", True), {"spec": {"spec": SPEC}})
    base = made["metadata"]["generateName"]
    assert len(base) <= 57
    assert base.count("p") == base.count("c")


def test_what_a_pod_says_of_its_claims():
    body = pod(resourceClaims=[
        {"name": "a", "resourceClaimName": "one"},
        {"name": "b", "resourceClaimTemplateName": "t"},
        {"name": "c", "resourceClaimTemplateName": "t"},
    ])  # fmt: skip
    body["status"] = {"resourceClaimStatuses": [{"name": "c"}]}
    assert [(c.claim, c.needed) for c in pod_claims(body)] == [("one", True), ("", True), ("", False)]


def test_done_means_that_nothing_runs_or_will():
    waiting = pod()
    leaving = {**waiting, "metadata": {**waiting["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert done(leaving)
    assert not done({**leaving, "spec": {**leaving["spec"], "nodeName": "n"}})
    assert done({**waiting, "status": {"phase": "Failed"}})
    assert not done(waiting)
