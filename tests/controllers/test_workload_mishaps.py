"""What people and other programs do to the objects of Deployments and ReplicaSets behind their backs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items, kubelet
from tests.controllers.live import live
from tests.controllers.test_deployment import BOTH, deployment, finished
from tests.controllers.test_replica_set import pod, replica_set
from tests.controllers.test_stateful_set import stateful_set
from tests.waiting import until

from shirube.api import errors
from shirube.api.gvr import CONTROLLERREVISIONS, DAEMONSETS, DEPLOYMENTS, NODES, PODS, REPLICASETS, STATEFULSETS
from shirube.client.rest import Client
from shirube.controllers import deployment_rollout as rollout
from shirube.controllers.ownership import controller_of
from shirube.controllers.replica_set import ReplicaSetController
from shirube.controllers.stateful_set import StatefulSetController


@asynccontextmanager
async def rolled_out(house: House, client: Client, replicas: int) -> AsyncIterator[tuple[list[Any], dict[str, Any]]]:
    """A Deployment that is whole, with its controllers at work: (them, its ReplicaSet)."""
    await client.create(DEPLOYMENTS, deployment(replicas=replicas))
    async with kubelet(client), house.running(*BOTH) as controllers:
        await until(lambda: finished(client))
        (first,) = await sets_of(client)
        yield controllers, first


async def sets_of(client: Client, name: str = "web") -> list[dict[str, Any]]:
    return [rs for rs in await items(client, REPLICASETS) if (controller_of(rs) or {}).get("name") == name]


async def test_a_set_that_is_relabelled_is_let_go_and_taken_back(house: House, client: Client):
    async with rolled_out(house, client, 1) as (controllers, first):
        name = first["metadata"]["name"]
        await client.patch(REPLICASETS, name, {"metadata": {"labels": {"app": "x"}}}, "default")

        async def others() -> bool:
            return [rs for rs in await sets_of(client) if rs["metadata"]["name"] != name] != []

        await until(others)
        await until(lambda: finished(client))
        let_go = await client.get(REPLICASETS, name, "default")
        assert controller_of(let_go) is None
        assert (await client.get(DEPLOYMENTS, "web", "default"))["status"]["collisionCount"] == 1
        await client.patch(REPLICASETS, name, {"metadata": {"labels": {"app": "web"}}}, "default")

        async def back() -> bool:
            return len(await sets_of(client)) == 2

        await until(back)
        await until(lambda: finished(client))
        await house.settle(controllers)
        sizes = sorted(rs["spec"]["replicas"] for rs in await sets_of(client))
    assert sizes == [0, 1], "of two with the same template the older one is used"


async def test_a_set_without_an_owner_is_adopted_and_used(house: House, client: Client):
    async with rolled_out(house, client, 2) as (controllers, first):
        name = first["metadata"]["name"]
        await client.patch(REPLICASETS, name, {"metadata": {"ownerReferences": None}}, "default")
        await until(lambda: sets_of(client))
        await house.settle(controllers)
        (again,) = await items(client, REPLICASETS)
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert controller_of(again) == controller_of(first)


@pytest.mark.parametrize("size", [0, 7])
async def test_a_size_given_to_a_set_by_hand_does_not_last(house: House, client: Client, size: int):
    async with rolled_out(house, client, 3) as (controllers, first):
        await client.patch(REPLICASETS, first["metadata"]["name"], {"spec": {"replicas": size}}, "default")
        await house.settle(controllers)
        await until(lambda: finished(client))
        assert len(await items(client, PODS)) == 3


async def test_scaled_together_with_its_set_a_deployment_still_rolls(house: House, client: Client):
    async with rolled_out(house, client, 3) as (controllers, first):
        await house.settle(controllers)
    await client.patch(REPLICASETS, first["metadata"]["name"], {"spec": {"replicas": 5}}, "default")
    await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "default")
    async with kubelet(client), house.running(*BOTH):
        await until(lambda: finished(client))
        change = {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}
        await client.patch(DEPLOYMENTS, "web", change, "default")
        await until(lambda: finished(client))
    assert {p["metadata"]["labels"].get("v") for p in await items(client, PODS)} == {"2"}


@pytest.mark.parametrize("word", ["lots", "-1", "2"])
async def test_a_size_written_into_the_notes_of_a_set_stops_nothing(house: House, client: Client, word: str):
    async with rolled_out(house, client, 3) as (_, first):
        note = {"metadata": {"annotations": {rollout.DESIRED: word, rollout.MAXIMUM: word}}}
        await client.patch(REPLICASETS, first["metadata"]["name"], note, "default")
        change = {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}
        await client.patch(DEPLOYMENTS, "web", change, "default")
        await until(lambda: finished(client))
        assert {p["metadata"]["labels"].get("v") for p in await items(client, PODS)} == {"2"}


async def test_a_set_deleted_in_the_midst_of_a_rollout_is_made_again(house: House, client: Client):
    await client.create(DEPLOYMENTS, deployment(replicas=4))
    async with house.running(*BOTH) as controllers:
        async with kubelet(client):
            await until(lambda: finished(client))
        change = {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}
        await client.patch(DEPLOYMENTS, "web", change, "default")

        async def begun() -> str:
            new = [rs for rs in await sets_of(client) if rs["spec"]["template"]["metadata"]["labels"].get("v")]
            return str(new[0]["metadata"]["name"]) if new and new[0]["spec"]["replicas"] else ""

        name = await until(begun)
        await house.settle(controllers)
        await client.delete(REPLICASETS, name, "default")  # its pods stay: nobody collects them here
        async with kubelet(client):
            for p in await items(client, PODS):
                if p["metadata"]["labels"].get("v"):
                    await client.delete(PODS, p["metadata"]["name"], "default")
            await until(lambda: finished(client))


async def test_deployments_with_one_selector_keep_to_their_own(house: House, client: Client):
    both = [deployment(name, replicas=2, image=name) for name in ("one", "two")]
    for one in both:
        one["spec"]["selector"] = {"matchLabels": {"app": "same"}}
        one["spec"]["template"]["metadata"]["labels"] = {"app": "same"}
        await client.create(DEPLOYMENTS, one)
    async with kubelet(client), house.running(*BOTH) as controllers:
        for name in ("one", "two"):
            await until(lambda name=name: finished(client, name))  # type: ignore[misc]
        await client.patch(DEPLOYMENTS, "one", {"spec": {"replicas": 3}}, "default")
        await until(lambda: finished(client, "one"))
        await house.settle(controllers)
        assert [len(await sets_of(client, name)) for name in ("one", "two")] == [1, 1]
        images = sorted(p["spec"]["containers"][0]["image"] for p in await items(client, PODS))
    assert images == ["one", "one", "one", "two", "two"]


async def test_deleted_in_the_midst_of_a_rollout_nothing_more_is_made(house: House, client: Client, api: MemoryApi):
    await client.create(DEPLOYMENTS, deployment(replicas=4))
    async with house.running(*BOTH) as controllers:
        async with kubelet(client):
            await until(lambda: finished(client))
        await client.patch(DEPLOYMENTS, "web", {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}, "default")
        await client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
        await house.settle(controllers)
        before = len(api.writes())
        async with kubelet(client):
            for p in await items(client, PODS):
                await client.delete(PODS, p["metadata"]["name"], "default")
            await house.settle(controllers)
        made = [w for w in api.writes()[before:] if w[0] == "POST" and w[1].endswith("/replicasets")]
        resized = [
            w for w in api.writes()[before:] if w[0] == "PUT" and "/replicasets/" in w[1] and "status" not in w[1]
        ]
    assert not made and not resized


async def test_a_status_that_cannot_be_written_is_written_later(house: House, client: Client, api: MemoryApi):
    refusals = 3

    def fault(method: str, path: str) -> None:
        nonlocal refusals
        if method == "PUT" and path.endswith("/status") and refusals:
            refusals -= 1
            raise errors.conflict("deployments.apps", "web")

    api.fault = fault
    await client.create(DEPLOYMENTS, deployment(replicas=2))
    async with kubelet(client), house.running(*BOTH):
        await until(lambda: finished(client))
    assert refusals == 0 and len(await items(client, PODS)) == 2


async def test_two_sets_with_one_selector_share_no_pod(house: House, client: Client):
    for name in ("a", "b"):
        one = replica_set(2)
        one["metadata"]["name"] = name
        await client.create(REPLICASETS, one)
    for n in range(3):
        await client.create(PODS, pod(f"orphan-{n}", {"app": "rs"}))
    async with kubelet(client), house.running(ReplicaSetController) as controllers:

        async def settled() -> bool:
            owners = [(controller_of(p) or {}).get("name") for p in await items(client, PODS)]
            return sorted(map(str, owners)) == ["a", "a", "b", "b"]

        await until(settled)
        await house.settle(controllers)
        assert await settled()


async def test_finished_pods_are_replaced_and_left_alone(house: House, client: Client):
    await client.create(REPLICASETS, replica_set(2))
    async with kubelet(client), house.running(ReplicaSetController) as controllers:

        async def alive(n: int) -> bool:
            phases = [p.get("status", {}).get("phase") for p in await items(client, PODS)]
            return phases.count("Running") == n

        await until(lambda: alive(2))
        victim = (await items(client, PODS))[0]["metadata"]["name"]
        await client.patch(PODS, victim, {"status": {"phase": "Failed"}}, "default", subresource="status")
        await until(lambda: alive(2))
        await house.settle(controllers)
        assert (await client.get(REPLICASETS, "rs", "default"))["status"]["replicas"] == 2
        assert len(await items(client, PODS)) == 3
        await client.patch(REPLICASETS, "rs", {"spec": {"replicas": 0}}, "default")
        await until(lambda: alive(0))
        await house.settle(controllers)
    assert [p["metadata"]["name"] for p in await items(client, PODS)] == [victim]


async def test_more_orphans_than_wanted_are_adopted_and_deleted(house: House, client: Client):
    for n in range(4):
        await client.create(PODS, pod(f"orphan-{n}", {"app": "rs"}))
    await client.create(REPLICASETS, replica_set(1))
    async with house.running(ReplicaSetController) as controllers:

        async def one() -> bool:
            return len(await items(client, PODS)) == 1

        await until(one)
        await house.settle(controllers)
        (left,) = await items(client, PODS)
    assert (controller_of(left) or {}).get("name") == "rs"


async def test_labels_of_the_template_that_pods_lack_are_counted(house: House, client: Client):
    one = replica_set(2)
    one["spec"]["template"]["metadata"]["labels"] = {"app": "rs", "tier": "front"}
    await client.create(PODS, pod("orphan", {"app": "rs"}))
    await client.create(REPLICASETS, one)
    async with house.running(ReplicaSetController) as controllers:

        async def counted() -> bool:
            status = (await client.get(REPLICASETS, "rs", "default")).get("status") or {}
            return (status.get("replicas"), status.get("fullyLabeledReplicas")) == (2, 1)

        await until(counted)
        await house.settle(controllers)
        assert await counted()


@pytest.mark.parametrize("length", [253, 243, 10])
async def test_owners_may_have_the_longest_names(tmp_path: Path, length: int):
    name = "n" * length
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
    metadata = {"name": name, "namespace": "default"}
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(NODES, {"metadata": {"name": "n1"}})
        await admin.patch(NODES, "n1", {"spec": {"taints": None}})
        async with house.controllers(only="replicaset-controller,daemonset-controller"):
            await admin.create(REPLICASETS, {"metadata": metadata, "spec": {**spec, "replicas": 1}})
            await admin.create(DAEMONSETS, {"metadata": metadata, "spec": spec})

            async def both() -> bool:
                kinds = {(controller_of(p) or {}).get("kind") for p in await items(admin, PODS)}
                return kinds == {"ReplicaSet", "DaemonSet"}

            await until(both, 10)
            (revision,) = await items(admin, CONTROLLERREVISIONS)
    assert len(revision["metadata"]["name"]) <= 253


async def test_old_pods_that_have_finished_hold_no_recreation(house: House, client: Client):
    await client.create(DEPLOYMENTS, deployment(replicas=2, strategy={"type": "Recreate"}))
    async with kubelet(client), house.running(*BOTH):
        await until(lambda: finished(client))
        left = (await items(client, PODS))[0]["metadata"]["name"]
        await client.patch(PODS, left, {"status": {"phase": "Succeeded"}}, "default", subresource="status")
        await until(lambda: finished(client))
        change = {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}
        await client.patch(DEPLOYMENTS, "web", change, "default")
        await until(lambda: finished(client))
        alive = [p for p in await items(client, PODS) if p["metadata"]["name"] != left]
    assert [p["metadata"]["labels"].get("v") for p in alive] == ["2", "2"]


async def test_a_name_that_comes_free_is_taken_at_once(house: House, client: Client, monkeypatch: pytest.MonkeyPatch):
    """A StatefulSet cannot make its pod while another has the name; nobody wants to wait for its next try."""
    await client.create(PODS, pod("db-0", {}))
    await client.create(STATEFULSETS, stateful_set(1))
    async with house.running(StatefulSetController) as (controller,):
        failed: list[Any] = []
        monkeypatch.setattr(controller.queue, "add_rate_limited", failed.append)
        await until(lambda: failed)
        await house.settle([controller])
        await client.delete(PODS, "db-0", "default")

        async def made() -> bool:
            return any(controller_of(p) for p in await items(client, PODS))

        await until(made)
