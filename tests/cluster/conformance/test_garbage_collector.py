"""Owners and dependants."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.objects import container, pod, workload
from tests.waiting import eventually

LABELS = {"app": "gc"}
IDLE = container(script="exec sleep 3600")


def made(collection, kind: str, replicas: int, name: str = "simpletest"):
    return collection.create(workload(kind, name, LABELS, replicas, IDLE))


def all_made(collection, name: str, count: int) -> None:
    eventually(lambda: collection.get(name)["status"].get("replicas") == count, f"{name} has {count} pods", 40)


def owners(obj) -> list[str]:
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences", [])]


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning [Conformance]"
)
def test_background(api, ns):
    controllers, pods = api.at("v1", "replicationcontrollers", ns), api.pods(ns)
    rc = made(controllers, "ReplicationController", 2)
    eventually(lambda: len(pods.items()) == 2, "two pods")
    controllers.delete("simpletest", propagationPolicy="Background", preconditions={"uid": rc["metadata"]["uid"]})
    eventually(lambda: controllers.find("simpletest") is None and not pods.items(), "all is gone", 40)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so [Serial] "
    "[Conformance]"
)
def test_orphan(api, ns):
    controllers, pods = api.at("v1", "replicationcontrollers", ns), api.pods(ns)
    rc = made(controllers, "ReplicationController", 10)
    all_made(controllers, "simpletest", 10)
    controllers.delete("simpletest", propagationPolicy="Orphan", preconditions={"uid": rc["metadata"]["uid"]})
    eventually(lambda: controllers.find("simpletest") is None, "the controller is gone")
    left = pods.items()
    assert len(left) == 10
    assert not [p for p in left if owners(p) or "deletionTimestamp" in p["metadata"]]


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning [Conformance]"
)
def test_deployment_background(api, ns):
    deployments, sets, pods = (
        api.at("apps/v1", "deployments", ns),
        api.at("apps/v1", "replicasets", ns),
        api.pods(ns),
    )
    made(deployments, "Deployment", 2)
    eventually(lambda: len(sets.items()) == 1 and len(pods.items()) == 2, "a replica set with two pods")
    deployments.delete("simpletest", propagationPolicy="Background")
    eventually(lambda: not (deployments.items() + sets.items() + pods.items()), "all is gone", 40)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should orphan RS created by deployment when "
    "deleteOptions.PropagationPolicy is Orphan [Conformance]"
)
def test_deployment_orphan(api, ns):
    deployments, sets, pods = (
        api.at("apps/v1", "deployments", ns),
        api.at("apps/v1", "replicasets", ns),
        api.pods(ns),
    )
    made(deployments, "Deployment", 2)
    eventually(lambda: len(sets.items()) == 1 and len(pods.items()) == 2, "a replica set with two pods")
    deployments.delete("simpletest", propagationPolicy="Orphan")
    eventually(lambda: deployments.find("simpletest") is None, "the deployment is gone")
    [left] = sets.items()
    assert owners(left) == [] and "deletionTimestamp" not in left["metadata"]
    kept = pods.items()
    assert len(kept) == 2 and all(owners(p) == [left["metadata"]["uid"]] for p in kept)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the "
    "deleteOptions says so [Serial] [Conformance]"
)
def test_foreground(api, ns):
    controllers, pods = api.at("v1", "replicationcontrollers", ns), api.pods(ns)
    rc = made(controllers, "ReplicationController", 10)
    all_made(controllers, "simpletest", 10)
    with controllers.watch() as watch, pods.watch(resourceVersion=pods.list()["metadata"]["resourceVersion"]) as gone:
        controllers.delete("simpletest", propagationPolicy="Foreground", preconditions={"uid": rc["metadata"]["uid"]})
        waits = controllers.get("simpletest")["metadata"]
        assert waits["deletionTimestamp"] and "foregroundDeletion" in waits["finalizers"]
        last = max(int(gone.until("DELETED", seconds=40)["metadata"]["resourceVersion"]) for _ in range(10))
        # One revision line: the controller's end comes after the last pod's.
        assert int(watch.until("DELETED", seconds=20)["metadata"]["resourceVersion"]) > last
    assert pods.items() == []


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner that's "
    "waiting for dependents to be deleted [Serial] [Conformance]"
)
def test_two_owners(api, ns):
    controllers, pods = api.at("v1", "replicationcontrollers", ns), api.pods(ns)
    doomed = made(controllers, "ReplicationController", 10, "to-be-deleted")
    other = workload("ReplicationController", "to-stay", {"app": "other"}, 0, IDLE)
    stays = controllers.create(other)
    all_made(controllers, "to-be-deleted", 10)
    second = {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "name": "to-stay",
        "uid": stays["metadata"]["uid"],
    }
    shared = [p["metadata"]["name"] for p in pods.items()[:5]]
    for name in shared:
        pods.edit(name, lambda o: o["metadata"]["ownerReferences"].append(second))
    uid = doomed["metadata"]["uid"]
    controllers.delete("to-be-deleted", propagationPolicy="Foreground", preconditions={"uid": uid})
    eventually(lambda: controllers.find("to-be-deleted") is None, "its foreground deletion ends", 40)
    left = pods.items()
    assert sorted(p["metadata"]["name"] for p in left) == sorted(shared)
    assert not [p for p in left if "deletionTimestamp" in p["metadata"]]
    assert all(owners(p) == [stays["metadata"]["uid"]] for p in left)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]"
)
def test_circle(api, ns):
    pods = api.pods(ns)
    made = {f"pod{n}": pods.create(pod(f"pod{n}", IDLE)) for n in (1, 2, 3)}
    for name, owner in (("pod1", "pod3"), ("pod2", "pod1"), ("pod3", "pod2")):
        uid = made[owner]["metadata"]["uid"]
        reference = {"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": uid, "controller": True}
        reference["blockOwnerDeletion"] = True
        pods.patch(name, {"metadata": {"ownerReferences": [reference]}})
    pods.delete("pod1", propagationPolicy="Foreground")
    eventually(lambda: not pods.items(), "no pod is left", 40)
