"""Deployments: roll-outs of every kind."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import MERGE, Watch
from tests.cluster.conformance.lifecycle import status_verbs
from tests.cluster.conformance.objects import complete, condition, container, workload
from tests.waiting import eventually

LABELS = {"name": "sample-pod"}
IDLE = container(script="exec sleep 3600")
REVISION = "deployment.kubernetes.io/revision"


@pytest.fixture
def deployments(api, ns):
    return api.at("apps/v1", "deployments", ns)


@pytest.fixture
def sets(api, ns):
    return api.at("apps/v1", "replicasets", ns)


def deployment(name: str, replicas: int = 1, *containers, **spec):
    return workload("Deployment", name, LABELS, replicas, *(containers or (IDLE,)), **spec)


def rolled_out(deployments, name: str, seconds: float = 30):
    def done():
        found = deployments.get(name)
        return found if complete(found) else None

    return eventually(done, f"{name} is complete", seconds)


def with_image(image: str):
    return {"spec": {"template": {"spec": {"containers": [{**IDLE, "image": image}]}}}}


def existing_set(sets, name: str, revision: str = ""):
    """A replica set that was there before its deployment, with one pod that runs."""
    made = workload("ReplicaSet", name, LABELS, 1, container("older", "exec sleep 3600"))
    if revision:
        made["metadata"]["annotations"] = {REVISION: revision}
    sets.create(made)
    eventually(lambda: sets.get(name)["status"].get("readyReplicas") == 1, f"{name} has a pod that runs")


@pytest.mark.conformance(
    "[sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones [Conformance]"
)
def test_rolling_update(deployments, sets):
    revision = 3546343826724305832
    existing_set(sets, "test-rolling-update-controller", str(revision))
    made = deployments.create(deployment("test-rolling-update-deployment"))
    done = rolled_out(deployments, "test-rolling-update-deployment")
    assert done["metadata"]["annotations"][REVISION] == str(revision + 1)
    old = sets.get("test-rolling-update-controller")
    # The old set was adopted, and is empty now.
    assert old["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert old["spec"]["replicas"] == 0 == old["status"]["replicas"]
    assert len(sets.items()) == 2


@pytest.mark.conformance(
    "[sig-apps] Deployment RecreateDeployment should delete old pods and create new ones [Conformance]"
)
def test_recreate(api, ns, deployments):
    made = deployment("test-recreate-deployment", 2, strategy={"type": "Recreate"})
    deployments.create(made)
    rolled_out(deployments, "test-recreate-deployment")
    pods = api.pods(ns)
    listed = pods.list()
    old = {p["metadata"]["uid"] for p in listed["items"]}
    with pods.watch(resourceVersion=listed["metadata"]["resourceVersion"]) as watch:
        change = {"spec": {"template": {"metadata": {"annotations": {"again": "1"}}}}}
        deployments.patch("test-recreate-deployment", change)
        rolled_out(deployments, "test-recreate-deployment")
        _never_together(watch, old)


def _never_together(watch: Watch, old: set[str]) -> None:
    """Replays what happened: while a pod of the old template was there, none of the new one was."""
    left = set(old)
    for event in list(watch.events):
        uid = event["object"]["metadata"]["uid"]
        if event["type"] == "DELETED" or event["object"]["status"]["phase"] in ("Succeeded", "Failed"):
            left.discard(uid)
        elif uid not in old:
            assert not left, f"a new pod beside {left}"
    assert not left


@pytest.mark.conformance("[sig-apps] Deployment deployment should delete old replica sets [Conformance]")
def test_history_limit(deployments, sets):
    existing_set(sets, "test-cleanup-controller")
    deployments.create(deployment("test-cleanup-deployment", revisionHistoryLimit=0))
    rolled_out(deployments, "test-cleanup-deployment")
    eventually(lambda: sets.find("test-cleanup-controller") is None, "the old replica set is deleted")
    assert len(sets.items()) == 1


@pytest.mark.conformance("[sig-apps] Deployment deployment should support rollover [Conformance]")
def test_rollover(deployments, sets):
    existing_set(sets, "test-rollover-controller")
    made = deployment(
        "test-rollover-deployment",
        1,
        container(image="localhost/nonexistent:1"),
        minReadySeconds=2,
        strategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
    )
    deployments.create(made)

    def surged() -> bool:
        status = deployments.get("test-rollover-deployment").get("status", {})
        return status.get("updatedReplicas") == 1 and status.get("unavailableReplicas") == 1

    eventually(surged, "a roll-out that cannot end has begun")
    stuck = [s for s in sets.items() if s["metadata"]["name"] != "test-rollover-controller"]
    assert len(stuck) == 1
    deployments.patch("test-rollover-deployment", with_image("localhost/hello:1"))
    rolled_out(deployments, "test-rollover-deployment")
    for name in ("test-rollover-controller", stuck[0]["metadata"]["name"]):
        old = sets.get(name)
        assert (old["spec"]["replicas"], old["status"]["replicas"]) == (0, 0)


@pytest.mark.conformance("[sig-apps] Deployment deployment should support proportional scaling [Conformance]")
def test_proportional(deployments, sets):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    deployments.create(deployment("webserver-deployment", 10, strategy=strategy))
    rolled_out(deployments, "webserver-deployment", 60)
    [first] = [s["metadata"]["name"] for s in sets.items()]
    deployments.patch("webserver-deployment", with_image("localhost/nonexistent:1"))

    def sizes() -> list[int]:
        second = [s for s in sets.items() if s["metadata"]["name"] != first]
        return [sets.get(first)["spec"]["replicas"]] + [s["spec"]["replicas"] for s in second]

    # As many old ones as must be available, and new ones up to the surge.
    eventually(lambda: sizes() == [8, 5], "eight old and five new", 30)
    eventually(lambda: sets.get(first)["status"]["availableReplicas"] == 8, "eight old are available")
    deployments.patch("webserver-deployment", {"spec": {"replicas": 30}}, MERGE, "scale")
    # Twenty more are shared out by size.
    eventually(lambda: sizes() == [20, 13], "scaled in proportion", 30)


@pytest.mark.conformance("[sig-apps] Deployment Deployment should have a working scale subresource [Conformance]")
def test_scale(deployments):
    _scale(deployments, deployment("test-new-deployment"), 1)


def _scale(collection, made, start: int) -> None:
    name = made["metadata"]["name"]
    collection.create(made)
    eventually(lambda: collection.get(name)["status"].get("readyReplicas") == start, "its pods run")
    scale = collection.get(name, "scale")
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["replicas"]) == ("Scale", start, start)
    scale["spec"]["replicas"] = start + 1
    scale["metadata"].pop("resourceVersion")
    assert collection.update(scale, "scale")["spec"]["replicas"] == start + 1
    assert collection.get(name)["spec"]["replicas"] == start + 1
    patched = collection.patch(name, {"spec": {"replicas": start + 3}}, MERGE, "scale")
    assert patched["spec"]["replicas"] == start + 3 == collection.get(name)["spec"]["replicas"]


@pytest.mark.conformance("[sig-apps] Deployment should validate Deployment Status endpoints [Conformance]")
def test_status(deployments):
    deployments.create(deployment("test-deployment-status"))
    rolled_out(deployments, "test-deployment-status")
    with deployments.watch() as watch:
        more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        updated = deployments.edit("test-deployment-status", lambda o: o["status"]["conditions"].append(more), "status")
        assert condition(updated, "StatusUpdate")["reason"] == "E2E"
        watch.until("MODIFIED", lambda o: condition(o, "StatusUpdate"))
        patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
        patched = deployments.patch("test-deployment-status", patch, MERGE, "status")
        assert condition(patched, "StatusPatched")["status"] == "True"
        watch.until("MODIFIED", lambda o: condition(o, "StatusPatched"))


@pytest.mark.conformance("[sig-apps] Deployment should run the lifecycle of a Deployment [Conformance]")
def test_lifecycle(deployments):
    name, label = "test-deployment", "test-deployment-static=true"
    made = deployment(name, 2)
    made["metadata"]["labels"] = {"test-deployment-static": "true"}
    with deployments.watch(label) as watch:
        deployments.create(made)
        watch.until("ADDED")
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas") == 2, 30)
        patch = {
            "metadata": {"labels": {"test-deployment": "patched"}},
            "spec": {"replicas": 1, "template": {"spec": {"terminationGracePeriodSeconds": 0}}},
        }
        deployments.patch(name, patch)
        watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-deployment") == "patched")
        watch.until("MODIFIED", complete, 30)
        [listed] = deployments.everywhere().items(label)
        assert listed["metadata"]["labels"]["test-deployment"] == "patched"
        deployments.edit(name, lambda o: o["spec"].update(replicas=2))
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas") == 2 and complete(o), 30)
        status_verbs(
            deployments, name, {"readyReplicas": 0, "availableReplicas": 0}, lambda s: s.update(readyReplicas=2)
        )
        watch.until("MODIFIED", lambda o: o["metadata"].get("annotations", {}).get("patchedstatus") == "true")
        deployments.delete_all(label)
        watch.until("DELETED", seconds=30)
