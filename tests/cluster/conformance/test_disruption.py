"""PodDisruptionBudgets and evictions."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import MERGE, STRATEGIC, refused
from tests.cluster.conformance.objects import condition, container, pod, ready, workload
from tests.waiting import eventually

SELECTOR = {"matchLabels": {"foo": "bar"}}
IDLE = container(script="exec sleep 3600")


@pytest.fixture
def budgets(api, ns):
    return api.at("policy/v1", "poddisruptionbudgets", ns)


def budget(name: str = "foo", labels=None, **spec):
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"selector": SELECTOR, **spec},
    }


def processed(budgets, name: str = "foo"):
    """The budget once its controller saw its newest form."""

    def seen():
        found = budgets.get(name)
        return found if found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"] else None

    return eventually(seen, f"budget {name} is processed")


@pytest.mark.conformance("[sig-apps] DisruptionController should create a PodDisruptionBudget [Conformance]")
def test_create_update_patch_delete(budgets):
    assert budgets.create(budget(minAvailable="1%"))["spec"]["minAvailable"] == "1%"
    processed(budgets)
    assert budgets.edit("foo", lambda o: o["spec"].update(minAvailable="2%"))["spec"]["minAvailable"] == "2%"
    processed(budgets)
    assert budgets.patch("foo", {"spec": {"minAvailable": "3%"}}, STRATEGIC)["spec"]["minAvailable"] == "3%"
    processed(budgets)
    budgets.delete("foo")
    with refused(404, "NotFound"):
        budgets.get("foo")


@pytest.mark.conformance(
    "[sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a "
    "collection of PodDisruptionBudgets [Conformance]"
)
def test_collection(api, ns, budgets):
    label = f"e2e={ns}"
    for name in ("foo", "foo2"):
        budgets.create(budget(name, {"e2e": ns}, minAvailable="1%"))
    other = api.at("policy/v1", "poddisruptionbudgets", "default")
    other.create(budget("foo3", {"e2e": ns}, minAvailable="1%"))
    assert {b["metadata"]["name"] for b in budgets.everywhere().items(label)} == {"foo", "foo2", "foo3"}
    assert {b["metadata"]["name"] for b in budgets.items(label)} == {"foo", "foo2"}
    budgets.delete_all(label)
    assert budgets.items(label) == []
    assert [b["metadata"]["name"] for b in budgets.everywhere().items(label)] == ["foo3"]
    other.delete("foo3")


def running_pods(api, ns: str, count: int) -> None:
    pods = api.pods(ns)
    for number in range(count):
        pods.create(pod(f"pod-{number}", IDLE, labels={"foo": "bar"}))
    eventually(lambda: [ready(p) for p in pods.items()] == [True] * count, f"{count} pods are ready")


@pytest.mark.conformance(
    "[sig-apps] DisruptionController should observe PodDisruptionBudget status updated [Conformance]"
)
def test_status_is_kept(api, ns, budgets):
    budgets.create(budget(minAvailable=1))
    running_pods(api, ns, 3)
    eventually(lambda: budgets.get("foo")["status"]["disruptionsAllowed"] == 2, "two may go")
    status = budgets.get("foo")["status"]
    assert (status["currentHealthy"], status["desiredHealthy"], status["expectedPods"]) == (3, 1, 3)


@pytest.mark.conformance("[sig-apps] DisruptionController should update/patch PodDisruptionBudget status [Conformance]")
def test_status_endpoints(api, ns, budgets):
    budgets.create(budget(minAvailable=1))
    running_pods(api, ns, 1)
    eventually(lambda: budgets.get("foo")["status"].get("currentHealthy") == 1, "it is counted")
    when = "2026-01-02T03:04:05Z"
    updated = budgets.edit("foo", lambda o: o["status"].update(disruptedPods={"pod-0": when}), "status")
    assert updated["status"]["disruptedPods"] == {"pod-0": when}
    patch = {"status": {"disruptedPods": {"pod-0": None, "pod-1": when}}}
    patched = budgets.patch("foo", patch, MERGE, "status")
    assert patched["status"]["disruptedPods"] == {"pod-1": when}


@pytest.mark.conformance(
    "[sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it [Conformance]"
)
def test_eviction(api, ns, budgets):
    budgets.create(budget(minAvailable=3))
    processed(budgets)
    sets = api.at("apps/v1", "replicasets", ns)
    sets.create(workload("ReplicaSet", "rs", {"foo": "bar"}, 3, IDLE))
    pods = api.pods(ns)
    eventually(lambda: sum(map(ready, pods.items())) == 3, "three pods are ready")
    name = pods.items()[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": ns}}

    def evict():
        return api.ask("POST", f"{pods.path}/{name}/eviction", eviction)

    eventually(lambda: budgets.get("foo")["status"]["currentHealthy"] == 3, "three are counted")
    with refused(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget."):
        evict()
    assert "deletionTimestamp" not in pods.get(name)["metadata"]
    found = condition(budgets.get("foo"), "DisruptionAllowed")
    assert (found["status"], found["reason"]) == ("False", "InsufficientPods")
    budgets.patch("foo", {"spec": {"minAvailable": 2}})
    eventually(lambda: budgets.get("foo")["status"]["disruptionsAllowed"] == 1, "one may go")
    evict()
    eventually(lambda: (p := pods.find(name)) is None or p["metadata"].get("deletionTimestamp"), "it goes")
    # Patching it back stops the next one.
    budgets.patch("foo", {"spec": {"minAvailable": 3}})
    processed(budgets)
    eventually(lambda: budgets.get("foo")["status"]["currentHealthy"] == 3, "its successor is healthy")
    name = next(p["metadata"]["name"] for p in pods.items() if "deletionTimestamp" not in p["metadata"])
    eviction["metadata"]["name"] = name
    with refused(429, "TooManyRequests"):
        evict()
    budgets.delete("foo")
    evict()
