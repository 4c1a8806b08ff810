"""What the scheduler promises, with real pods on the cluster's node: predicates, preemption, and the objects around.

Preemption is about a resource of these tests' own that the node is given for a while, so that no other pod is evicted.
"""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import MERGE, Refused, refused
from tests.cluster.conformance.objects import condition, container, meta, pod, running, workload
from tests.waiting import eventually

from shirube.api import quantity

IDLE = "exec sleep 3600"
RESOURCE = "scheduling.example.com/foo"


def idle(name="main", **resources):
    return container(name, IDLE, **({"resources": resources} if resources else {}))


def asks(amount):
    return {"requests": {RESOURCE: amount}, "limits": {RESOURCE: amount}}


@pytest.fixture
def node(api):
    (found,) = api.at("v1", "nodes").items()
    return found["metadata"]["name"]


@pytest.fixture
def five(api, node):
    """The node has five of a resource; what it was given is taken away again."""
    nodes = api.at("v1", "nodes")
    nodes.patch(node, {"status": {"capacity": {RESOURCE: "5"}, "allocatable": {RESOURCE: "5"}}}, MERGE, "status")
    yield RESOURCE
    nodes.patch(node, {"status": {"capacity": {RESOURCE: None}, "allocatable": {RESOURCE: None}}}, MERGE, "status")


@pytest.fixture
def priorities(api, ns):
    """Priority classes of this test: `priorities("low", 1)` makes one and returns its name."""
    classes, made = api.at("scheduling.k8s.io/v1", "priorityclasses"), []

    def priority(name, value):
        made.append(f"{ns}-{name}")
        classes.create({"metadata": {"name": made[-1]}, "value": value})
        return made[-1]

    yield priority
    for name in made:
        classes.delete(name)


def is_running(pods, name, seconds=60):
    return eventually(lambda: running(found := pods.get(name)) and found, f"{name} runs", seconds)


def waits(api, pods, name, reason):
    """The pod is not scheduled, and an event says why."""

    def refusal():
        found = condition(pods.get(name), "PodScheduled")
        return found is not None and found["reason"] == "Unschedulable" and reason in found["message"]

    eventually(refusal, f"{name} waits: {reason}")
    assert "nodeName" not in pods.get(name)["spec"]
    selector = f"reason=FailedScheduling,involvedObject.name={name}"
    events = api.at("v1", "events", pods.namespace)
    eventually(lambda: events.items(fieldSelector=selector), f"an event says that {name} waits")


# Predicates


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPredicates [Serial] validates resource limits of pods that are allowed to run "
    "[Conformance]"
)
def test_a_node_takes_no_more_than_it_has(api, ns, node):
    def milli(found):
        containers = found["spec"]["containers"]
        return sum(quantity.milli(c.get("resources", {}).get("requests", {}).get("cpu", "0")) for c in containers)

    def there():
        everyone = api.at("v1", "pods").items(fieldSelector=f"spec.nodeName={node}")
        return [p for p in everyone if p["status"]["phase"] not in ("Succeeded", "Failed")]

    allocatable = quantity.milli(api.at("v1", "nodes").get(node)["status"]["allocatable"]["cpu"])
    left = allocatable - sum(milli(p) for p in there())
    pods = api.pods(ns)
    most = f"{left * 7 // 10}m"
    pods.create(pod("filler", idle(requests={"cpu": most}, limits={"cpu": most})))
    is_running(pods, "filler")
    more = f"{left // 2}m"
    pods.create(pod("additional", idle(requests={"cpu": more}, limits={"cpu": more})))
    waits(api, pods, "additional", "Insufficient cpu")


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if not matching "
    "[Conformance]"
)
def test_no_node_matches(api, ns):
    pods = api.pods(ns)
    pods.create(pod("restricted-pod", idle(), nodeSelector={"label": "nonempty"}))
    waits(api, pods, "restricted-pod", "1 node(s) didn't match Pod's node affinity/selector")


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if matching [Conformance]"
)
def test_a_node_matches(api, ns, node):
    pods, nodes = api.pods(ns), api.at("v1", "nodes")
    key = f"kubernetes.io/e2e-{ns}"
    nodes.patch(node, {"metadata": {"labels": {key: "42"}}})
    try:
        pods.create(pod("with-labels", idle(), nodeSelector={key: "42"}))
        assert is_running(pods, "with-labels")["spec"]["nodeName"] == node
    finally:
        nodes.patch(node, {"metadata": {"labels": {key: None}}})


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPredicates [Serial] validates that there exists conflict between pods with same "
    "hostPort and protocol but one using 0.0.0.0 hostIP [Conformance]"
)
def test_a_host_port_on_all_addresses_conflicts_with_one(api, ns, node):
    pods, here = api.pods(ns), {"kubernetes.io/hostname": node}

    def on(**port):
        made = idle()
        made["ports"] = [{"containerPort": 8080, "protocol": "TCP", "hostPort": 54322, **port}]
        return made

    pods.create(pod("pod4", on(), nodeSelector=here))
    is_running(pods, "pod4")
    pods.create(pod("pod5", on(hostIP="127.0.0.1"), nodeSelector=here))
    waits(api, pods, "pod5", "node(s) didn't have free ports for the requested pod ports")


# Preemption


def lesser(api, ns, priorities):
    """A pod of low and one of medium priority, each with two of the five."""
    pods = api.pods(ns)
    pods.create(pod("low", idle(**asks("2")), priorityClassName=priorities("low", 1)))
    pods.create(pod("medium", idle(**asks("2")), priorityClassName=priorities("medium", 100)))
    for name in ("low", "medium"):
        is_running(pods, name)
    return pods


def evicted(pods, name):
    eventually(
        lambda: (found := pods.find(name)) is None or found["metadata"].get("deletionTimestamp"), f"{name} is evicted"
    )


@pytest.mark.conformance("[sig-scheduling] SchedulerPreemption [Serial] validates basic preemption works [Conformance]")
def test_the_least_important_pod_makes_room(api, ns, five, priorities):
    pods = lesser(api, ns, priorities)
    pods.create(pod("high", idle(**asks("2")), priorityClassName=priorities("high", 1000)))
    assert is_running(pods, "high")["spec"]["priority"] == 1000
    evicted(pods, "low")
    assert running(pods.get("medium"))
    assert not pods.get("medium")["metadata"].get("deletionTimestamp")


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] validates lower priority pod preemption by critical pod "
    "[Conformance]"
)
def test_a_critical_pod_gets_room(api, ns, five, priorities):
    pods, system = lesser(api, ns, priorities), api.pods("kube-system")
    critical = f"critical-{ns}"
    system.create(pod(critical, idle(**asks("2")), priorityClassName="system-cluster-critical"))
    try:
        is_running(system, critical)
        evicted(pods, "low")
        assert not pods.get("medium")["metadata"].get("deletionTimestamp")
    finally:
        system.delete(critical, gracePeriodSeconds=0)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] validates pod disruption condition is added to the preempted pod "
    "[Conformance]"
)
def test_who_is_preempted_is_told(api, ns, five, priorities):
    pods = api.pods(ns)
    victim = pod("victim", idle(**asks("5")), priorityClassName=priorities("low", 1))
    victim["metadata"]["finalizers"] = ["example.com/test-finalizer"]
    pods.create(victim)
    is_running(pods, "victim")
    pods.create(pod("preemptor", idle(**asks("5")), priorityClassName=priorities("high", 1000)))
    try:
        found = eventually(
            lambda: (p := pods.get("victim"))["metadata"].get("deletionTimestamp") and p, "the victim is evicted"
        )
        told = condition(found, "DisruptionTarget")
        assert (told["status"], told["reason"]) == ("True", "PreemptionByScheduler")
    finally:
        pods.patch("victim", {"metadata": {"finalizers": None}})
    is_running(pods, "preemptor")


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] PreemptionExecutionPath runs ReplicaSets to verify preemption "
    "running path [Conformance]"
)
def test_replica_sets_of_four_priorities(api, ns, node, five, priorities):
    nodes, sets, pods = api.at("v1", "nodes"), api.at("apps/v1", "replicasets", ns), api.pods(ns)
    nodes.patch(node, {"status": {"capacity": {RESOURCE: "1000"}, "allocatable": {RESOURCE: "1000"}}}, MERGE, "status")

    def replica_set(number, amount):
        made = workload("ReplicaSet", f"rs-pod{number}", {"name": f"pod{number}"}, 1, idle(**asks(str(amount))))
        spec = made["spec"]["template"]["spec"]
        spec["priorityClassName"] = priorities(f"p{number}", number)
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
        return sets.create(made)

    with pods.watch() as watch:
        for number, amount in ((1, 200), (2, 300), (3, 450)):
            replica_set(number, amount)
        for number in (1, 2, 3):
            eventually(
                lambda number=number: sets.get(f"rs-pod{number}")["status"].get("readyReplicas") == 1,
                f"rs-pod{number} is ready",
                60,
            )
        replica_set(4, 500)
        eventually(lambda: sets.get("rs-pod4")["status"].get("readyReplicas") == 1, "rs-pod4 is ready", 60)

        def made(number):
            added = [e["object"] for e in list(watch.events) if e["type"] == "ADDED"]
            return sum(o["metadata"]["labels"]["name"] == f"pod{number}" for o in added)

        # The evicted ones are made again, and wait.
        eventually(lambda: [made(n) for n in (1, 2, 3, 4)] == [2, 2, 1, 1], "new pods for those that had to go")
    waiting = [p for p in pods.items() if not p["spec"].get("nodeName")]
    assert {p["metadata"]["labels"]["name"] for p in waiting} == {"pod1", "pod2"}


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be "
    "operated with different HTTP methods [Conformance]"
)
def test_priority_classes(api, ns):
    classes = api.at("scheduling.k8s.io/v1", "priorityclasses")
    names = [f"{ns}-p1", f"{ns}-p2"]
    try:
        for name, value in zip(names, (1, 2), strict=True):
            made = classes.create({"metadata": {"name": name, "labels": {"e2e": ns}}, "value": value})
            assert (made["value"], made["preemptionPolicy"]) == (value, "PreemptLowerPriority")
        assert [c["metadata"]["name"] for c in classes.items(f"e2e={ns}")] == names
        for name in names:
            found = classes.get(name)
            # What may change: patched, then updated.
            assert classes.patch(name, {"description": "patched"})["description"] == "patched"
            updated = classes.edit(name, lambda c: c.update(description="updated"))
            assert updated["description"] == classes.get(name)["description"] == "updated"
            # What may not.
            with refused(422, "Invalid"):
                classes.patch(name, {"value": found["value"] * 10})
            with refused(422, "Invalid"):
                classes.edit(name, lambda c: c.update(value=c["value"] * 10))
            assert classes.get(name)["value"] == found["value"]
    finally:
        classes.delete_all(f"e2e={ns}")
    assert classes.items(f"e2e={ns}") == []


# LimitRanges


def limit_range(name, labels=None):
    limits = {
        "type": "Container",
        "min": {"cpu": "50m", "memory": "100Mi", "ephemeral-storage": "100Gi"},
        "max": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"},
        "default": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"},
        "defaultRequest": {"cpu": "100m", "memory": "200Mi", "ephemeral-storage": "200Gi"},
    }
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": meta(name, labels), "spec": {"limits": [limits]}}


def resources(found):
    return found["spec"]["containers"][0]["resources"]


@pytest.mark.conformance(
    "[sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied. "
    "[Conformance]"
)
def test_a_limit_range_gives_defaults_and_sets_bounds(api, ns):
    ranges, pods = api.at("v1", "limitranges", ns), api.pods(ns)
    wanted = limit_range("limit-range")["spec"]["limits"][0]
    with ranges.watch() as watch:
        ranges.create(limit_range("limit-range"))
        seen = watch.until("ADDED", lambda o: o["metadata"]["name"] == "limit-range")
    assert seen["spec"]["limits"] == ranges.get("limit-range")["spec"]["limits"] == [wanted]

    bare = pods.create(pod("pod-no-resources", idle()))
    assert resources(bare) == {"limits": wanted["default"], "requests": wanted["defaultRequest"]}
    assert resources(pods.get("pod-no-resources")) == resources(bare)
    partial = {"requests": {"cpu": "150m", "memory": "150Mi", "ephemeral-storage": "150Gi"}, "limits": {"cpu": "300m"}}
    found = resources(pods.create(pod("pod-partial-resources", idle(**partial))))
    assert found["requests"] == partial["requests"]
    assert found["limits"] == {**wanted["default"], "cpu": "300m"}

    def outside(name, amounts):
        with refused(403, "Forbidden"):
            pods.create(pod(name, idle(requests=amounts, limits=amounts)))

    little = {"cpu": "10m", "memory": "50Mi", "ephemeral-storage": "50Gi"}
    much = {"cpu": "600m", "memory": "600Mi", "ephemeral-storage": "600Gi"}
    outside("pod-less", little)
    outside("pod-more", much)

    least = {"cpu": "9m", "memory": "49Mi", "ephemeral-storage": "49Gi"}
    changed = ranges.edit("limit-range", lambda o: o["spec"]["limits"][0].update(min=least))
    assert changed["spec"]["limits"][0]["min"] == ranges.get("limit-range")["spec"]["limits"][0]["min"] == least

    def taken():
        try:
            return pods.create(pod("pod-little", idle(requests=little, limits=little)))
        except Refused as error:
            assert error.code == 403
            return None

    eventually(taken, "the new bounds hold")
    outside("pod-more-still", much)

    ranges.delete("limit-range", gracePeriodSeconds=30)
    eventually(lambda: ranges.items() == [], "the limit range is gone")

    def unbounded():
        try:
            return pods.create(pod("pod-much", idle(requests=much, limits=much)))
        except Refused as error:
            assert error.code == 403
            return None

    eventually(unbounded, "no bounds hold any more")


@pytest.mark.conformance(
    "[sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection [Conformance]"
)
def test_limit_ranges_of_two_namespaces(api, ns):
    name = f"e2e-limitrange-{ns}"
    ranges, other = api.at("v1", "limitranges", ns), api.at("v1", "limitranges", "default")
    label = {"e2e-limit-range": ns}
    selector = f"e2e-limit-range={ns}"
    other.create(limit_range(name, label))
    try:
        ranges.create(limit_range(name, label))
        found = ranges.everywhere().items(selector)
        assert {o["metadata"]["namespace"] for o in found} == {ns, "default"}
        more = {**limit_range(name)["spec"]["limits"][0], "min": {"cpu": "75m"}}
        patch = {"metadata": {"labels": {"patched": name}}, "spec": {"limits": [more]}}
        patched = ranges.patch(name, patch)
        assert patched["metadata"]["labels"]["patched"] == name
        assert patched["spec"]["limits"][0]["min"] == {"cpu": "75m"}
        assert len(ranges.items(f"patched={name}")) == 1
        ranges.delete_all(f"patched={name}")
        eventually(lambda: ranges.items(f"patched={name}") == [], "the patched one is gone")
        assert [o["metadata"]["namespace"] for o in ranges.everywhere().items(selector)] == ["default"]
    finally:
        other.delete(name)
