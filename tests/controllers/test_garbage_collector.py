from __future__ import annotations

from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, EVENTS, GVR, NODES, PODS, SECRETS
from shirube.client.rest import Client
from shirube.controllers.garbage_collector import GarbageCollector

SERVED = [(CONFIGMAPS, "ConfigMap", True), (SECRETS, "Secret", True), (PODS, "Pod", True), (NODES, "Node", False)]


@pytest.fixture
def api() -> MemoryApi:
    api = MemoryApi()
    api.served = list(SERVED)
    return api


def reference(owner: dict[str, Any], *, block: bool = False, **changes: Any) -> dict[str, Any]:
    metadata = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "blockOwnerDeletion": block,
        **changes,
    }


async def make(
    client: Client,
    name: str,
    *owners: dict[str, Any],
    gvr: GVR = CONFIGMAPS,
    namespace: str = "default",
    **metadata: Any,
) -> dict[str, Any]:
    obj = {"metadata": {"name": name, "namespace": namespace, "ownerReferences": list(owners), **metadata}}
    return await client.create(gvr, obj)


async def exists(client: Client, name: str, gvr: GVR = CONFIGMAPS, namespace: str = "default") -> bool:
    try:
        await client.get(gvr, name, namespace)
    except ApiError as error:
        assert error.code == 404
        return False
    return True


async def gone(client: Client, name: str, gvr: GVR = CONFIGMAPS) -> None:
    async def check() -> bool:
        return not await exists(client, name, gvr)

    await until(check, what=f"{name} gone")


async def deleting(client: Client, name: str) -> None:
    async def check() -> bool:
        return bool((await client.get(CONFIGMAPS, name, "default"))["metadata"].get("deletionTimestamp"))

    await until(check, what=f"{name} on its way out")


async def test_dependents_go_with_their_owner_down_the_line(house: House, client: Client):
    owner = await make(client, "owner")
    child = await make(client, "child", reference(owner), gvr=SECRETS)
    await make(client, "grandchild", reference(child), gvr=PODS)
    await make(client, "stranger")
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        assert await exists(client, "grandchild", PODS)
        await client.delete(CONFIGMAPS, "owner", "default", propagation_policy="Background")
        await gone(client, "grandchild", PODS)
        assert not await exists(client, "child", SECRETS)
        assert await exists(client, "stranger")


async def test_what_lost_its_owner_while_nobody_looked_goes(house: House, client: Client):
    owner = await make(client, "owner")
    await make(client, "child", reference(owner))
    await client.delete(CONFIGMAPS, "owner", "default")
    async with house.running(GarbageCollector):
        await gone(client, "child")


async def test_a_new_owner_of_the_old_name_is_not_the_owner(house: House, client: Client):
    owner = await make(client, "owner")
    await make(client, "child", reference(owner))
    await client.delete(CONFIGMAPS, "owner", "default")
    await make(client, "owner")
    async with house.running(GarbageCollector):
        await gone(client, "child")
        assert await exists(client, "owner")


async def test_one_of_two_owners_gone_takes_only_its_reference(house: House, client: Client):
    one, two = await make(client, "one"), await make(client, "two")
    await make(client, "child", reference(one), reference(two))
    async with house.running(GarbageCollector) as controllers:
        await client.delete(CONFIGMAPS, "one", "default")

        async def taken_off() -> bool:
            child = await client.get(CONFIGMAPS, "child", "default")
            return [o["name"] for o in child["metadata"]["ownerReferences"]] == ["two"]

        await until(taken_off)
        await house.settle(controllers)
        assert await exists(client, "child")


@pytest.mark.parametrize("successor", [False, True])
async def test_foreground_deletion_waits_for_what_blocks(house: House, client: Client, successor: bool):
    """Also when another collector takes over meanwhile."""
    owner = await make(client, "owner")
    await make(client, "child", reference(owner, block=True), finalizers=["test/hold"])
    free = {"metadata": {"finalizers": None}}
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        await client.delete(CONFIGMAPS, "owner", "default", propagation_policy="Foreground")
        await deleting(client, "child")
        await house.settle(controllers)
        assert await exists(client, "owner"), "the child is still there"
        if not successor:
            await client.patch(CONFIGMAPS, "child", free, "default")
            await gone(client, "owner")
            return
    await client.patch(CONFIGMAPS, "child", free, "default")
    assert await exists(client, "owner")
    async with house.running(GarbageCollector):
        await gone(client, "owner")


async def test_what_does_not_block_holds_nobody_back(house: House, client: Client):
    owner = await make(client, "owner")
    await make(client, "blocks", reference(owner, block=True))
    await make(client, "stays", reference(owner), finalizers=["test/hold"])
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        await client.delete(CONFIGMAPS, "owner", "default", propagation_policy="Foreground")
        await gone(client, "owner")
        assert not await exists(client, "blocks")
        await deleting(client, "stays")


@pytest.mark.parametrize("both_at_once", [False, True])
async def test_an_owner_that_stays_saves_the_dependent(house: House, client: Client, both_at_once: bool):
    """The one that goes does not wait for it, and is not mentioned any more. When both go, it goes."""
    going, solid = await make(client, "going"), await make(client, "solid")
    await make(client, "child", reference(going, block=True), reference(solid, block=True))
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        await client.delete(CONFIGMAPS, "going", "default", propagation_policy="Foreground")
        if both_at_once:
            await client.delete(CONFIGMAPS, "solid", "default", propagation_policy="Foreground")
        await gone(client, "going")
        await house.settle(controllers)
        if both_at_once:
            await gone(client, "child")
            await gone(client, "solid")
            return
        child = await client.get(CONFIGMAPS, "child", "default")
        assert [o["name"] for o in child["metadata"]["ownerReferences"]] == ["solid"]
        assert not child["metadata"].get("deletionTimestamp")


async def test_deleted_twice_and_held_by_somebody_else(house: House, client: Client):
    """The collector takes its own finalizer off; the second deletion does not put it on again."""
    await make(client, "a", finalizers=["test/hold"])
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        for _ in range(2):
            await client.delete(CONFIGMAPS, "a", "default", propagation_policy="Foreground")

            async def held_by_one() -> bool:
                found = (await client.get(CONFIGMAPS, "a", "default"))["metadata"]
                return bool(found.get("deletionTimestamp")) and found["finalizers"] == ["test/hold"]

            await until(held_by_one)
            await house.settle(controllers)
        await client.patch(CONFIGMAPS, "a", {"metadata": {"finalizers": None}}, "default")
        await gone(client, "a")


async def test_many_orphans_and_children_at_once(house: House, client: Client):
    """Some owners go with their children, some leave them, some children lose their owner by other hands."""
    policies = ("Background", "Foreground", "Orphan")
    for n in range(12):
        owner = await make(client, f"owner{n}")
        for m in range(4):
            await make(client, f"child{n}-{m}", reference(owner, block=m % 2 == 0), gvr=SECRETS)
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        for n in range(12):
            await client.delete(CONFIGMAPS, f"owner{n}", "default", propagation_policy=policies[n % 3])
            await client.delete(SECRETS, f"child{n}-3", "default")

        async def left() -> bool:
            owners = (await client.list(CONFIGMAPS, "default"))["items"]
            children = (await client.list(SECRETS, "default"))["items"]
            names = {c["metadata"]["name"] for c in children}
            free = all(not c["metadata"].get("ownerReferences") for c in children)
            return not owners and free and names == {f"child{n}-{m}" for n in (2, 5, 8, 11) for m in range(3)}

        await until(left, 10)


async def test_orphans_stay_without_their_owner(house: House, client: Client):
    owner = await make(client, "owner")
    for n in range(3):
        await make(client, f"child{n}", reference(owner))
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        await client.delete(CONFIGMAPS, "owner", "default", propagation_policy="Orphan")
        await gone(client, "owner")
        await house.settle(controllers)
        for n in range(3):
            child = await client.get(CONFIGMAPS, f"child{n}", "default")
            assert not child["metadata"].get("ownerReferences")


async def test_a_circle_goes_in_the_foreground(house: House, client: Client):
    a = await make(client, "a")
    b = await make(client, "b", reference(a, block=True))
    c = await make(client, "c", reference(b, block=True))
    patch = {"metadata": {"ownerReferences": [reference(c, block=True)]}}
    await client.patch(CONFIGMAPS, "a", patch, "default")
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        await client.delete(CONFIGMAPS, "a", "default", propagation_policy="Foreground")
        for name in "abc":
            await gone(client, name)


async def test_owners_across_namespaces_do_not_count(house: House, client: Client):
    owner = await make(client, "owner", namespace="other")
    await make(client, "child", reference(owner))
    async with house.running(GarbageCollector):
        await gone(client, "child")
        assert await exists(client, "owner", namespace="other")


async def test_an_owner_in_another_namespace_is_told_about(house: House, client: Client):
    owner = await make(client, "owner", namespace="other")
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        child = await make(client, "child", reference(owner))
        await gone(client, "child")

        async def told() -> Any:
            return (await client.list(EVENTS, "default"))["items"]

        (event,) = await until(told)
        uid = owner["metadata"]["uid"]
        assert (event["type"], event["reason"]) == ("Warning", "OwnerRefInvalidNamespace")
        assert event["involvedObject"]["uid"] == child["metadata"]["uid"]
        assert event["message"] == (
            f"ownerRef [v1/ConfigMap, namespace: default, name: owner, uid: {uid}] "
            'does not exist in namespace "default"'
        )


@pytest.mark.parametrize("owner_is", ["seen", "gone", "never there"])
async def test_what_is_in_no_namespace_is_not_collected_for_an_owner_in_one(
    house: House, client: Client, owner_is: str
):
    owner = await make(client, "owner")
    if owner_is == "never there":
        owner["metadata"]["uid"] = "none"
    metadata = {"name": "n1", "ownerReferences": [reference(owner)]}
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        await client.create(NODES, {"metadata": metadata, "spec": {}})
        await house.settle(controllers)
        if owner_is == "gone":
            await client.delete(CONFIGMAPS, "owner", "default")
            await house.settle(controllers)
        assert await exists(client, "n1", NODES, "")


async def test_a_cluster_scoped_owner_may_own_anywhere(house: House, client: Client):
    node = await client.create(NODES, {"metadata": {"name": "n1"}, "spec": {}})
    await make(client, "child", reference(node))
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        assert await exists(client, "child")
        await client.delete(NODES, "n1")
        await gone(client, "child")


async def test_two_collectors_at_once_are_harmless(house: House, client: Client):
    owner = await make(client, "owner")
    keeper = await make(client, "keeper")
    for n in range(20):
        await make(client, f"child{n}", reference(owner))
        await make(client, f"kept{n}", reference(keeper))
    async with house.running(GarbageCollector), house.running(GarbageCollector):
        await client.delete(CONFIGMAPS, "owner", "default", propagation_policy="Foreground")
        for n in range(20):
            await gone(client, f"child{n}")
            assert await exists(client, f"kept{n}")
