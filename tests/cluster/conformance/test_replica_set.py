"""ReplicaSets and ReplicationControllers: the same duties under two names."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import MERGE, refused
from tests.cluster.conformance.objects import condition, container, pod, workload
from tests.waiting import eventually

LABELS = {"app": "sample", "pod": "httpd"}
IDLE = container(script="exec sleep 3600")
# Its web server tells the pod's name to whoever asks, over HTTP.
NAMED = container(
    script='echo "$HOSTNAME" > /www/index.html; exec httpd -f -p 8080 -h /www',
    volumeMounts=[{"name": "www", "mountPath": "/www"}],
    ports=[{"containerPort": 8080}],
)


@pytest.fixture
def sets(api, ns):
    return api.at("apps/v1", "replicasets", ns)


@pytest.fixture
def controllers(api, ns):
    return api.at("v1", "replicationcontrollers", ns)


def ready(collection, name: str, count: int, seconds: float = 30):
    def done():
        found = collection.get(name)
        return found if found["status"].get("readyReplicas", 0) == count == found["status"]["replicas"] else None

    return eventually(done, f"{name} has {count} ready", seconds)


def owner(obj) -> str | None:
    return next((r["uid"] for r in obj["metadata"].get("ownerReferences", []) if r.get("controller")), None)


def _serves(api, ns: str, collection, kind: str) -> None:
    made = workload(kind, "my-hostname-basic", LABELS, 2, NAMED)
    made["spec"]["template"]["spec"]["volumes"] = [{"name": "www", "emptyDir": {}}]
    collection.create(made)
    ready(collection, "my-hostname-basic", 2)
    for name in [p["metadata"]["name"] for p in api.pods(ns).items()]:
        page = api.ask("GET", f"/api/v1/namespaces/{ns}/pods/{name}:8080/proxy/")
        assert page == name + "\n"


@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should serve a basic image on each replica with a public image [Conformance]"
)
def test_set_serves(api, ns, sets):
    _serves(api, ns, sets, "ReplicaSet")


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should serve a basic image on each replica with a public image [Conformance]"
)
def test_controller_serves(api, ns, controllers):
    _serves(api, ns, controllers, "ReplicationController")


def _adopts(api, ns: str, collection, kind: str):
    pods = api.pods(ns)
    alone = pods.create(pod("pod-adoption", IDLE, labels=LABELS))
    made = collection.create(workload(kind, "adopter", LABELS, 1, IDLE))
    eventually(lambda: owner(pods.get("pod-adoption")) == made["metadata"]["uid"], "the pod is adopted")
    assert [p["metadata"]["uid"] for p in pods.items()] == [alone["metadata"]["uid"]]
    return made


def _releases(api, ns: str, uid: str) -> None:
    pods = api.pods(ns)
    [before] = pods.items()
    name = before["metadata"]["name"]
    pods.patch(name, {"metadata": {"labels": {"app": "another", "pod": "another"}}})
    eventually(lambda: owner(pods.get(name)) is None, "the pod is released")
    eventually(lambda: [p for p in pods.items() if owner(p) == uid], "it is replaced")


@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching pods [Conformance]"
)
def test_set_adopts_and_releases(api, ns, sets):
    made = _adopts(api, ns, sets, "ReplicaSet")
    _releases(api, ns, made["metadata"]["uid"])


@pytest.mark.conformance("[sig-apps] ReplicationController should adopt matching pods on creation [Conformance]")
def test_controller_adopts(api, ns, controllers):
    _adopts(api, ns, controllers, "ReplicationController")


@pytest.mark.conformance("[sig-apps] ReplicationController should release no longer matching pods [Conformance]")
def test_controller_releases(api, ns, controllers):
    made = controllers.create(workload("ReplicationController", "pod-release", LABELS, 1, IDLE))
    eventually(lambda: api.pods(ns).items(), "its pod")
    _releases(api, ns, made["metadata"]["uid"])


@pytest.mark.conformance("[sig-apps] ReplicaSet Replicaset should have a working scale subresource [Conformance]")
def test_set_scale(sets):
    sets.create(workload("ReplicaSet", "test-rs", LABELS, 1, IDLE))
    ready(sets, "test-rs", 1)
    scale = sets.get("test-rs", "scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    scale["spec"]["replicas"] = 2
    scale["metadata"].pop("resourceVersion")
    assert sets.update(scale, "scale")["spec"]["replicas"] == 2 == sets.get("test-rs")["spec"]["replicas"]
    sets.patch("test-rs", {"spec": {"replicas": 4}}, MERGE, "scale")
    assert sets.get("test-rs")["spec"]["replicas"] == 4


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should get and update a ReplicationController scale [Conformance]"
)
def test_controller_scale(controllers):
    controllers.create(workload("ReplicationController", "e2e-rc", LABELS, 1, IDLE))
    ready(controllers, "e2e-rc", 1)
    scale = controllers.get("e2e-rc", "scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    scale["spec"]["replicas"] = 2
    assert controllers.update(scale, "scale")["spec"]["replicas"] == 2
    ready(controllers, "e2e-rc", 2)


@pytest.mark.conformance("[sig-apps] ReplicaSet Replace and Patch tests [Conformance]")
def test_set_replace_and_patch(sets):
    sets.create(workload("ReplicaSet", "test-rs", LABELS, 1, IDLE))
    with sets.watch() as watch:
        ready(sets, "test-rs", 1)
        sets.edit("test-rs", lambda o: o["spec"].update(replicas=2))
        ready(sets, "test-rs", 2)
        patch = {
            "metadata": {"labels": {"test-rs": "patched"}},
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{**IDLE, "image": "localhost/hello:2"}]}}},
        }
        patched = sets.patch("test-rs", patch)
        assert patched["metadata"]["labels"]["test-rs"] == "patched" and patched["spec"]["replicas"] == 3
        found = watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-rs") == "patched")
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "localhost/hello:2"


@pytest.mark.conformance("[sig-apps] ReplicaSet should list and delete a collection of ReplicaSets [Conformance]")
def test_set_delete_collection(sets, ns):
    labels = {"e2e": ns}
    sets.create(workload("ReplicaSet", "test-rs", labels, 3, IDLE))
    ready(sets, "test-rs", 3)
    assert len(sets.everywhere().items(f"e2e={ns}")) == 1
    sets.delete_all(f"e2e={ns}")
    assert sets.everywhere().items(f"e2e={ns}") == []


@pytest.mark.conformance("[sig-apps] ReplicaSet should validate Replicaset Status endpoints [Conformance]")
def test_set_status(sets):
    sets.create(workload("ReplicaSet", "test-rs", LABELS, 1, IDLE))
    ready(sets, "test-rs", 1)
    with sets.watch() as watch:
        assert sets.get("test-rs", "status")["status"]["replicas"] == 1
        more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        updated = sets.edit("test-rs", lambda o: o["status"].setdefault("conditions", []).append(more), "status")
        assert condition(updated, "StatusUpdate")["reason"] == "E2E"
        watch.until("MODIFIED", lambda o: condition(o, "StatusUpdate"))
        patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
        assert condition(sets.patch("test-rs", patch, MERGE, "status"), "StatusPatched")
        watch.until("MODIFIED", lambda o: condition(o, "StatusPatched"))


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should surface a failure condition on a common issue like exceeded quota "
    "[Conformance]"
)
def test_controller_over_quota(api, ns, controllers):
    quotas = api.at("v1", "resourcequotas", ns)
    quotas.create({"metadata": {"name": "condition-test"}, "spec": {"hard": {"pods": "2"}}})
    eventually(lambda: quotas.get("condition-test")["status"].get("used") == {"pods": "0"}, "the quota counts")
    controllers.create(workload("ReplicationController", "condition-test", LABELS, 3, IDLE))

    def failing():
        return condition(controllers.get("condition-test"), "ReplicaFailure")

    found = eventually(failing, "its failure is told of")
    assert (found["status"], found["reason"]) == ("True", "FailedCreate") and "exceeded quota" in found["message"]
    controllers.patch("condition-test", {"spec": {"replicas": 2}})
    eventually(lambda: not failing(), "the failure is over")


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should test the lifecycle of a ReplicationController [Conformance]"
)
def test_controller_lifecycle(controllers):
    name, label = "rc-test", "test-rc-static=true"
    made = workload("ReplicationController", name, {"test-rc-static": "true"}, 1, IDLE)
    with controllers.watch(label) as watch:
        controllers.create(made)
        watch.until("ADDED")
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas") == 1, 30)
        controllers.patch(name, {"metadata": {"labels": {"test-rc": "patched"}}})
        watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-rc") == "patched")
        patched = controllers.patch(name, {"status": {"readyReplicas": 0, "availableReplicas": 0}}, MERGE, "status")
        assert patched["status"].get("readyReplicas", 0) == 0
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas", 0) == 0)
        assert controllers.get(name, "status")["kind"] == "ReplicationController"
        controllers.patch(name, {"spec": {"replicas": 2}}, MERGE, "scale")
        watch.until("MODIFIED", lambda o: o["spec"]["replicas"] == 2)
        watch.until("MODIFIED", lambda o: o["status"].get("readyReplicas") == 2, 30)
        assert len(controllers.everywhere().items(label)) == 1
        controllers.edit(name, lambda o: o["spec"].update(replicas=1))
        watch.until("MODIFIED", lambda o: o["status"]["replicas"] == 1, 30)
        controllers.delete_all(label)
        watch.until("DELETED", seconds=30)
    with refused(404, "NotFound"):
        controllers.get(name)
