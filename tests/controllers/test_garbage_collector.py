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


@pytest.fixture
def api() -> MemoryApi:
    api = MemoryApi()
    api.served = [
        (CONFIGMAPS, "ConfigMap", True),
        (SECRETS, "Secret", True),
        (PODS, "Pod", True),
        (NODES, "Node", False),
    ]
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


async def test_foreground_deletion_waits_for_what_blocks(house: House, client: Client):
    owner = await make(client, "owner")
    await make(client, "child", reference(owner, block=True), finalizers=["test/hold"])
    async with house.running(GarbageCollector) as controllers:
        await house.settle(controllers)
        await client.delete(CONFIGMAPS, "owner", "default", propagation_policy="Foreground")

        async def child_deleting() -> bool:
            child = await client.get(CONFIGMAPS, "child", "default")
            return bool(child["metadata"].get("deletionTimestamp"))

        await until(child_deleting)
        await house.settle(controllers)
        assert await exists(client, "owner"), "the child is still there"
        await client.patch(CONFIGMAPS, "child", {"metadata": {"finalizers": None}}, "default")
        await gone(client, "owner")


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
