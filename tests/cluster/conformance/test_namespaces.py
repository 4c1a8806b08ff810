"""Namespaces: their API, and that they take everything with them."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import MERGE
from tests.cluster.conformance.objects import condition, config_map, container, pod, running
from tests.waiting import eventually


@pytest.fixture
def namespaces(api):
    return api.at("v1", "namespaces")


@pytest.mark.conformance("[sig-api-machinery] Namespaces [Serial] should patch a Namespace [Conformance]")
def test_patch(namespaces, ns):
    namespaces.patch(ns, {"metadata": {"labels": {"testLabel": "testValue"}}})
    assert namespaces.get(ns)["metadata"]["labels"]["testLabel"] == "testValue"


@pytest.mark.conformance("[sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace [Conformance]")
def test_update(namespaces, ns):
    updated = namespaces.edit(ns, lambda o: o["metadata"]["labels"].update({ns: "updated"}))
    assert updated["metadata"]["labels"][ns] == "updated"
    assert namespaces.get(ns)["metadata"]["labels"][ns] == "updated"


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status [Conformance]"
)
def test_status(namespaces, ns):
    assert namespaces.get(ns, "status")["status"]["phase"] == "Active"
    change = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"}
    patched = namespaces.patch(
        ns,
        {"metadata": {"annotations": {"e2e-patched-ns-status": ns}}, "status": {"conditions": [change]}},
        MERGE,
        "status",
    )
    assert patched["metadata"]["annotations"]["e2e-patched-ns-status"] == ns
    assert {**condition(patched, "StatusPatch"), **change} == condition(patched, "StatusPatch")
    more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Updated by an e2e test"}
    updated = namespaces.edit(ns, lambda o: o["status"]["conditions"].append(more), "status")
    assert condition(updated, "StatusUpdate")["message"] == "Updated by an e2e test"
    assert len(namespaces.get(ns, "status")["status"]["conditions"]) == 2


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace [Conformance]"
)
def test_finalizer(namespaces, ns):
    fake = "e2e.example.com/fakeFinalizer"
    updated = namespaces.edit(ns, lambda o: o["spec"]["finalizers"].append(fake), "finalize")
    assert updated["spec"]["finalizers"] == ["kubernetes", fake]
    removed = namespaces.edit(ns, lambda o: o["spec"].update(finalizers=["kubernetes"]), "finalize")
    assert removed["spec"]["finalizers"] == ["kubernetes"] == namespaces.get(ns)["spec"]["finalizers"]


def _gone_and_made_again(api, namespaces, name: str) -> None:
    namespaces.delete(name)
    eventually(lambda: namespaces.find(name) is None, f"namespace {name} is gone", 40)
    namespaces.create({"metadata": {"name": name}})


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a namespace is deleted "
    "[Conformance]"
)
def test_no_pod_outlives_its_namespace(api, namespaces, ns):
    pods = api.pods(ns)
    pods.create(pod("nginx"))
    eventually(lambda: running(pods.get("nginx")), "the pod runs")
    _gone_and_made_again(api, namespaces, ns)
    assert pods.items() == []


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a namespace is deleted "
    "[Conformance]"
)
def test_no_service_outlives_its_namespace(api, namespaces, ns):
    services = api.at("v1", "services", ns)
    made = services.create(
        {"metadata": {"name": "test-service"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
    )
    assert made["spec"]["clusterIP"]
    _gone_and_made_again(api, namespaces, ns)
    assert services.items() == []


@pytest.mark.conformance(
    "[sig-api-machinery] OrderedNamespaceDeletion namespace deletion should delete pod first [Conformance]"
)
def test_pods_go_first(api, namespaces, ns):
    pods, maps = api.pods(ns), api.at("v1", "configmaps", ns)
    held = pod("held", container(script="sleep 3600"))
    held["metadata"]["finalizers"] = ["e2e.example.com/finalizer"]
    pods.create(held)
    eventually(lambda: running(pods.get("held")), "the pod runs")
    maps.create(config_map("still-here"))
    namespaces.delete(ns)
    eventually(lambda: pods.get("held")["metadata"].get("deletionTimestamp"), "the pod is being deleted")

    def waits() -> bool:
        content = condition(namespaces.get(ns), "NamespaceDeletionContentFailure")
        remaining = condition(namespaces.get(ns), "NamespaceContentRemaining")
        return bool(content and content["status"] == "True") or bool(remaining and remaining["status"] == "True")

    eventually(waits, "the namespace says that something remains")
    assert "deletionTimestamp" not in maps.get("still-here")["metadata"]
    pods.patch("held", {"metadata": {"finalizers": None}})
    eventually(lambda: namespaces.find(ns) is None, "the namespace is gone", 40)
    namespaces.create({"metadata": {"name": ns}})
