"""Deleting: at once, gracefully, behind finalizers, by policy, in bulk."""

from __future__ import annotations

import pytest

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


def configmap(name: str, **meta) -> dict:
    return {"metadata": {"name": name, **meta}}


async def test_plain_objects_go_at_once_with_a_status(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a"))
    gone = await api.delete(f"{CONFIGMAPS}/a")
    assert gone.json["status"] == "Success"
    assert gone.json["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert (await api.delete(f"{CONFIGMAPS}/a")).status == 404


async def test_finalizers_keep_an_object_until_the_last_is_taken(api):
    await api.ok("POST", CONFIGMAPS, configmap("a", finalizers=["example.com/x", "example.com/y"]))
    marked = (await api.delete(f"{CONFIGMAPS}/a")).json
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    assert (await api.delete(f"{CONFIGMAPS}/a")).json == marked
    one = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": ["example.com/y"]}})
    assert one.status == 200
    refused = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": ["example.com/y", "example.com/z"]}})
    assert refused.status == 422  # nothing may be added to what is going
    last = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}})
    assert last.status == 200
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 404


@pytest.mark.parametrize(("policy", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
async def test_propagation_policies_become_finalizers(api, policy, finalizer):
    await api.ok("POST", CONFIGMAPS, configmap("a"))
    marked = await api.delete(f"{CONFIGMAPS}/a?propagationPolicy={policy}")
    assert marked.json["metadata"]["finalizers"] == [finalizer]
    changed = await api.delete(f"{CONFIGMAPS}/a", {"propagationPolicy": "Background"})
    assert changed.json["kind"] == "Status"
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 404


async def test_bad_options(api):
    await api.ok("POST", CONFIGMAPS, configmap("a"))
    assert (await api.delete(f"{CONFIGMAPS}/a", {"propagationPolicy": "Never"})).status == 422
    both = {"propagationPolicy": "Orphan", "orphanDependents": True}
    assert (await api.delete(f"{CONFIGMAPS}/a", both)).status == 422
    assert (await api.delete(f"{CONFIGMAPS}/a", {"kind": "Pod"})).status == 400
    assert (await api.delete(f"{CONFIGMAPS}/a", {"gracePeriodSeconds": "soon"})).status == 400
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 200


async def test_preconditions(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a"))
    wrong = await api.delete(f"{CONFIGMAPS}/a", {"preconditions": {"uid": "other"}})
    assert wrong.status == 409
    assert "Precondition failed: UID in precondition: other" in wrong.message
    stale = await api.delete(f"{CONFIGMAPS}/a", {"preconditions": {"resourceVersion": "1"}})
    assert stale.status == 409
    right = {k: made["metadata"][k] for k in ("uid", "resourceVersion")}
    assert (await api.delete(f"{CONFIGMAPS}/a", {"preconditions": right})).status == 200


async def test_dry_run_deletes_nothing(api):
    await api.ok("POST", CONFIGMAPS, configmap("a"))
    assert (await api.delete(f"{CONFIGMAPS}/a?dryRun=All")).status == 200
    assert (await api.delete(f"{CONFIGMAPS}/a", {"dryRun": ["All"]})).status == 200
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 200


def pod(name: str, **spec) -> dict:
    containers = [{"name": "app", "image": "x"}]
    return {
        "metadata": {"name": name},
        "spec": {"containers": containers, "automountServiceAccountToken": False, **spec},
    }


async def test_a_pod_that_nobody_runs_goes_at_once(pods):
    await pods.ok("POST", PODS, pod("a"))
    gone = await pods.delete(f"{PODS}/a")
    assert gone.json["kind"] == "Pod"
    assert (await pods.get(f"{PODS}/a")).status == 404


async def test_a_running_pod_goes_gracefully(pods):
    await pods.ok("POST", PODS, pod("a", nodeName="n1", terminationGracePeriodSeconds=30))
    marked = (await pods.delete(f"{PODS}/a")).json["metadata"]
    assert marked["deletionGracePeriodSeconds"] == 30
    longer = (await pods.delete(f"{PODS}/a", {"gracePeriodSeconds": 60})).json["metadata"]
    assert longer["deletionGracePeriodSeconds"] == 30
    shorter = (await pods.delete(f"{PODS}/a?gracePeriodSeconds=5")).json["metadata"]
    assert shorter["deletionGracePeriodSeconds"] == 5
    assert shorter["deletionTimestamp"] < marked["deletionTimestamp"]
    await pods.ok("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0, "preconditions": {"uid": marked["uid"]}})
    assert (await pods.get(f"{PODS}/a")).status == 404


async def test_a_graceful_pod_with_finalizers_waits_for_both(pods):
    body = pod("a", nodeName="n1")
    body["metadata"]["finalizers"] = ["example.com/x"]
    await pods.ok("POST", PODS, body)
    assert (await pods.delete(f"{PODS}/a")).json["metadata"]["deletionGracePeriodSeconds"] == 30
    left = (await pods.delete(f"{PODS}/a?gracePeriodSeconds=0")).json["metadata"]
    assert left["deletionGracePeriodSeconds"] == 0
    await pods.patch(f"{PODS}/a", {"metadata": {"finalizers": []}})
    assert (await pods.get(f"{PODS}/a")).status == 404


async def test_a_namespace_terminates_then_goes_when_it_is_empty(api):
    await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "team"}})
    url = "/api/v1/namespaces/team"
    first = (await api.delete(url)).json
    assert first["status"]["phase"] == "Terminating"
    assert first["metadata"]["deletionTimestamp"]
    assert (await api.delete(url)).json["kind"] == "Namespace"
    refused = await api.post(f"{url}/configmaps", configmap("a"))
    assert refused.status == 403
    assert refused.json["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    first["spec"]["finalizers"] = []
    assert (await api.put(f"{url}/finalize", first)).status == 200
    assert (await api.get(url)).status == 404


async def test_a_collection_goes_by_selector(api):
    for i in range(6):
        await api.ok("POST", CONFIGMAPS, configmap(f"c{i}", labels={"odd": str(i % 2)}))
    gone = await api.delete(f"{CONFIGMAPS}?labelSelector=odd=1")
    assert gone.json["kind"] == "ConfigMapList"
    assert [o["metadata"]["name"] for o in gone.json["items"]] == ["c1", "c3", "c5"]
    left = [o["metadata"]["name"] for o in (await api.get(CONFIGMAPS)).json["items"]]
    assert left == ["c0", "c2", "c4"]
    assert (await api.delete("/api/v1/configmaps")).status == 405
    assert (await api.delete("/api/v1/namespaces")).status == 405


async def test_a_namespace_goes_with_its_last_finalizer(api):
    url = "/api/v1/namespaces/going"
    await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "going", "finalizers": ["example.com/x"]}})
    await api.delete(url)
    going = (await api.get(url)).json
    going["spec"] = {}
    emptied = await api.ok("PUT", f"{url}/finalize", going)
    assert not emptied["spec"].get("finalizers")
    assert (await api.get(url)).status == 200
    await api.patch(url, {"metadata": {"finalizers": None}})
    assert (await api.get(url)).status == 404


async def test_finalizing_a_namespace_that_is_not_deleted_keeps_it(api):
    url = "/api/v1/namespaces/staying"
    await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "staying"}})
    await api.ok("PUT", f"{url}/finalize", {"metadata": {"name": "staying"}, "spec": {}})
    assert (await api.get(url)).status == 200
    await api.delete(url)
    await api.put(f"{url}/finalize", {"metadata": {"name": "staying"}, "spec": {}})
    assert (await api.get(url)).status == 404


JOB = {
    "metadata": {"name": "a"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}},
}
RC = {
    "metadata": {"name": "a"},
    "spec": {
        "replicas": 1,
        "selector": {"app": "a"},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
    },
}
JOBS = "/apis/batch/v1/namespaces/default/jobs"
RCS = "/api/v1/namespaces/default/replicationcontrollers"
PRESERVED = "child pods are preserved by default when jobs are deleted"


@pytest.mark.parametrize(("path", "body"), [(JOBS, JOB), (RCS, RC)])
@pytest.mark.parametrize(
    ("options", "finalizers"),
    [
        ({}, ["orphan"]),
        ({"gracePeriodSeconds": 0}, ["orphan"]),
        ({"propagationPolicy": "Orphan"}, ["orphan"]),
        ({"propagationPolicy": "Foreground"}, ["foregroundDeletion"]),
        ({"propagationPolicy": "Background"}, None),
        ({"orphanDependents": False}, None),
    ],
)
async def test_what_the_oldest_kinds_made_stays_unless_said(api, path, body, options, finalizers):
    await api.ok("POST", path, body)
    answer = await api.delete(f"{path}/a", options)
    assert answer.status == 200
    unsaid = path == JOBS and not {"propagationPolicy", "orphanDependents"} & set(options)
    assert (PRESERVED in str(answer.warnings)) == unsaid
    found = await api.get(f"{path}/a")
    assert (found.json["metadata"]["finalizers"] if found.status == 200 else None) == finalizers


async def test_what_was_said_first_holds_for_a_second_deletion(api):
    await api.ok("POST", JOBS, JOB)
    await api.delete(f"{JOBS}/a", {"propagationPolicy": "Foreground"})
    again = await api.delete(f"{JOBS}/a")
    assert again.json["metadata"]["finalizers"] == ["foregroundDeletion"]


async def test_a_collection_is_warned_about_once(api):
    for name in ("a", "b", "c"):
        await api.ok("POST", JOBS, {**JOB, "metadata": {"name": name}})
    answer = await api.delete(JOBS)
    assert answer.status == 200
    assert str(answer.warnings).count(PRESERVED) == 1


@pytest.mark.parametrize("policy", ["Foreground", "Orphan", "Background"])
async def test_nobody_follows_the_dependents_of_events(api, policy):
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    events = "/api/v1/namespaces/default/events"
    await api.ok("POST", events, {"metadata": {"name": "e"}, "involvedObject": about, "reason": "x"})
    await api.delete(f"{events}/e?propagationPolicy={policy}")
    assert (await api.get(f"{events}/e")).status == 404
