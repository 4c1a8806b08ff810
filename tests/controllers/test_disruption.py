from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import House, items, kubelet
from tests.controllers.live import live
from tests.controllers.test_replica_set import replica_set
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import CUSTOMRESOURCEDEFINITIONS, EVENTS, PODDISRUPTIONBUDGETS, PODS, REPLICASETS
from shirube.client.rest import Client
from shirube.controllers.disruption import DisruptionController, desired, disrupted, stale_target, status_of
from shirube.foundation.clock import rfc3339

NOW = 1_800_000_000.0


def budget(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "b", "namespace": "default", "generation": 1}, "spec": spec}


def pod(name: str, *, up: bool = True, going: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": name}
    if going:
        metadata["deletionTimestamp"] = rfc3339(NOW)
    return {"metadata": metadata, "spec": {}, "status": {"conditions": [{"type": "Ready", "status": str(up)}]}}


def test_desired():
    assert desired(budget(minAvailable=2), 5, 0) == (5, 2)
    assert desired(budget(minAvailable="50%"), 5, 7) == (7, 4)
    assert desired(budget(maxUnavailable=2), 5, 7) == (7, 5)
    assert desired(budget(maxUnavailable="30%"), 5, 10) == (10, 7)
    assert desired(budget(maxUnavailable=9), 5, 3) == (3, 0)


def test_a_budget_that_says_nothing_allows_nothing():
    one = budget()
    assert desired(one, 5, 7) == (0, 0)
    status = status_of(one, [pod("a"), pod("b")], 0, 0, disrupted(one, [], NOW), NOW)
    assert (status["currentHealthy"], status["expectedPods"], status["disruptionsAllowed"]) == (2, 0, 0)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans())), st.integers(0, 12))
def test_evictions_allowed_never_take_healthy_pods_below_what_is_desired(drawn, least):
    pods = [pod(str(n), up=up, going=going) for n, (up, going, _) in enumerate(drawn)]
    one = budget(minAvailable=least)
    one["status"] = {"disruptedPods": {str(n): rfc3339(NOW) for n, d in enumerate(drawn) if d[2]}}
    gone = disrupted(one, pods, NOW)
    expected, wanted = desired(one, len(pods), 0)
    status = status_of(one, pods, expected, wanted, gone, NOW)
    stays = sum(up and not going and not noted for up, going, noted in drawn)
    assert status["currentHealthy"] == stays
    assert status["disruptionsAllowed"] == 0 or stays - status["disruptionsAllowed"] >= least


def test_what_was_not_deleted_counts_again():
    one = budget(minAvailable=1)
    one["status"] = {"disruptedPods": {"a": rfc3339(NOW - 121), "b": rfc3339(NOW - 20)}}
    gone = disrupted(one, [pod("a"), pod("b")], NOW)
    assert [p["metadata"]["name"] for p in gone.kept] == ["a"]
    assert list(gone.waiting) == ["b"] and gone.again == 100
    marked = pod("a")
    marked["status"]["conditions"].append(
        {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": rfc3339(NOW - 20)}
    )
    assert stale_target(marked, NOW) == 100


def test_what_was_written_by_hand_without_a_time_is_out_of_date():
    one = budget(minAvailable=1)
    one["status"] = {"disruptedPods": {"a": None}, "conditions": [{"type": "DisruptionAllowed", "status": "False"}]}
    gone = disrupted(one, [pod("a")], NOW)
    assert [p["metadata"]["name"] for p in gone.kept] == ["a"] and not gone.waiting
    assert status_of(one, [pod("a")], 1, 1, gone, NOW)["conditions"][0]["lastTransitionTime"] == rfc3339(NOW)
    marked = pod("a")
    marked["status"]["conditions"].append({"type": "DisruptionTarget", "status": "True"})
    assert stale_target(marked, NOW) == 0


@pytest.mark.parametrize(
    "phase,going,status,expected",
    [
        ("Running", False, "True", 100),
        ("Running", True, "True", None),  # goes
        ("Failed", False, "True", None),  # went
        ("Succeeded", False, "True", None),
        ("Running", False, "False", None),  # taken back already
    ],
)
def test_whose_disruption_is_out_of_date(phase: str, going: bool, status: str, expected: float | None):
    marked = pod("a", going=going)
    marked["status"]["phase"] = phase
    condition = {"type": "DisruptionTarget", "status": status, "lastTransitionTime": rfc3339(NOW - 20)}
    marked["status"]["conditions"].append(condition)
    assert stale_target(marked, NOW) == expected


def test_what_the_node_agent_ends_takes_as_long_as_it_takes():
    marked = pod("a")
    condition = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": rfc3339(NOW - 900)}
    marked["status"]["conditions"].append({**condition, "reason": "TerminationByKubelet"})
    assert stale_target(marked, NOW) is None
    marked["status"]["conditions"][-1]["reason"] = "PreemptionByScheduler"
    assert stale_target(marked, NOW) == -780


@pytest.mark.parametrize(
    "selector,healthy",
    [
        ({}, 3),
        ({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}, 3),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, 2),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}, 2),
        ({"matchLabels": {"app": "a"}}, 1),
        ({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}, 0),
        (None, 0),
    ],
)
async def test_pods_without_labels_are_counted_too(house: House, client: Client, selector: Any, healthy: int):
    """The budget is there before them."""
    await client.create(
        PODDISRUPTIONBUDGETS, budget(minAvailable=1, **({} if selector is None else {"selector": selector}))
    )
    async with house.running(DisruptionController) as (controller,):
        await house.settle([controller])
        for name, labels in (("a", {"app": "a"}), ("b", {}), ("c", None)):
            made = pod(name)
            made["metadata"]["labels"] = labels
            await client.create(PODS, made)

        async def counted() -> bool:
            status = (await client.get(PODDISRUPTIONBUDGETS, "b", "default")).get("status") or {}
            return status.get("currentHealthy") == healthy == status.get("expectedPods")

        await until(counted)
        await house.settle([controller])
        assert await counted()


def owner(kind: str, name: str, group: str = "apps/v1") -> dict[str, Any]:
    return {"apiVersion": group, "kind": kind, "name": name, "uid": name, "controller": True}


@pytest.mark.parametrize(
    "above,expected",
    [
        (None, ("rs", 4)),
        (owner("Deployment", "d"), ("d", 7)),
        (owner("Deployment", "d", "extensions/v1beta1"), ("d", 7)),
        (owner("Deployment", "gone"), ("rs", 4)),
        ({**owner("Deployment", "d"), "uid": "one before"}, ("rs", 4)),
        (owner("Deployment", "d", "example.com/v1"), ("rs", 4)),  # somebody else's kind of that name
        (owner("Rollout", "d", "example.com/v1"), ("rs", 4)),
    ],
)
async def test_whose_replicas_a_replica_set_stands_for(house: House, above: dict[str, Any] | None, expected: Any):
    controller = DisruptionController(house.context())
    for kind, name, count, owners in (("ReplicaSet", "rs", 4, [above] if above else []), ("Deployment", "d", 7, [])):
        metadata = {"name": name, "namespace": "default", "uid": name, "ownerReferences": owners}
        controller._owners[kind].store.put(f"default/{name}", {"metadata": metadata, "spec": {"replicas": count}})
    assert await controller._scale_of("default", owner("ReplicaSet", "rs")) == expected


async def test_a_replica_set_of_the_same_name_is_not_the_owner(house: House):
    controller = DisruptionController(house.context())
    metadata = {"name": "rs", "namespace": "default", "uid": "new"}
    controller._owners["ReplicaSet"].store.put("default/rs", {"metadata": metadata, "spec": {"replicas": 4}})
    assert await controller._scale_of("default", owner("ReplicaSet", "rs")) == ("rs", 0)


@pytest.mark.conformance(
    "[sig-apps] DisruptionController should observe PodDisruptionBudget status updated [Conformance]"
)
async def test_evictions_on_the_real_api_server(tmp_path: Path):
    wanted = replica_set(3)
    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = "x"
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only="disruption-controller,replicaset-controller"):
            await admin.create(REPLICASETS, wanted)
            one = {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"app": "rs"}}}}
            one["spec"]["maxUnavailable"] = 1  # type: ignore[index]
            await admin.create(PODDISRUPTIONBUDGETS, one, "default")

            async def status() -> dict[str, Any] | None:
                found = (await admin.get(PODDISRUPTIONBUDGETS, "b", "default"))["status"]
                return found if found.get("disruptionsAllowed") == 1 else None

            async with kubelet(admin):
                found = await until(status, 10)
            assert (found["expectedPods"], found["desiredHealthy"], found["currentHealthy"]) == (3, 2, 3)
            assert found["conditions"][0]["reason"] == "SufficientPods"
            names = [p["metadata"]["name"] for p in (await admin.list(PODS, "default"))["items"]]
            answers = []
            for name in names[:2]:
                eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
                path = f"/api/v1/namespaces/default/pods/{name}/eviction"
                answer = await house.once("POST", path, eviction)  # a client would wait and try again
                answers.append(answer)
            assert answers == [201, 429]
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


WIDGETS: dict[str, Any] = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"plural": "widgets", "kind": "Widget"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                "subresources": {
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
                },
            }
        ],
    },
}


async def served(client: Client, path: str) -> bool:
    try:
        await client.raw("GET", path)
    except ApiError:
        return False
    return True


async def test_owners_that_cannot_be_asked_on_the_real_api_server(tmp_path: Path):
    """A Job has no scale; a widget has one, but this one is gone; some pods have no owner."""
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(CUSTOMRESOURCEDEFINITIONS, WIDGETS)
        await until(lambda: served(admin, "/apis/example.com/v1"), 10)
        async with house.controllers(only="disruption-controller"):
            owners = {
                "job": {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "1", "controller": True},
                "gone": {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "2", "controller": True},
                "alone": None,
            }
            for app, owner in owners.items():
                metadata = {"name": app, "labels": {"app": app}, "ownerReferences": [owner] if owner else []}
                spec = {"containers": [{"name": "c", "image": "x"}]}
                await admin.create(PODS, {"metadata": metadata, "spec": spec}, "default")
                one = {"selector": {"matchLabels": {"app": app}}, "maxUnavailable": 1}
                await admin.create(PODDISRUPTIONBUDGETS, {"metadata": {"name": app}, "spec": one}, "default")

            async def told(name: str) -> list[tuple[str, str]]:
                events = (await admin.list(EVENTS, "default"))["items"]
                return [(e["reason"], e["message"]) for e in events if e["involvedObject"]["name"] == name]

            async def condition(name: str) -> dict[str, Any] | None:
                status = (await admin.get(PODDISRUPTIONBUDGETS, name, "default")).get("status") or {}
                return next(iter(status.get("conditions") or ()), None)

            failed = await until(lambda: condition("job"), 10)
            message = "jobs.batch does not implement the scale subresource"
            assert (failed["reason"], failed["message"]) == ("SyncFailed", message)
            assert (await until(lambda: condition("gone"), 10))["reason"] == "InsufficientPods"
            ((reason, text),) = await until(lambda: told("alone"), 10)
            assert reason == "UnmanagedPods" and "(selector: app=alone)" in text
            assert text.endswith('set ".spec.minAvailable" field of the PDB to an integer value.')


async def test_while_an_owner_cannot_be_asked_nothing_may_be_evicted(house: House, client: Client):
    """It is asked again before long: nothing tells when it answers."""
    owner = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "2", "controller": True}
    for name in ("a", "b", "c"):
        made = pod(name)
        made["metadata"]["ownerReferences"] = [owner]
        await client.create(PODS, made)
    one = budget(selector={}, maxUnavailable=1)
    await client.create(PODDISRUPTIONBUDGETS, {**one, "status": {"disruptionsAllowed": 2}})
    answers: list[ApiError] = []

    async def ask(namespace: str, reference: dict[str, Any]) -> int:
        if answers:
            raise answers[0]
        return 3

    answers.append(ApiError(503, "ServiceUnavailable", "the server is currently unable to handle the request"))
    async with house.running(DisruptionController) as (controller,):
        controller._scale_subresource = ask
        await house.settle([controller])

        async def look() -> tuple[float | None, dict[str, Any]]:
            again = await controller.reconcile("default/b")
            (found,) = await items(client, PODDISRUPTIONBUDGETS)
            return again, found["status"]

        again, status = await look()
        assert (again, status["disruptionsAllowed"]) == (30.0, 0)
        assert status["conditions"][0]["reason"] == "SyncFailed"
        answers.clear()
        again, status = await look()
        assert (again, status["disruptionsAllowed"], status["expectedPods"]) == (None, 1, 3)
    reasons = {e["reason"] for e in await items(client, EVENTS)}
    assert "CalculateExpectedPodCountFailed" in reasons


async def test_a_pod_of_two_budgets_is_told_of(house: House, client: Client):
    """Which nobody can evict: when it comes, when it changes, and when the second budget does."""

    async def told() -> list[tuple[str, str, int]]:
        found = [e for e in await items(client, EVENTS) if e["reason"] == "MultiplePodDisruptionBudgets"]
        return [(e["involvedObject"]["name"], f"{e['type']}: {e['message']}", e["count"]) for e in found]

    def about(name: str, times: int) -> tuple[str, str, int]:
        message = f'Pod "default"/"{name}" matches multiple PodDisruptionBudgets.  Chose "every" arbitrarily.'
        return name, f"Warning: {message}", times

    every = {"metadata": {"name": "every", "namespace": "default"}, "spec": {"selector": {}, "minAvailable": 1}}
    labels = {"app": "web"}
    more = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": labels}, "minAvailable": 1}}
    await client.create(PODDISRUPTIONBUDGETS, every)
    for name, of in (("first", labels), ("alone", {"app": "other"})):
        made = pod(name)
        made["metadata"]["labels"] = of
        await client.create(PODS, made)
    async with house.running(DisruptionController) as (controller,):
        await house.settle([controller])
        assert await told() == []
        await client.create(PODDISRUPTIONBUDGETS, more, "default")
        await until(lambda: _equal(told, [about("first", 1)]))
        second = pod("second")
        second["metadata"]["labels"] = labels
        await client.create(PODS, second)
        await until(lambda: _equal(told, [about("first", 1), about("second", 1)]))
        await client.patch(PODS, "first", {"metadata": {"labels": {"version": "2"}}}, "default")
        await until(lambda: _equal(told, [about("first", 2), about("second", 1)]))
        await client.patch(PODS, "second", {"metadata": {"labels": {"app": "other"}}}, "default")
        await client.delete(PODS, "first", "default", grace_period_seconds=0)
        await house.settle([controller])
        assert await told() == [about("first", 2), about("second", 1)]


async def _equal(found: Callable[[], Awaitable[list[Any]]], expected: list[Any]) -> bool:
    return sorted(await found()) == expected
