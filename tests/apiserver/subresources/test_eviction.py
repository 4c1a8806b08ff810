"""Evictions: what a budget allows, what needs none, and what happens when the pod changes in between."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.conftest import Answer, Api

from shirube.apiserver.subresources import eviction

NS = "/api/v1/namespaces/default"
PODS = f"{NS}/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


async def serving(api: Api, name: str = "p", phase: str = "Running", ready: bool = True, **metadata: Any) -> Any:
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n1"}
    await api.ok("POST", PODS, {"metadata": {"name": name, "labels": {"app": "web"}, **metadata}, "spec": spec})
    return await says(api, name, phase, ready)


async def says(api: Api, name: str, phase: str, ready: bool) -> Any:
    status = {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]}
    answer = await api.patch(f"{PODS}/{name}/status", {"status": status})
    assert answer.status == 200, answer.raw
    return answer.json


async def budget(api: Api, name: str = "b", policy: str | None = None, **status: Any) -> None:
    spec: dict[str, Any] = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    if policy:
        spec["unhealthyPodEvictionPolicy"] = policy
    made = await api.ok("POST", BUDGETS, {"metadata": {"name": name}, "spec": spec})
    zero = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    seen = {"observedGeneration": made["metadata"]["generation"]}
    await api.ok("PUT", f"{BUDGETS}/{name}/status", {**made, "status": {**zero, **seen, **status}})


def body(name: str = "p", **options: Any) -> dict[str, Any]:
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options}


async def evict(api: Api, name: str = "p", **options: Any) -> Answer:
    return await api.post(f"{PODS}/{name}/eviction", body(name, **options))


def causes(answer: Answer) -> list[str]:
    return [one["message"] for one in answer.json["details"]["causes"]]


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
async def test_who_does_not_serve_needs_no_budget(pods: Api, phase: str):
    await serving(pods, phase=phase, ready=phase == "Succeeded")
    await budget(pods)
    assert (await evict(pods, gracePeriodSeconds=0)).status == 201
    assert (await pods.get(f"{PODS}/p")).status == 404


async def test_a_pod_on_its_way_out_may_be_evicted_again(pods: Api):
    await serving(pods)
    await budget(pods)
    await pods.ok("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 300})
    assert (await evict(pods)).status == 201


@pytest.mark.parametrize(
    ("ready", "policy", "healthy", "expected"),
    [
        (True, None, 2, 429),
        (True, "AlwaysAllow", 2, 429),
        (False, None, 2, 201),
        (False, "IfHealthyBudget", 2, 201),
        (False, None, 1, 429),
        (False, "IfHealthyBudget", 1, 429),
        (False, "AlwaysAllow", 1, 201),
    ],
)
async def test_pods_that_are_not_ready(pods: Api, ready: bool, policy: str | None, healthy: int, expected: int):
    await serving(pods, ready=ready)
    await budget(pods, policy=policy, currentHealthy=healthy, desiredHealthy=2)
    answer = await evict(pods)
    assert answer.status == expected
    if expected == 429:
        assert causes(answer) == [f"The disruption budget b needs 2 healthy pods and has {healthy} currently"]
        assert answer.header("retry-after") == []


async def test_a_budget_that_could_not_be_worked_out_says_why(pods: Api):
    await serving(pods)
    told = {"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "nobody can scale it"}
    told["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    await budget(pods, conditions=[told], currentHealthy=1, desiredHealthy=1)
    why = "The disruption budget b does not allow evicting pods currently because it failed sync: nobody can scale it"
    assert causes(await evict(pods)) == [why]


async def test_two_budgets_are_too_many(pods: Api):
    await serving(pods)
    for name in ("a", "b"):
        await budget(pods, name, disruptionsAllowed=1)
    answer = await evict(pods)
    assert answer.status == 500 and "more than one PodDisruptionBudget" in answer.message


@pytest.mark.parametrize(("allowed", "reason"), [(1, "InsufficientPods"), (3, "SufficientPods")])
async def test_the_condition_follows_when_nothing_is_left(pods: Api, allowed: int, reason: str):
    await serving(pods)
    told = {"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods", "message": ""}
    told["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    await budget(pods, disruptionsAllowed=allowed, conditions=[told])
    assert (await evict(pods)).status == 201
    status = (await pods.ok("GET", f"{BUDGETS}/b"))["status"]
    assert (status["disruptionsAllowed"], status["conditions"][0]["reason"]) == (allowed - 1, reason)


async def test_names_versions_and_methods(pods: Api):
    await serving(pods)
    answer = await pods.post(f"{PODS}/p/eviction", body("q"))
    assert (answer.status, answer.message) == (400, "name in URL does not match name in Eviction object")
    for version in ("policy/v1", "policy/v1beta1"):
        answer = await pods.post(f"{PODS}/p/eviction", {**body(dryRun=["All"]), "apiVersion": version})
        assert (answer.status, answer.json["kind"]) == (201, "Status"), answer.raw
    plain = {"metadata": {"name": "p"}, "deleteOptions": {"dryRun": ["All"]}}
    assert (await pods.post(f"{PODS}/p/eviction", plain)).status == 201
    answer = await pods.post(f"{PODS}/p/eviction", {**body(), "apiVersion": "policy/v2"})
    assert answer.status == 400 and "policy/v2" in answer.message
    assert (await pods.get(f"{PODS}/p/eviction")).status == 405
    assert (await pods.patch(f"{PODS}/p/eviction", {})).status == 405


@pytest.mark.parametrize(
    ("phase", "dry", "marked"), [("Succeeded", False, True), ("Running", False, True), ("Running", True, False)]
)
async def test_who_is_held_shows_that_it_was_evicted(pods: Api, phase: str, dry: bool, marked: bool):
    await serving(pods, phase=phase, finalizers=["test.example.com/hold"])
    assert (await evict(pods, **({"dryRun": ["All"]} if dry else {}))).status == 201
    conditions = (await pods.ok("GET", f"{PODS}/p"))["status"]["conditions"]
    assert any(c["type"] == "DisruptionTarget" for c in conditions) is marked


@pytest.mark.parametrize("phase", ["Running", "Pending", "Succeeded"])
@pytest.mark.parametrize("wrong", ["", "uid", "resourceVersion"])
async def test_preconditions(pods: Api, phase: str, wrong: str):
    before = await serving(pods, phase="Unknown")
    found = (await says(pods, "p", phase, True))["metadata"]
    asked = {"uid": found["uid"], "resourceVersion": found["resourceVersion"]}
    if wrong:
        asked[wrong] = "another" if wrong == "uid" else before["metadata"]["resourceVersion"]
    assert (await evict(pods, preconditions=asked)).status == (409 if wrong else 201)


async def _meanwhile(pods: Api, monkeypatch: pytest.MonkeyPatch, times: int, phase: str, ready: bool) -> None:
    """Each of the first `times` evictions finds the pod changed once it has looked at it."""
    left = [times]
    really = eviction._say_why

    async def later(*args: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            await says(pods, "p", "Unknown", not ready)
            await says(pods, "p", phase, ready)
        return await really(*args)

    monkeypatch.setattr(eviction, "_say_why", later)


async def test_a_pending_pod_that_changes_is_looked_at_again(pods: Api, monkeypatch: pytest.MonkeyPatch):
    await serving(pods, phase="Pending", ready=False)
    await budget(pods)
    await _meanwhile(pods, monkeypatch, 3, "Pending", False)
    assert (await evict(pods)).status == 201


@pytest.mark.parametrize(("allowed", "expected"), [(0, 429), (1, 201)])
async def test_a_pending_pod_that_begins_to_serve_needs_a_budget(
    pods: Api, monkeypatch: pytest.MonkeyPatch, allowed: int, expected: int
):
    await serving(pods, phase="Pending", ready=False)
    await budget(pods, disruptionsAllowed=allowed)
    await _meanwhile(pods, monkeypatch, 1, "Running", True)
    assert (await evict(pods)).status == expected
    assert (await pods.ok("GET", f"{BUDGETS}/b"))["status"]["disruptionsAllowed"] == 0


async def test_a_pod_that_never_stays_the_same_is_a_conflict(pods: Api, monkeypatch: pytest.MonkeyPatch):
    await serving(pods, phase="Pending", ready=False)
    await _meanwhile(pods, monkeypatch, 100, "Pending", False)
    assert (await evict(pods)).status == 409


async def test_an_unready_pod_that_changes_is_to_be_tried_again(pods: Api, monkeypatch: pytest.MonkeyPatch):
    """It may be ready now: the client must ask again, and the budget was not charged."""
    await serving(pods, ready=False)
    await budget(pods, policy="AlwaysAllow", disruptionsAllowed=1)
    await _meanwhile(pods, monkeypatch, 1, "Running", False)
    answer = await evict(pods)
    assert (answer.status, answer.header("retry-after")) == (429, ["10"])
    assert (await pods.ok("GET", f"{BUDGETS}/b"))["status"]["disruptionsAllowed"] == 1
