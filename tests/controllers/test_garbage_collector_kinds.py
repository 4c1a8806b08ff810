"""Garbage collection when references lie about their owner, and when kinds change versions, hide or go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House
from tests.controllers.live import Live, live
from tests.controllers.test_disruption import WIDGETS
from tests.controllers.test_garbage_collector import SERVED, exists, gone, make, reference
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, CUSTOMRESOURCEDEFINITIONS, GVR, NODES, PODS
from shirube.client.rest import Client
from shirube.controllers.garbage_collector import GarbageCollector, Task
from shirube.controllers.owner_graph import OwnerGraph


@pytest.fixture
def api() -> MemoryApi:
    api = MemoryApi()
    api.served = list(SERVED)
    return api


class Blind(GarbageCollector):
    """Sees pods and nodes only: owners are named, but nobody has shown them yet."""

    def _start_monitor(self, gvr: GVR, kind: str) -> None:
        if gvr in (PODS, NODES):
            super()._start_monitor(gvr, kind)


async def child(client: Client, name: str, *owners: dict[str, Any], namespace: str = "default") -> None:
    await make(client, name, *owners, gvr=PODS, namespace=namespace)


@pytest.mark.parametrize("first", ["bad", "good"])
async def test_a_wrong_name_of_an_owner_takes_only_its_own_child(house: House, client: Client, first: str):
    owner = await make(client, "owner")
    wrong = reference(owner, kind="Secret", name="no-such-secret")
    names = {"bad": wrong, "good": reference(owner)}
    async with house.running(Blind) as controllers:
        await house.settle(controllers)
        for name in (first, "good" if first == "bad" else "bad"):
            await child(client, name, names[name])
        await gone(client, "bad", PODS)
        await house.settle(controllers)
        assert await exists(client, "good", PODS)


@pytest.mark.parametrize("first", ["in-none", "good"])
@pytest.mark.parametrize("owner_exists", [True, False])
async def test_a_reference_from_no_namespace_hides_nothing(
    house: House, client: Client, first: str, owner_exists: bool
):
    """The child in the owner's namespace lives and goes with it; the one that is in none stays in any case."""
    owner = await make(client, "owner")
    if not owner_exists:
        await client.delete(CONFIGMAPS, "owner", "default")
    async with house.running(Blind) as controllers:
        await house.settle(controllers)
        for name in (first, "good" if first == "in-none" else "in-none"):
            if name == "good":
                await child(client, name, reference(owner))
            else:
                metadata = {"name": name, "ownerReferences": [reference(owner)]}
                await client.create(NODES, {"metadata": metadata, "spec": {}})
        if owner_exists:
            await house.settle(controllers)
        else:
            await gone(client, "good", PODS)
        assert await exists(client, "good", PODS) is owner_exists
        assert await exists(client, "in-none", NODES, "")


async def test_a_kind_that_nobody_serves_holds_only_its_own_children(house: House, client: Client):
    """Nothing can be said about their owner; those who name the same uid by a kind that is served are collected."""
    owner = await make(client, "owner")
    await client.delete(CONFIGMAPS, "owner", "default")
    old = reference(owner, apiVersion="extensions/v1beta1")
    async with house.running(Blind) as controllers:
        await child(client, "unknown", old)
        await house.settle(controllers)
        await child(client, "known", reference(owner))
        await gone(client, "known", PODS)
        assert await exists(client, "unknown", PODS)


async def test_an_owner_that_shows_itself_while_it_is_asked_for_stays_known(house: House, client: Client):
    """Its child named it wrongly; that it is not there under that name is no news about the owner."""
    owner = await make(client, "owner")
    metadata = owner["metadata"]
    async with house.running(Blind) as (collector,):
        assert isinstance(collector, GarbageCollector)
        await house.settle([collector])
        collector.graph = OwnerGraph()
        wrong = {"uid": "c", "name": "c", "namespace": "default"}
        wrong["ownerReferences"] = [reference(owner, kind="Secret", name="none")]  # type: ignore[assignment]
        collector.graph.seen(PODS, "Pod", {"metadata": wrong})
        really = collector._get

        async def late(gvr: GVR, namespace: str, name: str) -> Any:
            found = await really(gvr, namespace, name)
            collector.graph.seen(CONFIGMAPS, "ConfigMap", owner)
            return found

        collector._get = late  # type: ignore[method-assign]
        await collector.reconcile(Task("delete", metadata["uid"]))
        assert not collector.graph.nodes[metadata["uid"]].virtual


# -- custom kinds on the real API server ------------------------------------------------------------------------


def definition(*versions: str, stored: str, served: tuple[str, ...] | None = None) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    made = [
        {"name": v, "served": served is None or v in served, "storage": v == stored, "schema": schema} for v in versions
    ]
    return {**WIDGETS, "spec": {**WIDGETS["spec"], "versions": made}}


@pytest.fixture
async def cluster(tmp_path: Path):
    async with live(tmp_path) as house:
        yield house


async def redefine(house: Live, wanted: dict[str, Any]) -> None:
    found = await house.admin.get(CUSTOMRESOURCEDEFINITIONS, "widgets.example.com")
    await house.admin.update(CUSTOMRESOURCEDEFINITIONS, {**found, "spec": wanted["spec"]})


async def answers(client: Client, path: str) -> bool:
    try:
        await client.raw("GET", path)
    except ApiError:
        return False
    return True


OLD, NEW = (GVR("example.com", version, "widgets") for version in ("v1alpha1", "v1"))


async def test_children_outlive_a_change_of_their_owners_version(cluster: Live):
    """The group prefers another version, then drops the old one: the owners are the same. They go with the kind."""
    admin = cluster.admin
    await admin.create(CUSTOMRESOURCEDEFINITIONS, definition("v1alpha1", stored="v1alpha1"))
    await until(lambda: answers(admin, "/apis/example.com/v1alpha1"), 10)
    for name in ("a", "b"):
        made = await admin.create(OLD, {"kind": "Widget", "metadata": {"name": name}}, "default")
        metadata = {"name": f"child-{name}", "ownerReferences": [reference(made)]}
        await admin.create(CONFIGMAPS, {"metadata": metadata}, "default")
    async with cluster.controllers(only="garbage-collector-controller") as controllers:
        await until(lambda: _followed(controllers, OLD), 10)
        await redefine(cluster, definition("v1", "v1alpha1", stored="v1alpha1"))
        await until(lambda: _followed(controllers, NEW, OLD), 15)
        await redefine(cluster, definition("v1", "v1alpha1", stored="v1alpha1", served=("v1",)))
        await until(lambda: answers(admin, "/apis/example.com/v1"), 10)
        assert all([await exists(admin, f"child-{name}") for name in ("a", "b")])
        await admin.delete(NEW, "a", "default")
        await gone(admin, "child-a")
        assert await exists(admin, "child-b")
        await admin.delete(CUSTOMRESOURCEDEFINITIONS, "widgets.example.com")
        await gone(admin, "child-b")
    assert not [e for e in cluster.tokens.log if e[2] in (401, 403)]


async def test_children_outlive_a_kind_that_is_served_no_more(cluster: Live):
    admin = cluster.admin
    await admin.create(CUSTOMRESOURCEDEFINITIONS, definition("v1", "v2", stored="v1"))
    await until(lambda: answers(admin, "/apis/example.com/v1"), 10)
    made = await admin.create(NEW, {"kind": "Widget", "metadata": {"name": "a"}}, "default")
    metadata = {"name": "child-a", "ownerReferences": [reference(made)]}
    await admin.create(CONFIGMAPS, {"metadata": metadata}, "default")
    second = GVR("example.com", "v2", "widgets")
    async with cluster.controllers(only="garbage-collector-controller") as controllers:
        await until(lambda: _followed(controllers, second), 10)
        await redefine(cluster, definition("v1", "v2", stored="v1", served=()))
        await until(lambda: _not_followed(controllers, second), 15)
        assert await exists(admin, "child-a")
        await redefine(cluster, definition("v1", "v2", stored="v1"))
        await until(lambda: _followed(controllers, second), 15)
        await admin.delete(NEW, "a", "default")
        await gone(admin, "child-a")


async def _followed(controllers: list[Any], gvr: GVR, without: GVR | None = None) -> bool:
    find = next(c for c in controllers if isinstance(c, GarbageCollector))._context.factory.find
    informer = find(gvr)
    return informer is not None and informer.synced and (without is None or find(without) is None)


async def _not_followed(controllers: list[Any], gvr: GVR) -> bool:
    return next(c for c in controllers if isinstance(c, GarbageCollector))._context.factory.find(gvr) is None
