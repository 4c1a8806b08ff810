from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.controllers.conftest import House, items, kubelet
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.gvr import DEPLOYMENTS, EVENTS, PODS, REPLICASETS
from shirube.client.rest import Client
from shirube.controllers.deployment import DeploymentController
from shirube.controllers.deployment_rollout import REVISION
from shirube.controllers.replica_set import ReplicaSetController

BOTH = (DeploymentController, ReplicaSetController)


def deployment(name: str = "web", replicas: int = 3, image: str = "a", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


async def finished(client: Client, name: str = "web") -> dict[str, Any] | None:
    found = await client.get(DEPLOYMENTS, name, "default")
    status = found.get("status") or {}
    wanted = found["spec"]["replicas"]
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return None
    counts = [status.get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")]
    reasons = {c["type"]: c["reason"] for c in status.get("conditions", ())}
    if counts == [wanted] * 3 and reasons.get("Progressing") == "NewReplicaSetAvailable":
        return found
    return None


async def test_rolls_out_and_updates_and_goes_back(house: House, client: Client):
    await client.create(DEPLOYMENTS, deployment())
    async with kubelet(client), house.running(*BOTH) as controllers:
        found = await until(lambda: finished(client))
        assert found["metadata"]["annotations"][REVISION] == "1"
        (first,) = await items(client, REPLICASETS)
        assert first["metadata"]["name"].startswith("web-")
        assert first["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]

        template = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "b"}]}}}}
        await client.patch(DEPLOYMENTS, "web", template, "default")
        found = await until(lambda: finished(client))
        assert found["metadata"]["annotations"][REVISION] == "2"
        sizes = {rs["spec"]["replicas"] for rs in await items(client, REPLICASETS)}
        assert sizes == {0, 3}
        images = {p["spec"]["containers"][0]["image"] for p in await items(client, PODS)}
        assert images == {"b"}

        template["spec"]["template"]["spec"]["containers"][0]["image"] = "a"
        await client.patch(DEPLOYMENTS, "web", template, "default")
        found = await until(lambda: finished(client))
        assert found["metadata"]["annotations"][REVISION] == "3"
        assert len(await items(client, REPLICASETS)) == 2, "an old template finds its old ReplicaSet"
        await house.settle(controllers)
    messages = [e["message"] for e in await items(client, EVENTS) if e["reason"] == "ScalingReplicaSet"]
    assert f"Scaled up replica set {first['metadata']['name']} from 0 to 3" in messages


async def test_scales_and_does_nothing_when_nothing_is_to_do(house: House, client: Client, api):
    await client.create(DEPLOYMENTS, deployment())
    async with kubelet(client), house.running(*BOTH) as controllers:
        await until(lambda: finished(client))
        await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "default")
        await until(lambda: finished(client))
        assert len(await items(client, PODS)) == 5
        await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, "default")
        await until(lambda: finished(client))
        assert await items(client, PODS) == []
        await house.settle(controllers)
        before = len(api.writes())
        controllers[0].queue.add("default/web")
        await house.settle(controllers)
    # Events may still be written; nothing else is.
    assert [w for w in api.writes()[before:] if "/events" not in w[1]] == []


async def test_a_restart_in_the_middle_is_harmless(house: House, client: Client):
    await client.create(DEPLOYMENTS, deployment(replicas=6))
    async with kubelet(client):
        for _ in range(4):
            async with house.running(*BOTH):
                await until(lambda: items(client, REPLICASETS))
        async with house.running(*BOTH), house.running(*BOTH):
            await until(lambda: finished(client))
    assert len(await items(client, PODS)) == 6
    assert len(await items(client, REPLICASETS)) == 1


async def test_paused_does_not_roll_but_scales(house: House, client: Client):
    await client.create(DEPLOYMENTS, deployment(replicas=2))
    async with kubelet(client), house.running(*BOTH) as controllers:
        await until(lambda: finished(client))
        change = {"paused": True, "template": {"metadata": {"labels": {"app": "web", "v": "2"}}}}
        await client.patch(DEPLOYMENTS, "web", {"spec": change}, "default")
        await house.settle(controllers)
        assert len(await items(client, REPLICASETS)) == 1
        found = await client.get(DEPLOYMENTS, "web", "default")
        reasons = {c["type"]: c["reason"] for c in found["status"]["conditions"]}
        assert reasons["Progressing"] == "DeploymentPaused"
        await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 4}}, "default")
        await until(lambda: _count(client, 4))
        await client.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}}, "default")
        await until(lambda: finished(client))
        assert len(await items(client, REPLICASETS)) == 2


async def _count(client: Client, n: int) -> bool:
    return len(await items(client, PODS)) == n


async def test_recreate_waits_until_the_old_are_gone(house: House, client: Client):
    await client.create(DEPLOYMENTS, deployment(replicas=2, strategy={"type": "Recreate"}))
    async with kubelet(client), house.running(*BOTH) as controllers:
        await until(lambda: finished(client))
        for pod in await items(client, PODS):  # keep the old ones from going at once
            patch = {"metadata": {"finalizers": ["test/hold"]}}
            await client.patch(PODS, pod["metadata"]["name"], patch, "default")
        template = {"spec": {"template": {"metadata": {"labels": {"app": "web", "v": "2"}}}}}
        await client.patch(DEPLOYMENTS, "web", template, "default")
        await house.settle(controllers)
        old = await items(client, PODS)
        assert all(p["metadata"].get("deletionTimestamp") for p in old)
        assert len(old) == 2
        for pod in old:
            patch = {"metadata": {"finalizers": None}}
            await client.patch(PODS, pod["metadata"]["name"], patch, "default")
        await until(lambda: finished(client))
        assert {p["metadata"]["labels"].get("v") for p in await items(client, PODS)} == {"2"}


async def test_the_progress_deadline_is_told(house: House, client: Client):
    await client.create(DEPLOYMENTS, deployment(progressDeadlineSeconds=1))
    async with house.running(*BOTH):

        async def exceeded() -> bool:
            found = await client.get(DEPLOYMENTS, "web", "default")
            conditions = (found.get("status") or {}).get("conditions") or ()
            return any(c["reason"] == "ProgressDeadlineExceeded" for c in conditions)

        await until(exceeded, 8)


async def test_a_taken_name_is_a_collision(house: House, client: Client):
    """Another's ReplicaSet has our name: we count the collision and take another."""
    await client.create(DEPLOYMENTS, deployment(replicas=1))
    async with house.running(*BOTH) as controllers:
        await until(lambda: items(client, REPLICASETS))
        await house.settle(controllers)
    (ours,) = await items(client, REPLICASETS)
    name = ours["metadata"]["name"]
    await client.delete(REPLICASETS, name, "default")
    other = {**deployment("other"), "kind": "ReplicaSet", "metadata": {"name": name, "namespace": "default"}}
    other["spec"] = {"replicas": 0, "selector": {"matchLabels": {"app": "other"}}, "template": {}}
    await client.create(REPLICASETS, other)
    async with house.running(*BOTH):
        await until(lambda: _sets(client, 2))
    found = await client.get(DEPLOYMENTS, "web", "default")
    assert found["status"]["collisionCount"] == 1


async def _sets(client: Client, n: int) -> bool:
    return len(await items(client, REPLICASETS)) == n


async def test_telling_leaves_the_generation_alone_on_the_real_api_server(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only="deployment-controller,replicaset-controller"), kubelet(admin):
            await admin.create(DEPLOYMENTS, deployment(replicas=1))
            found = await until(lambda: finished(admin), 10)
            assert found["metadata"]["annotations"] == {REVISION: "1"}
            assert found["metadata"]["generation"] == 1, "its revision is ours to tell, and nothing that was asked for"
            (made,) = await items(admin, REPLICASETS)
            told = [one["status"].get("terminatingReplicas") for one in (found, made)]
            assert told == [0, 0], "told even when there are none"
