"""Changing objects: PUT, patches, status, scale, apply."""

from __future__ import annotations

import asyncio

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
APPLY = "apply-patch+yaml"


def configmap(name: str, **data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def deployment(name: str, replicas: int = 1) -> dict:
    template = {"metadata": {"labels": {"a": name}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"a": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


async def test_put_replaces_and_counts_the_revision(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    made["data"] = {"y": "2"}
    put = await api.ok("PUT", f"{CONFIGMAPS}/a", made)
    assert put["data"] == {"y": "2"}
    assert int(put["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert put["metadata"]["uid"] == made["metadata"]["uid"]


async def test_stale_resource_version_is_a_conflict(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    await api.ok("PUT", f"{CONFIGMAPS}/a", configmap("a", x="2"))
    stale = await api.put(f"{CONFIGMAPS}/a", made)
    assert (stale.status, stale.json["reason"]) == (409, "Conflict")
    assert stale.message == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your '
        "changes to the latest version and try again"
    )


async def test_another_uid_is_a_conflict(api):
    await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    obj = configmap("a", x="2")
    obj["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000"
    answer = await api.put(f"{CONFIGMAPS}/a", obj)
    assert answer.status == 409
    assert "Precondition failed: UID in precondition" in answer.message


async def test_an_update_that_says_nothing_new_is_not_written(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    reordered = dict(reversed(made.items()))
    assert (await api.ok("PUT", f"{CONFIGMAPS}/a", reordered))["metadata"] == made["metadata"]
    assert (await api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "1"}})).json == made


async def test_put_must_name_its_object(api):
    await api.ok("POST", CONFIGMAPS, configmap("a"))
    wrong = await api.put(f"{CONFIGMAPS}/a", configmap("b"))
    assert wrong.status == 400
    assert wrong.message == "the name of the object (b) does not match the name on the URL (a)"
    assert (await api.put(f"{CONFIGMAPS}/none", configmap("none"))).status == 404
    assert (await api.put(CONFIGMAPS, configmap("a"))).status == 405


async def test_concurrent_unconditional_updates_all_happen(api):
    await api.ok("POST", CONFIGMAPS, configmap("a"))
    answers = await asyncio.gather(*(api.put(f"{CONFIGMAPS}/a", configmap("a", x=str(i))) for i in range(10)))
    assert {a.status for a in answers} == {200}
    assert len({a.json["metadata"]["resourceVersion"] for a in answers}) == 10


async def test_concurrent_patches_all_take_effect(api):
    await api.ok("POST", CONFIGMAPS, configmap("a"))
    answers = await asyncio.gather(*(api.patch(f"{CONFIGMAPS}/a", {"data": {f"k{i}": "v"}}) for i in range(5)))
    assert {a.status for a in answers} == {200}
    assert sorted((await api.get(f"{CONFIGMAPS}/a")).json["data"]) == [f"k{i}" for i in range(5)]


async def test_three_kinds_of_patch(api):
    await api.ok("POST", DEPLOYMENTS, deployment("d"))
    url = f"{DEPLOYMENTS}/d"
    add = [
        {"op": "add", "path": "/metadata/labels", "value": {"l": "1"}},
        {"op": "test", "path": "/kind", "value": "Deployment"},
    ]
    assert (await api.patch(url, add, kind="json-patch+json")).json["metadata"]["labels"] == {"l": "1"}
    assert (await api.patch(url, {"metadata": {"labels": {"l": None, "m": "2"}}})).json["metadata"]["labels"] == {
        "m": "2"
    }
    more = {"spec": {"template": {"spec": {"containers": [{"name": "second", "image": "y"}]}}}}
    merged = (await api.patch(url, more, kind="strategic-merge-patch+json")).json
    assert {c["name"] for c in merged["spec"]["template"]["spec"]["containers"]} == {"c", "second"}
    assert merged["metadata"]["generation"] == 2


async def test_bad_patches(api):
    await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    url = f"{CONFIGMAPS}/a"
    failing = await api.patch(url, [{"op": "test", "path": "/data/x", "value": "2"}], kind="json-patch+json")
    assert (failing.status, failing.json["reason"]) == (422, "Invalid")
    assert (await api.patch(url, [{"op": "what"}], kind="json-patch+json")).status in (400, 422)
    assert (await api.patch(url, raw=b"{", kind="merge-patch+json")).status == 400
    assert (await api.patch(url, [], kind="merge-patch+json")).status in (400, 422)
    assert (await api.patch(url, {}, kind="json")).status == 415
    assert (await api.patch(url, {"data": {"x": 1}})).status == 400
    assert (await api.patch(url, {"kind": "Secret"})).status == 400
    assert (await api.patch(url, {"metadata": {"name": "b"}})).status in (400, 422)
    assert (await api.patch(url, {"metadata": {"resourceVersion": "1"}})).status == 409
    assert (await api.patch(f"{CONFIGMAPS}/none", {})).status == 404
    assert (await api.patch(f"{url}?force=true", {})).status == 422
    warned = await api.patch(url, {"more": 1})
    assert warned.warnings == ['299 - "unknown field \\"more\\""']
    assert (await api.patch(f"{url}?fieldValidation=Strict", {"more": 1})).status == 422
    assert (await api.get(url)).json["data"] == {"x": "1"}


async def test_apply_creates_then_merges_by_owner(api):
    url = f"{CONFIGMAPS}/a"
    nobody = await api.patch(url, configmap("a"), kind=APPLY)
    assert nobody.status == 422
    assert "fieldManager: Required value" in nobody.message
    made = await api.patch(f"{url}?fieldManager=one", configmap("a", x="1"), kind=APPLY)
    assert made.status == 201
    assert made.json["metadata"]["managedFields"][0]["operation"] == "Apply"
    same = await api.patch(f"{url}?fieldManager=one", configmap("a", x="1"), kind=APPLY)
    assert (same.status, same.json) == (200, made.json)
    both = await api.patch(f"{url}?fieldManager=two", configmap("a", y="2"), kind=APPLY)
    assert both.json["data"] == {"x": "1", "y": "2"}
    refused = await api.patch(f"{url}?fieldManager=two", configmap("a", x="9"), kind=APPLY)
    assert (refused.status, refused.json["reason"]) == (409, "Conflict")
    assert refused.json["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    forced = await api.patch(f"{url}?fieldManager=two&force=true", configmap("a", x="9"), kind=APPLY)
    assert forced.json["data"] == {"x": "9"}
    assert (await api.patch(f"{url}?fieldManager=one", configmap("b"), kind=APPLY)).status == 400


async def test_status_changes_only_the_status_and_the_rest_never_does(api):
    made = await api.ok("POST", DEPLOYMENTS, deployment("d"))
    url = f"{DEPLOYMENTS}/d"
    made["spec"]["replicas"] = 7
    made["status"] = {"replicas": 3, "observedGeneration": 1}
    put = await api.ok("PUT", f"{url}/status", made, user_agent="controller/1")
    assert (put["spec"]["replicas"], put["status"]["replicas"]) == (1, 3)
    assert put["metadata"]["generation"] == 1
    assert any(e.get("subresource") == "status" for e in put["metadata"]["managedFields"])
    put["status"]["replicas"] = 99
    put["spec"]["replicas"] = 2
    again = await api.ok("PUT", url, put)
    assert (again["spec"]["replicas"], again["status"]["replicas"]) == (2, 3)
    assert again["metadata"]["generation"] == 2
    patched = await api.patch(f"{url}/status", {"status": {"replicas": 4}})
    assert patched.json["status"]["replicas"] == 4


async def test_scale(api):
    await api.ok("POST", DEPLOYMENTS, deployment("d", 2))
    url = f"{DEPLOYMENTS}/d/scale"
    scale = (await api.get(url)).json
    assert (scale["kind"], scale["apiVersion"], scale["spec"]["replicas"]) == ("Scale", "autoscaling/v1", 2)
    scale["spec"]["replicas"] = 5
    assert (await api.ok("PUT", url, scale))["spec"]["replicas"] == 5
    stale = await api.put(url, scale)
    assert stale.status == 409
    assert (await api.patch(url, {"spec": {"replicas": 3}})).json["spec"]["replicas"] == 3
    assert (await api.get(f"{DEPLOYMENTS}/d")).json["spec"]["replicas"] == 3
    assert (await api.patch(url, {"spec": {"replicas": -1}})).status == 422
    assert (await api.patch(url, {"spec": {"replicas": "x"}})).status == 400
    assert (await api.get(f"{DEPLOYMENTS}/none/scale")).status == 404
    assert (await api.get(f"{CONFIGMAPS}/a/scale")).status == 404


async def test_dry_run_changes_nothing(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    assert (await api.put(f"{CONFIGMAPS}/a?dryRun=All", configmap("a", x="2"))).json["data"] == {"x": "2"}
    assert (await api.patch(f"{CONFIGMAPS}/a?dryRun=All", {"data": {"y": "3"}})).json["data"] == {"x": "1", "y": "3"}
    assert (await api.get(f"{CONFIGMAPS}/a")).json == made


async def test_other_versions_of_a_kind_are_the_same_object(api):
    old = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
    new = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    target = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
    spec = {"maxReplicas": 3, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 60}
    made = await api.ok("POST", old, {"metadata": {"name": "h"}, "spec": spec})
    assert made["apiVersion"] == "autoscaling/v1"
    assert made["spec"]["targetCPUUtilizationPercentage"] == 60
    seen = (await api.get(f"{new}/h")).json
    assert seen["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    listed = (await api.get(old)).json
    assert (listed["kind"], listed["items"][0]["apiVersion"]) == ("HorizontalPodAutoscalerList", "autoscaling/v1")
    patched = await api.patch(f"{old}/h", {"spec": {"targetCPUUtilizationPercentage": 70}})
    assert patched.json["spec"]["targetCPUUtilizationPercentage"] == 70


async def test_what_an_endpoint_ignores_nobody_owns_through_it(api):
    body = deployment("d") | {"status": {"replicas": 9}}
    made = await api.patch(f"{DEPLOYMENTS}/d?fieldManager=one", body, kind=APPLY)
    assert "f:status" not in made.json["metadata"]["managedFields"][0]["fieldsV1"]


async def test_a_patch_may_be_about_managed_fields(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    assert made["metadata"]["managedFields"]
    reset = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"managedFields": [{}]}})
    assert not reset.json["metadata"].get("managedFields")
    kept = [{"op": "test", "path": "/metadata/managedFields/0/manager", "value": "unknown"}]
    await api.ok("POST", CONFIGMAPS, configmap("b", x="1"))
    assert (await api.patch(f"{CONFIGMAPS}/b", kept, kind="json-patch+json")).status == 200


async def test_what_a_patch_brings_is_checked_wherever_it_hides(api):
    await api.ok("POST", DEPLOYMENTS, deployment("d"))
    url, strategic = f"{DEPLOYMENTS}/d", "strategic-merge-patch+json"
    nulls = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i", "command": None}]}}}}
    for kind in ("merge-patch+json", strategic):
        patched = await api.patch(url, nulls, kind=kind)
        assert "command" not in patched.json["spec"]["template"]["spec"]["containers"][0], patched.raw
    unknown = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i", "imagee": "x"}]}}}}
    warned = await api.patch(url, unknown, kind=strategic)
    assert any(
        'unknown field "spec.template.spec.containers[0].imagee"' in w.replace("\\", "") for w in warned.warnings
    )
    assert "imagee" not in warned.json["spec"]["template"]["spec"]["containers"][0]
    wrong = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": 7}]}}}}
    assert (await api.patch(url, wrong, kind=strategic)).status == 400
    limits = {"name": "c", "image": "i", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}
    patched = await api.patch(url, {"spec": {"template": {"spec": {"containers": [limits]}}}}, kind=strategic)
    stored = patched.json["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert stored == {"cpu": "500m", "memory": "1Gi"}
    assert (await api.patch(f"{url}?fieldValidation=Perhaps", {"metadata": {"labels": {"a": "b"}}})).status in (
        400,
        422,
    )


async def test_nobody_owns_what_an_endpoint_ignores(api):
    made = await api.ok("POST", f"{DEPLOYMENTS}?fieldManager=maker", deployment("d"))
    url = f"{DEPLOYMENTS}/d"
    made["spec"]["replicas"] = 9
    made["status"] = {"replicas": 4}
    del made["metadata"]["managedFields"]
    put = await api.ok("PUT", f"{url}/status?fieldManager=reporter", made)
    assert (put["spec"]["replicas"], put["status"]) == (1, {"replicas": 4})
    owned = {m["manager"]: m["fieldsV1"] for m in put["metadata"]["managedFields"]}
    assert set(owned["reporter"]) == {"f:status"}
    assert "f:replicas" in owned["maker"]["f:spec"]
    put["status"]["replicas"] = 7
    put["metadata"]["labels"] = {"a": "b"}
    again = await api.ok("PUT", f"{url}?fieldManager=other", put)
    assert again["status"] == {"replicas": 4}
    owned = {m["manager"]: m["fieldsV1"] for m in again["metadata"]["managedFields"]}
    assert set(owned["other"]) == {"f:metadata"}
    body = {**deployment("d"), "status": {"replicas": 2}}
    applied = await api.patch(f"{url}?fieldManager=applier&force=true", body, kind=APPLY)
    owned = {m["manager"]: m["fieldsV1"] for m in applied.json["metadata"]["managedFields"]}
    assert "f:status" not in owned["applier"]
    assert "f:status" in owned["reporter"]


async def test_what_is_empty_is_not_there(api):
    """As upstream prints it, however it came to be empty."""
    made = await api.ok("POST", CONFIGMAPS, {"metadata": {"name": "e", "labels": {}, "finalizers": []}, "data": {}})
    assert "data" not in made and not {"labels", "finalizers"} & set(made["metadata"])
    path = f"{CONFIGMAPS}/e"
    assert (await api.patch(path, {"data": {"a": "1"}, "metadata": {"finalizers": ["x.io/y"]}})).json["data"] == {
        "a": "1"
    }
    emptied = (await api.patch(path, {"data": {"a": None}, "metadata": {"finalizers": []}})).json
    assert "data" not in emptied and "finalizers" not in emptied["metadata"]
    apply = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "e"}}
    await api.patch(f"{path}?fieldManager=m", {**apply, "data": {"b": "1"}}, kind="apply-patch+yaml")
    assert "data" not in (await api.patch(f"{path}?fieldManager=m", apply, kind="apply-patch+yaml")).json
