from __future__ import annotations

from typing import Any

from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items, kubelet
from tests.waiting import until

from shirube.api import errors
from shirube.api.gvr import EVENTS, PODS, REPLICASETS, REPLICATIONCONTROLLERS
from shirube.client.rest import Client
from shirube.controllers.pod_control import slow_start
from shirube.controllers.replica_set import Plan, ReplicaSetController, plan
from shirube.controllers.replication_controller import ReplicationControllerController


def replica_set(replicas: int = 2, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "rs", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "rs"}},
            "template": {"metadata": {"labels": {"app": "rs"}}, "spec": {"containers": [{"name": "c"}]}},
            **spec,
        },
    }


def pod(name: str, labels: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", "labels": labels, **metadata},
        "spec": {},
        "status": {"phase": "Pending"},
    }


def test_plan():
    pods = [{"metadata": {"uid": str(n)}, "spec": {}} for n in range(3)]
    assert plan(3, pods, pods, 0) == Plan()
    assert plan(5, pods, pods, 0) == Plan(create=2)
    assert plan(2000, pods, pods, 0) == Plan(create=500)
    assert len(plan(1, pods, pods, 0).delete) == 2


async def _status(client: Client, **wanted: int) -> bool:
    status = (await client.get(REPLICASETS, "rs", "default")).get("status") or {}
    return all(status.get(k, 0) == v for k, v in wanted.items())


async def test_makes_replaces_and_scales(house: House, client: Client):
    await client.create(REPLICASETS, replica_set())
    async with kubelet(client), house.running(ReplicaSetController):
        await until(lambda: _status(client, replicas=2, readyReplicas=2, availableReplicas=2))
        victim = (await items(client, PODS))[0]["metadata"]["name"]
        await client.delete(PODS, victim, "default")
        await until(lambda: _replaced(client, victim))
        await client.patch(REPLICASETS, "rs", {"spec": {"replicas": 0}}, "default")
        await until(lambda: _status(client, replicas=0))
    reasons = [e["reason"] for e in await items(client, EVENTS)]
    assert reasons.count("SuccessfulCreate") == 3


async def _replaced(client: Client, victim: str) -> bool:
    names = {p["metadata"]["name"] for p in await items(client, PODS)}
    return len(names) == 2 and victim not in names


async def test_adopts_what_matches_and_releases_what_does_not(house: House, client: Client):
    await client.create(PODS, pod("orphan", {"app": "rs"}))
    await client.create(REPLICASETS, replica_set())
    async with kubelet(client), house.running(ReplicaSetController):
        await until(lambda: _status(client, replicas=2))
        assert len(await items(client, PODS)) == 2
        orphan = await client.get(PODS, "orphan", "default")
        assert orphan["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
        await client.patch(PODS, "orphan", {"metadata": {"labels": {"app": "x"}}}, "default")
        await until(lambda: _count(client, 3))

        async def released() -> bool:
            return not (await client.get(PODS, "orphan", "default"))["metadata"].get("ownerReferences")

        await until(released)


async def _count(client: Client, n: int) -> bool:
    return len(await items(client, PODS)) == n


async def test_min_ready_seconds_delays_availability(house: House, client: Client):
    await client.create(REPLICASETS, replica_set(1, minReadySeconds=1))
    async with kubelet(client), house.running(ReplicaSetController):
        await until(lambda: _status(client, readyReplicas=1, availableReplicas=0))
        await until(lambda: _status(client, availableReplicas=1))


async def test_refused_pods_are_told_and_tried_again_slowly(house: House, client: Client, api: MemoryApi):
    refusing = True

    def fault(method: str, path: str) -> None:
        if refusing and method == "POST" and path.endswith("/pods"):
            raise errors.forbidden("pods", "", "exceeded quota")

    api.fault = fault
    await client.create(REPLICASETS, replica_set(50))
    async with house.running(ReplicaSetController):

        async def told() -> bool:
            found = await client.get(REPLICASETS, "rs", "default")
            conditions = (found.get("status") or {}).get("conditions") or ()
            return any(c["reason"] == "FailedCreate" for c in conditions)

        await until(told)
        attempts = sum(1 for m, p in api.requests if m == "POST" and p.endswith("/pods"))
        assert attempts < 20, "slow start: a refusal costs few requests"
        refusing = False
        await until(lambda: _count(client, 50))

        async def cleared() -> bool:
            found = await client.get(REPLICASETS, "rs", "default")
            return not found["status"].get("conditions")

        await until(cleared)


async def test_slow_start_stops_at_the_first_failing_batch():
    seen: list[int] = []

    async def work(n: int) -> None:
        seen.append(n)
        if n == 4:
            raise errors.internal_error("no")

    done, error = await slow_start(100, work)
    assert (done, len(seen)) == (6, 7)
    assert error is not None


async def test_replication_controllers_run_on_the_same_engine(house: House, client: Client):
    controller = replica_set()
    controller |= {"apiVersion": "v1", "kind": "ReplicationController"}
    controller["spec"]["selector"] = {"app": "rs"}
    await client.create(REPLICATIONCONTROLLERS, controller)
    async with house.running(ReplicationControllerController):
        await until(lambda: _count(client, 2))
        assert {p["metadata"]["ownerReferences"][0]["kind"] for p in await items(client, PODS)} == {
            "ReplicationController"
        }

        async def told() -> Any:
            return (await client.get(REPLICATIONCONTROLLERS, "rs", "default")).get("status")

        assert "terminatingReplicas" not in await until(told), "its status has no place for that"
