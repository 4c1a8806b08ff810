from __future__ import annotations

from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items
from tests.controllers.test_replica_set import pod, replica_set
from tests.waiting import until

from shirube.api import errors
from shirube.api.gvr import PODS, REPLICASETS
from shirube.api.selectors import LabelSelector, label_selector_from
from shirube.client.rest import Client
from shirube.controllers.ownership import Claimer, plan_claims
from shirube.controllers.replica_set import ReplicaSetController

MINE = {"app": "rs"}


def selector() -> LabelSelector:
    return label_selector_from({"matchLabels": MINE})


def owned_by(uid: str, name: str = "rs") -> list[dict[str, Any]]:
    return [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid, "controller": True}]


def names(pods: list[dict[str, Any]]) -> list[str]:
    return sorted(p["metadata"]["name"] for p in pods)


async def claim(client: Client, owner: dict[str, Any]) -> list[dict[str, Any]]:
    claimer = Claimer(client, REPLICASETS, "ReplicaSet", PODS)
    return await claimer.claim(owner, await items(client, PODS), selector())


@pytest.mark.parametrize("going", [False, True], ids=["alive", "being deleted"])
def test_what_is_claimed_and_let_go(going: bool):
    owner = {"metadata": {"name": "rs", "namespace": "default", "uid": "u"}}
    if going:
        owner["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    pods = [
        pod("own", MINE, ownerReferences=owned_by("u")),
        pod("own-leaving", MINE, ownerReferences=owned_by("u"), **leaving),
        pod("own-changed", {"app": "x"}, ownerReferences=owned_by("u")),
        pod("orphan", MINE),
        pod("orphan-leaving", MINE, **leaving),
        pod("stranger", {"app": "x"}),
        pod("elsewhere", MINE, ownerReferences=owned_by("v", "other")),
        pod("of-no-controller", MINE, ownerReferences=[{**owned_by("v", "other")[0], "controller": False}]),
    ]
    claims = plan_claims(owner, pods, selector())
    assert names(claims.owned) == ["own", "own-leaving"]
    assert names(claims.release) == ([] if going else ["own-changed"])
    assert names(claims.adopt) == ([] if going else ["of-no-controller", "orphan"])
    by_name = plan_claims(owner, pods, selector(), lambda p: p["metadata"]["name"] != "own")
    assert "own" not in names(by_name.owned) and ("own" in names(by_name.release)) is not going


async def test_an_owner_on_its_way_out_claims_nothing_and_goes_no_further(client: Client, api: MemoryApi):
    """Its pods were let go on purpose: those it would make in their place nobody asked for."""
    stale = await client.create(REPLICASETS, replica_set())
    await client.create(PODS, pod("orphan", MINE))
    await client.delete(REPLICASETS, "rs", "default", propagation_policy="Orphan")
    with pytest.raises(errors.ApiError, match="cannot adopt") as told:
        await claim(client, stale)
    assert told.value.code == 409
    assert not [w for w in api.writes() if w[0] == "PATCH"]


async def test_one_that_cannot_be_claimed_does_not_hold_the_others(client: Client, api: MemoryApi):
    owner = await client.create(REPLICASETS, replica_set())
    uid = owner["metadata"]["uid"]
    for name in ("kept-a", "b"):
        await client.create(PODS, pod(name, {"app": "x"}, ownerReferences=owned_by(uid)))
    for name in ("kept-c", "d"):
        await client.create(PODS, pod(name, MINE))

    def fault(method: str, path: str) -> None:
        if method == "PATCH" and "kept" in path:
            raise errors.forbidden("pods", path.rpartition("/")[2], "a webhook says no")

    api.fault = fault
    with pytest.raises(errors.ApiError, match="a webhook says no"):
        await claim(client, owner)
    controllers = {p["metadata"]["name"]: bool(p["metadata"].get("ownerReferences")) for p in await items(client, PODS)}
    assert controllers == {"kept-a": True, "b": False, "kept-c": False, "d": True}


async def test_pods_of_other_namespaces_are_nobodys(house: House, client: Client, api: MemoryApi):
    owner = await client.create(REPLICASETS, replica_set())
    foreign = pod("foreign", MINE, ownerReferences=owned_by(owner["metadata"]["uid"]))
    foreign["metadata"]["namespace"] = "other"
    await client.create(PODS, foreign)
    async with house.running(ReplicaSetController) as controllers:

        async def made() -> bool:
            return len(await items(client, PODS)) == 2

        await until(made)
        await house.settle(controllers)
        status = (await client.get(REPLICASETS, "rs", "default"))["status"]
    assert status["replicas"] == 2
    assert not [w for w in api.writes() if "namespaces/other" in w[1] and w[0] != "POST"], "neither let go nor deleted"


async def test_pods_of_a_former_owner_are_not_what_was_expected(house: House, client: Client):
    """A pod that names ours and means another must not make us think that our own has come."""
    await client.create(REPLICASETS, replica_set(0))
    async with house.running(ReplicaSetController) as (controller,):
        assert isinstance(controller, ReplicaSetController)
        controller._expectations.expect_creations("default/rs", 1)
        await client.create(PODS, pod("former", MINE, ownerReferences=owned_by("former")))
        await until(lambda: controller._pods.store.get("default", "former"))
        await house.settle([controller])
        assert not controller._expectations.satisfied("default/rs")
