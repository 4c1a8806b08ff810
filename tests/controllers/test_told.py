"""What controllers write themselves does not wake them again; what others write does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.client.memory_api import MemoryAnswer, MemoryApi
from tests.controllers.conftest import House, items, kubelet, make_ready
from tests.controllers.test_deployment import deployment, finished
from tests.controllers.test_endpoint_slice import pod, service
from tests.controllers.test_stateful_set import stateful_set
from tests.waiting import until

from shirube.api.gvr import (
    CONTROLLERREVISIONS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    NODES,
    PODS,
    REPLICASETS,
    SERVICES,
    STATEFULSETS,
)
from shirube.client.rest import Client
from shirube.controllers.deployment import DeploymentController
from shirube.controllers.endpoint_slice import EndpointSliceController
from shirube.controllers.endpoints import EndpointsController
from shirube.controllers.replica_set import ReplicaSetController
from shirube.controllers.stateful_set import StatefulSetController
from shirube.controllers.told import Told


def _object(version: int, status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a", "namespace": "n", "resourceVersion": str(version), **metadata}, "status": status}


def test_an_echo_is_the_status_that_was_last_found_and_nothing_else():
    told = Told(lambda status: {k: v for k, v in status.items() if v})
    old, new = _object(1, {}), _object(2, {"replicas": 1, "ready": 0})
    assert not told.echo(old, new), "nothing was found yet"
    told.remember("n/a", {"replicas": 1})
    assert told.echo(old, new)
    assert not told.echo(new, new), "a resync looks at everything again"
    assert not told.echo(old, _object(2, {"replicas": 2}))
    assert not told.echo(old, _object(2, {"replicas": 1}, generation=2))
    assert not told.echo(_object(1, {}, labels={"a": "b"}), new)
    told.remember("n/a", {})
    assert not told.echo(old, new), "found to be another meanwhile: what was written then is wrong now"
    told.remember("n/a", {"replicas": 1})
    told.forget("n/a")
    assert not told.echo(old, new)


async def test_a_status_that_somebody_else_writes_is_put_right(house: House, client: Client):
    await client.create(DEPLOYMENTS, deployment(replicas=2))
    async with kubelet(client), house.running(DeploymentController, ReplicaSetController) as controllers:
        await until(lambda: finished(client))
        for gvr in (REPLICASETS, DEPLOYMENTS):
            await house.settle(controllers)
            (found,) = await items(client, gvr)
            right = found["status"]
            await client.update_status(gvr, {**found, "status": {**right, "readyReplicas": 7, "replicas": 9}})

            async def again(gvr: Any = gvr, right: Any = right) -> bool:
                (found,) = await items(client, gvr)
                return bool(found["status"] == right)

            await until(again)


async def test_what_is_written_is_not_looked_at_again(house: House, client: Client, monkeypatch: pytest.MonkeyPatch):
    looks: list[str] = []
    reconcile = DeploymentController.reconcile

    async def noted(self: DeploymentController, key: str) -> float | None:
        looks.append(key)
        return await reconcile(self, key)

    await client.create(DEPLOYMENTS, deployment(replicas=2))
    async with house.running(DeploymentController) as controllers:
        async with kubelet(client), house.running(ReplicaSetController):
            await until(lambda: finished(client))
        await house.settle(controllers)
        monkeypatch.setattr(DeploymentController, "reconcile", noted)
        (found,) = await items(client, REPLICASETS)
        await client.update_status(REPLICASETS, {**found, "status": {**found["status"], "availableReplicas": 1}})

        async def told() -> bool:
            (found,) = await items(client, DEPLOYMENTS)
            return bool(found["status"]["availableReplicas"] == 1)

        await until(told)
        await house.settle(controllers)
    assert looks == ["default/web"]


async def test_pods_without_an_address_wake_nobody(house: House, client: Client, monkeypatch: pytest.MonkeyPatch):
    async with house.running(EndpointsController, EndpointSliceController) as controllers:
        await client.create(SERVICES, service())
        await until(lambda: items(client, ENDPOINTSLICES))
        await house.settle(controllers)
        woken: list[str] = []
        for controller in controllers:
            monkeypatch.setattr(controller.queue, "_wake_one", lambda: woken.append("woken"))
        bare = pod(1)
        bare["spec"] = {}
        bare["status"] = {"phase": "Pending"}
        await client.create(PODS, bare)
        await client.create(PODS, {"target": {"name": "n1"}}, "default", "binding", "p1")
        pods = controllers[0].informers[1].store
        await until(lambda: (found := pods.get("default", "p1")) and found["spec"].get("nodeName"))
        await client.delete(PODS, "p1", "default", grace_period_seconds=0)
        await until(lambda: not len(pods))
        assert not woken


class _Held(MemoryApi):
    """Answers to updates of slices are held back once `hold` is set; they have happened."""

    def __init__(self) -> None:
        super().__init__()
        self.hold = False
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> MemoryAnswer:
        answer = await super().send(method, target, headers, body)
        if self.hold and method == "PUT" and "/endpointslices/" in target:
            self.hold = False
            self.reached.set()
            await self.go.wait()
        return answer


async def test_another_hand_at_a_slice_while_a_write_has_no_answer():
    api = _Held()
    client = Client(api, "test")
    house = House(client)
    async with house.running(EndpointSliceController) as controllers:
        await client.create(NODES, {"metadata": {"name": "n1"}})
        await client.create(SERVICES, service())
        await until(lambda: items(client, ENDPOINTSLICES))
        await house.settle(controllers)
        api.hold = True
        await client.create(PODS, {**pod(1), "status": {"phase": "Pending"}})
        await make_ready(client, pod(1), ip="10.0.0.1")
        await asyncio.wait_for(api.reached.wait(), 60)
        (written,) = (s for s in await items(client, ENDPOINTSLICES) if s["endpoints"])
        await client.update(ENDPOINTSLICES, {**written, "endpoints": []})
        slices = controllers[0].informers[3].store
        await until(lambda: not any(s["endpoints"] for s in slices))
        api.go.set()

        async def restored() -> bool:
            return any(s["endpoints"] for s in await items(client, ENDPOINTSLICES))

        await until(restored)


# -- StatefulSets -----------------------------------------------------------------------------------------------


async def _settled(client: Client, replicas: int) -> bool:
    (found,) = await items(client, STATEFULSETS)
    status = found.get("status") or {}
    done = status.get("currentRevision") == status.get("updateRevision")
    return bool(done and status.get("readyReplicas") == status.get("updatedReplicas") == replicas)


async def test_its_own_status_and_other_news_of_pods_wake_nobody(
    house: House, client: Client, monkeypatch: pytest.MonkeyPatch
):
    looks: list[str] = []
    reconcile = StatefulSetController.reconcile

    async def noted(self: StatefulSetController, key: str) -> float | None:
        looks.append(key)
        return await reconcile(self, key)

    monkeypatch.setattr(StatefulSetController, "reconcile", noted)
    await client.create(STATEFULSETS, stateful_set(2))
    async with kubelet(client, ends=True), house.running(StatefulSetController) as controllers:
        await until(lambda: _settled(client, 2), 10)
        await house.settle(controllers)
        looks.clear()
        (first, second) = await items(client, PODS)
        assessed = {"type": "ContainersReady", "status": "True"}
        change = {"status": {"conditions": [*first["status"]["conditions"], assessed]}}
        await client.patch(PODS, first["metadata"]["name"], change, "default", subresource="status")
        await house.settle(controllers)
        assert looks == [], "nothing that it counts"
        gone = [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        await client.patch(
            PODS, second["metadata"]["name"], {"status": {"conditions": gone}}, "default", subresource="status"
        )
        await until(lambda: looks)
        await house.settle(controllers)
        assert looks == ["default/db"], "one look, and what that wrote is known"
        (found,) = await items(client, STATEFULSETS)
        assert found["status"]["readyReplicas"] == 1
        await client.update_status(STATEFULSETS, {**found, "status": {**found["status"], "readyReplicas": 7}})

        async def right() -> bool:
            (found,) = await items(client, STATEFULSETS)
            return bool(found["status"]["readyReplicas"] == 1)

        await until(right)


async def test_old_revisions_go_once_a_rollout_is_done(house: House, client: Client):
    """Nothing else happens then: the status that tells of it is what the next look goes by."""
    await client.create(STATEFULSETS, stateful_set(2, revisionHistoryLimit=0))
    async with kubelet(client, ends=True), house.running(StatefulSetController) as controllers:
        await until(lambda: _settled(client, 2), 10)
        change = {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}}
        await client.patch(STATEFULSETS, "db", change, "default")
        await house.settle(controllers)
        await until(lambda: _settled(client, 2), 10)
        await house.settle(controllers)
        (found,) = await items(client, STATEFULSETS)
        (kept,) = await items(client, CONTROLLERREVISIONS)
        assert kept["metadata"]["name"] == found["status"]["currentRevision"]
