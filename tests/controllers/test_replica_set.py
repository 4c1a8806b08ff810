from __future__ import annotations

from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items, kubelet
from tests.waiting import until

from shirube.api import errors
from shirube.api.gvr import EVENTS, PODS, REPLICASETS, REPLICATIONCONTROLLERS
from shirube.client.rest import Client
from shirube.controllers.expectations import Expectations
from shirube.controllers.pod_control import slow_start
from shirube.controllers.replica_set import Plan, ReplicaSetController, plan, status_of
from shirube.controllers.replication_controller import ReplicationControllerController
from shirube.foundation.clock import ManualClock, rfc3339


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


def counted(name: str, *, ready: bool = True, going: bool = False, since: float = 0, **labels: str) -> dict[str, Any]:
    one = pod(name, {"app": "rs", **labels}, uid=name)
    if going:
        one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": rfc3339(NOW - since)}
    one["status"] = {"phase": "Running", "conditions": [condition]}
    return one


NOW = 1_750_000_000.0


# pods -> replicas, fully labelled, ready, available, terminating
@pytest.mark.parametrize(
    "pods,expected",
    [
        ([], (0, 0, 0, 0, 0)),
        ([counted("a", since=60)], (1, 0, 1, 1, 0)),
        ([counted("a", since=60, tier="x"), counted("b", since=5, tier="x")], (2, 2, 2, 1, 0)),
        ([counted("a", ready=False, tier="x"), counted("b", tier="y")], (2, 1, 1, 0, 0)),
        ([counted("a", since=60, tier="x"), counted("b", going=True, tier="x")], (1, 1, 1, 1, 1)),
        ([{**counted("a", tier="x"), "status": {"phase": "Succeeded"}}], (0, 0, 0, 0, 0)),
    ],
)
def test_what_its_pods_make_of_a_status(pods: list[dict[str, Any]], expected: tuple[int, ...]):
    owner = replica_set(2, minReadySeconds=30)
    status = status_of(owner, pods, NOW, None, {"app": "rs", "tier": "x"})
    names = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas")
    assert tuple(status.get(name, 0) for name in names) == expected


@pytest.mark.parametrize(
    "known,failure,expected",
    [
        (None, ("FailedCreate", "no"), ("FailedCreate", "no")),
        (None, ("FailedDelete", "no"), ("FailedDelete", "no")),
        (("FailedCreate", "first"), ("FailedCreate", "second"), ("FailedCreate", "first")),
        (("FailedCreate", "first"), None, None),
        (None, None, None),
    ],
)
def test_failures_are_told_until_they_are_over(
    known: tuple[str, str] | None, failure: tuple[str, str] | None, expected: tuple[str, str] | None
):
    owner = replica_set(2)
    other = {"type": "Other", "status": "True"}
    owner["status"] = {"conditions": [other]}
    if known:
        told = {"type": "ReplicaFailure", "status": "True", "reason": known[0], "message": known[1]}
        owner["status"]["conditions"].append(told)
    conditions = status_of(owner, [], NOW, failure, {})["conditions"]
    assert conditions[0] == other, "what is not ours stays"
    assert [(c["reason"], c["message"]) for c in conditions[1:]] == ([expected] if expected else [])


def test_a_spec_is_seen_when_what_was_done_for_the_one_before_is_seen():
    owner = replica_set(2)
    owner["metadata"]["generation"] = 3
    owner["status"] = {"observedGeneration": 2}
    assert status_of(owner, [], NOW, None, {}, settled=False)["observedGeneration"] == 2
    assert status_of(owner, [], NOW, None, {}, settled=True)["observedGeneration"] == 3


def test_what_was_done_is_expected_until_it_is_seen_or_long_ago():
    clock = ManualClock()
    expected = Expectations(clock)
    assert expected.satisfied("k")
    expected.expect_creations("k", 2)
    expected.creation_observed("k")
    assert not expected.satisfied("k") and expected.satisfied("other")
    expected.creation_observed("k", 5)  # more than were expected are no credit for later
    expected.expect_creations("k", 1)
    assert not expected.satisfied("k")
    expected.creation_observed("k")
    expected.expect_deletions("k", ["a", "b"])
    expected.deletion_observed("k", "a")
    expected.deletion_observed("k", "a")
    expected.deletion_observed("k", "stranger")
    assert not expected.satisfied("k"), "each deletion counts for itself"
    clock.advance(300)
    assert not expected.satisfied("k")
    clock.advance(1)
    assert expected.satisfied("k"), "an event may have been lost"
    expected.expect_deletions("k", ["c"])
    assert not expected.satisfied("k"), "what is done now is expected for as long again"
    expected.forget("k")
    assert expected.satisfied("k")


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


@pytest.mark.parametrize("count,room,done,calls", [(10, 0, 0, 1), (10, 10, 10, 10), (10, 5, 5, 7), (0, 0, 0, 0)])
async def test_slow_start_asks_no_more_than_it_must(count: int, room: int, done: int, calls: int):
    asked = 0

    async def work(_: int) -> None:
        nonlocal asked
        asked += 1
        if asked > room:
            raise errors.forbidden("pods", "", "exceeded quota")

    succeeded, error = await slow_start(count, work)
    assert (succeeded, asked, error is None) == (done, calls, done == count)


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
