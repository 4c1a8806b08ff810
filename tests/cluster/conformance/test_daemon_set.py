"""DaemonSets and their revisions."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import MERGE
from tests.cluster.conformance.objects import condition, container, ready, workload
from tests.waiting import eventually

LABELS = {"daemonset-name": "daemon-set"}
IDLE = container("app", "exec sleep 3600")


@pytest.fixture
def sets(api, ns):
    return api.at("apps/v1", "daemonsets", ns)


def daemon_set(**spec):
    return workload("DaemonSet", "daemon-set", LABELS, None, IDLE, **spec)


def mine(api, ns: str):
    return [p for p in api.pods(ns).items("daemonset-name=daemon-set") if "deletionTimestamp" not in p["metadata"]]


def on_every_node(api, ns: str):
    """The pods once each node has its own, ready."""
    nodes = {n["metadata"]["name"] for n in api.at("v1", "nodes").items()}

    def found():
        pods = mine(api, ns)
        return pods if sorted(p["spec"]["nodeName"] for p in pods if ready(p)) == sorted(nodes) else None

    return eventually(found, "one pod on each node")


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should run and stop simple daemon [Conformance]")
def test_simple(api, ns, sets):
    sets.create(daemon_set())
    [one, *_] = on_every_node(api, ns)
    api.pods(ns).delete(one["metadata"]["name"])
    eventually(lambda: one["metadata"]["uid"] not in [p["metadata"]["uid"] for p in mine(api, ns)], "it is deleted")
    on_every_node(api, ns)
    sets.delete("daemon-set", propagationPolicy="Foreground")
    eventually(lambda: sets.find("daemon-set") is None and not api.pods(ns).items(), "all is gone")


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should run and stop complex daemon [Conformance]")
def test_node_selector(api, ns, sets):
    nodes, color = api.at("v1", "nodes"), f"{ns}/color"
    made = daemon_set()
    made["spec"]["template"]["spec"]["nodeSelector"] = {color: "blue"}
    sets.create(made)
    eventually(lambda: sets.get("daemon-set")["status"].get("observedGeneration") == 1, "it is seen")
    assert mine(api, ns) == []
    node = nodes.items()[0]["metadata"]["name"]
    nodes.patch(node, {"metadata": {"labels": {color: "blue"}}})
    eventually(lambda: [p["spec"]["nodeName"] for p in mine(api, ns) if ready(p)] == [node], "it runs there")
    nodes.patch(node, {"metadata": {"labels": {color: "green"}}})
    eventually(lambda: mine(api, ns) == [], "it is withdrawn")
    change = {"spec": {"updateStrategy": {"type": "RollingUpdate"}}}
    change["spec"]["template"] = {"spec": {"nodeSelector": {color: "green"}}}
    sets.patch("daemon-set", change)
    eventually(lambda: [p["spec"]["nodeName"] for p in mine(api, ns) if ready(p)] == [node], "it runs there again")
    nodes.patch(node, {"metadata": {"labels": {color: None}}})


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should retry creating failed daemon pods [Conformance]")
def test_failed(api, ns, sets):
    sets.create(daemon_set())
    [one, *_] = on_every_node(api, ns)
    name = one["metadata"]["name"]
    api.pods(ns).patch(name, {"status": {"phase": "Failed"}}, MERGE, "status")
    eventually(lambda: api.pods(ns).find(name) is None, "the failed pod is removed")
    on_every_node(api, ns)


@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] "
    "should update pod when spec was updated and update strategy is RollingUpdate [Conformance]"
)
def test_rolling_update(api, ns, sets):
    sets.create(daemon_set(updateStrategy={"type": "RollingUpdate"}))
    old = {p["metadata"]["labels"]["controller-revision-hash"] for p in on_every_node(api, ns)}
    change = {"spec": {"template": {"spec": {"containers": [container("app", "exec sleep 7200")]}}}}
    sets.patch("daemon-set", change)

    def renewed():
        return all(
            p["spec"]["containers"][0]["command"][-1] == "exec sleep 7200" and ready(p) for p in mine(api, ns)
        ) and mine(api, ns)

    new = {p["metadata"]["labels"]["controller-revision-hash"] for p in eventually(renewed, "pods are new")}
    assert len(old) == len(new) == 1 and old != new
    eventually(lambda: sets.get("daemon-set")["status"].get("updatedNumberScheduled"), "it is counted")


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should rollback without unnecessary restarts [Conformance]")
def test_rollback(api, ns, sets):
    sets.create(daemon_set(updateStrategy={"type": "RollingUpdate"}))
    before = on_every_node(api, ns)
    # An image that cannot come stops the update at its first pod; on one node the pod itself is replaced.
    old = sets.get("daemon-set")["spec"]["template"]
    bad = {"spec": {"template": {"spec": {"containers": [{**IDLE, "image": "localhost/nonexistent:1"}]}}}}
    sets.patch("daemon-set", bad)
    eventually(
        lambda: any(p["spec"]["containers"][0]["image"] == "localhost/nonexistent:1" for p in mine(api, ns)),
        "the update has begun",
    )
    stuck = {p["metadata"]["name"] for p in mine(api, ns)} - {p["metadata"]["name"] for p in before}
    sets.edit("daemon-set", lambda o: o["spec"].update(template=old))
    after = on_every_node(api, ns)
    assert not stuck & {p["metadata"]["name"] for p in after}
    # Those that the update had not reached run on as they were.
    kept = {p["metadata"]["uid"] for p in before if p["metadata"]["name"] in {a["metadata"]["name"] for a in after}}
    assert kept <= {p["metadata"]["uid"] for p in after}
    assert len(api.at("apps/v1", "controllerrevisions", ns).items("daemonset-name=daemon-set")) == 2


@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should list and delete a collection of DaemonSets [Conformance]"
)
def test_collection(api, ns, sets):
    made = daemon_set()
    made["metadata"]["labels"] = {"e2e": ns}
    sets.create(made)
    on_every_node(api, ns)
    assert len(sets.everywhere().items(f"e2e={ns}")) == 1
    sets.delete_all(f"e2e={ns}")
    assert sets.everywhere().items(f"e2e={ns}") == []


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should verify changes to a daemon set status [Conformance]")
def test_status(api, ns, sets):
    sets.create(daemon_set())
    on_every_node(api, ns)
    with sets.watch() as watch:
        assert sets.get("daemon-set", "status")["kind"] == "DaemonSet"
        more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        changed = sets.edit("daemon-set", lambda o: o["status"].setdefault("conditions", []).append(more), "status")
        assert condition(changed, "StatusUpdate")["reason"] == "E2E"
        watch.until("MODIFIED", lambda o: condition(o, "StatusUpdate"))
        patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
        assert condition(sets.patch("daemon-set", patch, MERGE, "status"), "StatusPatched")
        watch.until("MODIFIED", lambda o: condition(o, "StatusPatched"))


@pytest.mark.conformance(
    "[sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision [Conformance]"
)
def test_controller_revisions(api, ns, sets):
    revisions, label = api.at("apps/v1", "controllerrevisions", ns), "daemonset-name=daemon-set"
    sets.create(daemon_set())
    on_every_node(api, ns)
    [first] = revisions.items(label)
    name = first["metadata"]["name"]
    patched = revisions.patch(name, {"metadata": {"labels": {name: "patched"}}})
    assert patched["metadata"]["labels"][name] == "patched"
    meta = {"name": f"{name}-second", "labels": LABELS, "ownerReferences": first["metadata"]["ownerReferences"]}
    second = revisions.create({"metadata": meta, "data": first["data"], "revision": first["revision"] + 1})
    assert len(revisions.items(label)) == 2
    revisions.delete(second["metadata"]["name"])
    eventually(lambda: len(revisions.items(label)) == 1, "one is left")
    updated = revisions.edit(name, lambda o: o["metadata"]["labels"].update({name: "updated"}))
    assert updated["metadata"]["labels"][name] == "updated"
    # A changed template makes another; deleting by label leaves only the newest.
    sets.patch("daemon-set", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 0}}}})
    eventually(lambda: len(revisions.items(label)) == 2, "another revision")
    revisions.delete_all(f"{name}=updated")
    eventually(
        lambda: [r["revision"] for r in revisions.items(label)] == [first["revision"] + 1], "only the newest", 30
    )
