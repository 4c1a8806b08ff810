"""StatefulSets: identity, order, revisions."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import MERGE
from tests.cluster.conformance.objects import condition, container, pod, ready, workload
from tests.waiting import eventually

LABELS = {"foo": "bar", "baz": "blah"}
# A pod is ready while this file is there: tests make pods healthy and unhealthy with it.
HEALTH = {"exec": {"command": ["/bin/ls", "/state/healthy"]}, "periodSeconds": 1}


@pytest.fixture
def sets(api, ns):
    services = api.at("v1", "services", ns)
    services.create(
        {"metadata": {"name": "test"}, "spec": {"clusterIP": "None", "selector": LABELS, "ports": [{"port": 80}]}}
    )
    return api.at("apps/v1", "statefulsets", ns)


def stateful_set(replicas: int, name: str = "ss", healthy: bool = True, **spec):
    script = "echo > /state/healthy; exec sleep 3600" if healthy else "exec sleep 3600"
    main = container("webserver", script, readinessProbe=HEALTH, volumeMounts=[{"name": "s", "mountPath": "/state"}])
    made = workload("StatefulSet", name, LABELS, replicas, main, serviceName="test", **spec)
    made["spec"]["template"]["spec"]["volumes"] = [{"name": "s", "emptyDir": {}}]
    return made


def settled(sets, name: str = "ss", replicas: int | None = None, seconds: float = 60):
    def done():
        found = sets.get(name)
        wanted = found["spec"]["replicas"] if replicas is None else replicas
        status = found.get("status", {})
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return found if seen and status.get("readyReplicas", 0) == wanted == status["replicas"] else None

    return eventually(done, f"{name} is as it should be", seconds)


def updated(sets, seconds: float = 60):
    """The set once its rolling update is over."""

    def done():
        found = sets.get("ss")
        status = found["status"]
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        same = status.get("currentRevision") == status.get("updateRevision")
        return found if seen and same and status.get("readyReplicas") == found["spec"]["replicas"] else None

    return eventually(done, "the update is over", seconds)


def by_name(api, ns: str):
    return {p["metadata"]["name"]: p for p in api.pods(ns).items("foo=bar")}


def revision(obj) -> str:
    return obj["metadata"]["labels"]["controller-revision-hash"]


def set_health(cluster, ns: str, name: str, healthy: bool) -> None:
    command = "echo > /state/healthy" if healthy else "busybox rm /state/healthy"
    cluster.kubectl("-n", ns, "exec", name, "--", "/bin/sh", "-c", command)


def another_template(text: str):
    return {"spec": {"template": {"metadata": {"annotations": {"version": text}}}}}


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] "
    "should have a working scale subresource [Conformance]"
)
def test_scale(sets):
    sets.create(stateful_set(1))
    settled(sets)
    scale = sets.get("ss", "scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    scale["spec"]["replicas"] = 2
    scale["metadata"].pop("resourceVersion")
    assert sets.update(scale, "scale")["spec"]["replicas"] == 2 == sets.get("ss")["spec"]["replicas"]
    assert sets.patch("ss", {"spec": {"replicas": 4}}, MERGE, "scale")["spec"]["replicas"] == 4
    assert sets.get("ss")["spec"]["replicas"] == 4


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] "
    "should list, patch and delete a collection of StatefulSets [Conformance]"
)
def test_collection(sets, ns):
    made = stateful_set(1, "test-ss")
    made["metadata"]["labels"] = {"e2e": ns}
    sets.create(made)
    settled(sets, "test-ss")
    patch = {"metadata": {"labels": {"test-ss": "patched"}}, "spec": {"replicas": 2}}
    patched = sets.patch("test-ss", patch)
    assert patched["metadata"]["labels"]["test-ss"] == "patched" and patched["spec"]["replicas"] == 2
    settled(sets, "test-ss")
    assert len(sets.everywhere().items("test-ss=patched")) == 1
    sets.delete_all("test-ss=patched")
    assert sets.everywhere().items("test-ss=patched") == []


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] "
    "should validate Statefulset Status endpoints [Conformance]"
)
def test_status(sets):
    sets.create(stateful_set(1))
    settled(sets)
    with sets.watch() as watch:
        assert sets.get("ss", "status")["status"]["replicas"] == 1
        more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        changed = sets.edit("ss", lambda o: o["status"].setdefault("conditions", []).append(more), "status")
        assert condition(changed, "StatusUpdate")["reason"] == "E2E"
        watch.until("MODIFIED", lambda o: condition(o, "StatusUpdate"))
        patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
        assert condition(sets.patch("ss", patch, MERGE, "status"), "StatusPatched")
        watch.until("MODIFIED", lambda o: condition(o, "StatusPatched"))


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] "
    "Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Slow] [Conformance]"
)
def test_order(api, ns, cluster, sets):
    pods = api.pods(ns)
    sets.create(stateful_set(1))
    settled(sets)
    set_health(cluster, ns, "ss-0", False)
    eventually(lambda: not ready(pods.get("ss-0")), "the first is unhealthy")
    with pods.watch("foo=bar", resourceVersion=pods.list()["metadata"]["resourceVersion"]) as watch:
        sets.patch("ss", {"spec": {"replicas": 3}})
        eventually(lambda: sets.get("ss")["status"]["observedGeneration"] == 2, "the controller has seen it")
        assert list(by_name(api, ns)) == ["ss-0"]
        set_health(cluster, ns, "ss-0", True)
        settled(sets)
        _in_order(watch.events, ["ss-0", "ss-1", "ss-2"])
        for name in ("ss-0", "ss-1", "ss-2"):
            set_health(cluster, ns, name, False)
        eventually(lambda: not any(map(ready, by_name(api, ns).values())), "all are unhealthy")
        sets.patch("ss", {"spec": {"replicas": 0}})
        eventually(lambda: sets.get("ss")["status"]["observedGeneration"] == 3, "the controller has seen it")
        assert not [p for p in by_name(api, ns).values() if "deletionTimestamp" in p["metadata"]]
        # The last one may go as soon as those before it are well: it is not asked any more.
        for name in ("ss-0", "ss-1"):
            set_health(cluster, ns, name, True)
        eventually(lambda: by_name(api, ns) == {}, "all are gone", 60)
        eventually(lambda: len([e for e in watch.events if e["type"] == "DELETED"]) == 3, "three deletions")
        gone = [e["object"]["metadata"]["name"] for e in watch.events if e["type"] == "DELETED"]
        assert gone == ["ss-2", "ss-1", "ss-0"]


def _in_order(events, names: list[str]) -> None:
    """Each pod was made only when those before it were ready."""
    ready_now: set[str] = set()
    made = []
    for event in events:
        name = event["object"]["metadata"]["name"]
        if event["type"] == "ADDED":
            made.append(name)
            assert ready_now >= set(names[: names.index(name)]), f"{name} came early"
        ready_now = ready_now | {name} if ready(event["object"]) else ready_now - {name}
    assert made == names[1:]


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] "
    "Burst scaling should run to completion even with unhealthy pods [Slow] [Conformance]"
)
def test_burst(api, ns, sets):
    # No pod ever gets ready, and none waits for another.
    sets.create(stateful_set(1, healthy=False, podManagementPolicy="Parallel"))
    eventually(lambda: list(by_name(api, ns)) == ["ss-0"], "one pod")
    sets.patch("ss", {"spec": {"replicas": 3}})
    eventually(lambda: sorted(by_name(api, ns)) == ["ss-0", "ss-1", "ss-2"], "three pods")
    assert not any(map(ready, by_name(api, ns).values()))
    sets.patch("ss", {"spec": {"replicas": 0}})
    eventually(lambda: by_name(api, ns) == {}, "all are gone", 60)
    eventually(lambda: sets.get("ss")["status"]["replicas"] == 0, "and counted")


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] "
    "should perform rolling updates and roll backs of template modifications [Conformance]"
)
def test_rolling_update(api, ns, sets):
    made = stateful_set(3)
    made["spec"]["template"]["metadata"]["annotations"] = {"version": "old"}
    sets.create(made)
    first = updated(sets)["status"]["updateRevision"]
    pods = api.pods(ns)
    for text, wanted in (("new", None), ("old", first)):
        with pods.watch("foo=bar", resourceVersion=pods.list()["metadata"]["resourceVersion"]) as watch:
            sets.patch("ss", another_template(text))
            done = updated(sets)
            revisions = {revision(p) for p in by_name(api, ns).values()}
            assert revisions == {done["status"]["currentRevision"]}
            # One at a time, from the last to the first.
            assert [e["object"]["metadata"]["name"] for e in watch.events if e["type"] == "ADDED"] == [
                "ss-2",
                "ss-1",
                "ss-0",
            ]
        if wanted:
            assert done["status"]["currentRevision"] == wanted
        else:
            assert done["status"]["currentRevision"] != first
    assert len(api.at("apps/v1", "controllerrevisions", ns).items("foo=bar")) == 2


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] "
    "should perform canary updates and phased rolling updates of template modifications [Conformance]"
)
def test_canary(api, ns, sets):
    def partitioned(at: int):
        return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": at}}}

    sets.create(stateful_set(3, **partitioned(3)))
    old = updated(sets)["status"]["currentRevision"]
    sets.patch("ss", another_template("new"))
    new = eventually(lambda: (r := sets.get("ss")["status"]["updateRevision"]) != old and r, "there is a new revision")

    def on_new() -> list[str]:
        return sorted(n for n, p in by_name(api, ns).items() if revision(p) == new)

    assert on_new() == []  # the partition is behind all
    sets.patch("ss", {"spec": partitioned(2)})
    eventually(lambda: on_new() == ["ss-2"] and settled(sets), "the canary is new", 60)
    # Pods that are deleted meanwhile come back on their side of the partition.
    before = {n: p["metadata"]["uid"] for n, p in by_name(api, ns).items()}
    for name in ("ss-0", "ss-2"):
        api.pods(ns).delete(name)

    def replaced() -> list[str]:
        after = {n: p["metadata"]["uid"] for n, p in by_name(api, ns).items()}
        return [n for n in sorted(after) if after[n] != before[n]]

    eventually(lambda: replaced() == ["ss-0", "ss-2"] and settled(sets), "both are back", 60)
    assert on_new() == ["ss-2"]
    for at in (1, 0):
        sets.patch("ss", {"spec": partitioned(at)})
        wanted = [f"ss-{n}" for n in range(at, 3)]
        eventually(lambda wanted=wanted: on_new() == wanted and settled(sets), f"{wanted} are new", 60)
    assert updated(sets)["status"]["currentRevision"] == new


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] "
    "Should recreate evicted statefulset [Conformance]"
)
def test_recreated(api, ns, sets):
    """The node refuses the first pod, whose host port is taken; the set makes it again until it is free."""
    pods = api.pods(ns)
    node = api.at("v1", "nodes").items()[0]["metadata"]["name"]
    taken = container("webserver", "exec sleep 3600", ports=[{"containerPort": 21017, "hostPort": 21017}])
    pods.create(pod("test-pod", taken, nodeName=node))
    eventually(lambda: ready(pods.get("test-pod")), "the port is taken")
    made = workload("StatefulSet", "ss", LABELS, 1, taken, serviceName="test")
    # Past the scheduler, which would not put it there.
    made["spec"]["template"]["spec"]["nodeName"] = node
    with pods.watch("foo=bar") as watch:
        sets.create(made)
        failed = watch.until("MODIFIED", lambda o: o["status"]["phase"] == "Failed", 30)
        again = watch.until("ADDED", lambda o: o["metadata"]["uid"] != failed["metadata"]["uid"], 30)
        assert again["metadata"]["name"] == "ss-0" == failed["metadata"]["name"]
        pods.delete("test-pod", gracePeriodSeconds=0)
        watch.until("MODIFIED", ready, 60)
