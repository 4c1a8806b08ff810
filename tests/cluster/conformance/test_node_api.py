"""The API objects beside pods that nodes work with: every verb, and what becomes of pods that name them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.cluster.conformance.api import MERGE, STRATEGIC, Api, Obj, refused
from tests.cluster.conformance.batch import tool, tool_pod
from tests.cluster.conformance.lifecycle import every_verb, is_discovered, status_verbs
from tests.waiting import eventually

S = "[sig-node] "
N = " [NodeConformance] [Conformance]"
RESOURCE = "resource.k8s.io/v1"


def labelled(obj: Obj) -> None:
    obj["metadata"].setdefault("labels", {})["changed"] = "updated"


def is_labelled(obj: Obj) -> bool:
    return bool(obj["metadata"]["labels"].get("changed") == "updated")


def kept(api: Api, version: str, resource: str, kind: str, ns: str | None = None, **fields: Any) -> None:
    """Every verb; a change is a label."""

    def make(name: str) -> Obj:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}

    if "/" in version:
        is_discovered(api, version, resource)
    every_verb(api.at(version, resource, ns), make, labelled, is_labelled)


# -- ConfigMaps and Secrets


@pytest.mark.conformance(f"{S}ConfigMap should run through a ConfigMap lifecycle [Conformance]")
def test_config_map(api, ns):
    kept(api, "v1", "configmaps", "ConfigMap", ns, data={"valueName": "value"})
    maps = api.at("v1", "configmaps", ns)
    maps.create({"metadata": {"name": "one", "labels": {"static": "true"}}, "data": {"valueName": "value"}})
    maps.patch("one", {"metadata": {"labels": {"test": "patched"}}, "data": {"valueName": "value1"}}, STRATEGIC)
    found = maps.get("one")
    assert found["data"] == {"valueName": "value1"} and found["metadata"]["labels"]["test"] == "patched"
    [listed] = maps.everywhere().items("static=true,test=patched")
    assert (listed["metadata"]["namespace"], listed["data"]) == (ns, {"valueName": "value1"})
    maps.delete_all("static=true")
    assert maps.items("static=true") == []


@pytest.mark.conformance(f"{S}ConfigMap should update ConfigMap successfully{N}")
def test_config_map_update(api, ns):
    maps = api.at("v1", "configmaps", ns)
    maps.create({"metadata": {"name": "one"}})
    maps.edit("one", lambda o: o.update(data={"data": "value"}))
    assert maps.get("one")["data"] == {"data": "value"}


@pytest.mark.conformance(f"{S}Secrets should patch a secret [Conformance]")
def test_secret_patch(api, ns):
    secrets = api.at("v1", "secrets", ns)
    value = base64.b64encode(b"value").decode()
    secrets.create(
        {"metadata": {"name": "one", "labels": {"static": "true"}}, "data": {"key": value}, "type": "Opaque"}
    )
    assert [s["metadata"]["name"] for s in secrets.everywhere().items("static=true")] == ["one"]
    other = base64.b64encode(b"value1").decode()
    secrets.patch("one", {"metadata": {"labels": {"testsecret": "true"}}, "data": {"key": other}}, STRATEGIC)
    found = secrets.get("one")
    assert found["data"] == {"key": other} and found["metadata"]["labels"]["testsecret"] == "true"
    secrets.delete_all("testsecret=true")
    assert secrets.everywhere().items("static=true") == []


# -- Leases, PodTemplates, Nodes


@pytest.mark.conformance(f"{S}Lease lease API should be available [Conformance]")
def test_lease(api, ns):
    leases = api.at("coordination.k8s.io/v1", "leases", ns)

    def spec(holder: str, duration: int, transitions: int) -> Obj:
        time = "2026-01-02T03:04:05.000006Z"
        times = {"acquireTime": time, "renewTime": time}
        return {"holderIdentity": holder, "leaseDurationSeconds": duration, "leaseTransitions": transitions, **times}

    made = leases.create({"metadata": {"name": "lease"}, "spec": spec("holder", 30, 0)})
    assert leases.get("lease")["spec"] == made["spec"] == spec("holder", 30, 0)
    leases.edit("lease", lambda o: o.update(spec=spec("holder2", 45, 1)))
    assert leases.get("lease")["spec"] == spec("holder2", 45, 1)
    leases.patch("lease", {"spec": spec("holder3", 60, 2)}, STRATEGIC)
    assert leases.get("lease")["spec"] == spec("holder3", 60, 2)
    leases.create({"metadata": {"name": "other", "labels": {"deletecollection": "true"}}, "spec": spec("h", 30, 0)})
    assert {o["metadata"]["name"] for o in leases.items()} == {"lease", "other"}
    leases.delete_all("deletecollection=true")
    assert {o["metadata"]["name"] for o in leases.items()} == {"lease"}
    leases.delete("lease")
    with refused(404, "NotFound"):
        leases.get("lease")


def pod_template(name: str, labels: Any = None) -> Obj:
    container = {"name": "nginx", "image": "localhost/hello:1"}
    template = {"metadata": {"labels": {"app": "e2e"}}, "spec": {"containers": [container]}}
    return {"metadata": {"name": name, "labels": labels or {}}, "template": template}


@pytest.mark.conformance(f"{S}PodTemplates should run the lifecycle of PodTemplates [Conformance]")
def test_pod_template(api, ns):
    templates = api.at("v1", "podtemplates", ns)
    templates.create(pod_template("one", {"podtemplate-static": "true"}))
    assert [t["metadata"]["name"] for t in templates.everywhere().items("podtemplate-static=true")] == ["one"]
    templates.patch("one", {"metadata": {"labels": {"podtemplate": "patched"}}}, STRATEGIC)
    assert templates.get("one")["metadata"]["labels"]["podtemplate"] == "patched"
    assert len(templates.items("podtemplate-static=true,podtemplate=patched")) == 1
    templates.delete("one")
    assert templates.everywhere().items("podtemplate-static=true") == []


@pytest.mark.conformance(f"{S}PodTemplates should delete a collection of pod templates [Conformance]")
def test_pod_templates_together(api, ns):
    templates = api.at("v1", "podtemplates", ns)
    for name in ("test-podtemplate-1", "test-podtemplate-2", "test-podtemplate-3"):
        templates.create(pod_template(name, {"podtemplate-set": "true"}))
    assert len(templates.items("podtemplate-set=true")) == 3
    templates.delete_all("podtemplate-set=true")
    assert templates.items("podtemplate-set=true") == []


@pytest.mark.conformance(f"{S}PodTemplates should replace a pod template [Conformance]")
def test_pod_template_replaced(api, ns):
    templates = api.at("v1", "podtemplates", ns)
    templates.create(pod_template("one"))
    templates.edit("one", lambda o: o["metadata"].update(annotations={"updated": "true"}))
    assert templates.get("one")["metadata"]["annotations"]["updated"] == "true"


@pytest.mark.conformance(f"{S}Node Lifecycle should run through the lifecycle of a node [Conformance]")
def test_node(api):
    nodes = api.at("v1", "nodes")
    before = {o["metadata"]["name"] for o in nodes.items()}
    made = {"metadata": {"name": "e2e-fake-node"}, "spec": {"unschedulable": True}}
    nodes.create(made)
    assert nodes.get("e2e-fake-node")["metadata"]["name"] == "e2e-fake-node"
    nodes.patch("e2e-fake-node", {"metadata": {"labels": {"e2e-fake-node": "patched"}}}, STRATEGIC)
    assert [o["metadata"]["name"] for o in nodes.items("e2e-fake-node=patched")] == ["e2e-fake-node"]
    nodes.edit("e2e-fake-node", lambda o: o["metadata"]["labels"].update({"e2e-fake-node": "updated"}))
    assert nodes.get("e2e-fake-node")["metadata"]["labels"]["e2e-fake-node"] == "updated"
    nodes.delete("e2e-fake-node")
    eventually(lambda: nodes.find("e2e-fake-node") is None, "the node is gone")
    assert {o["metadata"]["name"] for o in nodes.items()} == before


# -- RuntimeClasses

RUNTIME = "node.k8s.io/v1"


@pytest.mark.conformance(f"{S}RuntimeClass should support RuntimeClasses API operations [Conformance]")
def test_runtime_class(api):
    kept(api, RUNTIME, "runtimeclasses", "RuntimeClass", handler="e2e-fake")


def runtime_class(api: Api, name: str, **more: Any) -> None:
    api.at(RUNTIME, "runtimeclasses").create({"metadata": {"name": name}, "handler": "runc", **more})


def runs_with(api: Api, ns: str, name: str) -> Obj:
    """A pod of the class, once it is scheduled; it is removed with its namespace."""
    made = api.pods(ns).create(tool_pod(tool("true"), name="with-class", runtimeClassName=name))
    found = eventually(lambda: api.pods(ns).get("with-class")["spec"].get("nodeName"), "the pod is scheduled")
    assert found
    return made


@pytest.mark.conformance(f"{S}RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead{N}")
def test_pod_of_a_runtime_class(api, ns, tools):
    runtime_class(api, "e2e-preconfigured")
    try:
        assert "overhead" not in runs_with(api, ns, "e2e-preconfigured")["spec"]
    finally:
        api.at(RUNTIME, "runtimeclasses").delete("e2e-preconfigured")


@pytest.mark.conformance(
    f"{S}RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead{N}"
)
def test_pod_of_a_runtime_class_with_overhead(api, ns, tools):
    fixed = {"cpu": "10m", "memory": "1Mi"}
    runtime_class(api, "e2e-overhead", overhead={"podFixed": fixed})
    try:
        assert runs_with(api, ns, "e2e-overhead")["spec"]["overhead"] == fixed
    finally:
        api.at(RUNTIME, "runtimeclasses").delete("e2e-overhead")


@pytest.mark.conformance(f"{S}RuntimeClass should reject a Pod requesting a non-existent RuntimeClass{N}")
def test_pod_of_no_runtime_class(api, ns):
    with refused(403, "Forbidden", 'RuntimeClass "e2e-nonexistent" not found'):
        api.pods(ns).create(tool_pod(tool("true"), name="refused", runtimeClassName="e2e-nonexistent"))


@pytest.mark.conformance(f"{S}RuntimeClass should reject a Pod requesting a deleted RuntimeClass{N}")
def test_pod_of_a_deleted_runtime_class(api, ns):
    runtime_class(api, "e2e-deleted")
    api.at(RUNTIME, "runtimeclasses").delete("e2e-deleted")

    def is_refused() -> bool:
        with refused(403, "Forbidden", 'RuntimeClass "e2e-deleted" not found'):
            api.pods(ns).create(tool_pod(tool("true"), name="refused", runtimeClassName="e2e-deleted"), dryRun="All")
        return True

    eventually(is_refused, "a pod of the deleted class is refused")


# -- Dynamic Resource Allocation

REQUEST = {"name": "gpu", "exactly": {"deviceClassName": "e2e-gpu"}}


@pytest.mark.conformance(f"{S}[DRA] CRUD Tests resource.k8s.io/v1 DeviceClass [Conformance]")
def test_device_class(api):
    expression = {"cel": {"expression": 'device.driver == "gpu.example.com"'}}
    kept(api, RESOURCE, "deviceclasses", "DeviceClass", spec={"selectors": [expression]})


@pytest.mark.conformance(f"{S}[DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim [Conformance]")
def test_resource_claim(api, ns):
    spec = {"devices": {"requests": [REQUEST]}}
    kept(api, RESOURCE, "resourceclaims", "ResourceClaim", ns, spec=spec)
    claims = api.at(RESOURCE, "resourceclaims", ns)
    claims.create({"metadata": {"name": "with-status"}, "spec": spec})
    result = {"request": "gpu", "driver": "gpu.example.com", "pool": "pool", "device": "gpu-0"}
    allocation = {"devices": {"results": [result]}}
    after = status_verbs(claims, "with-status", {"allocation": allocation}, lambda s: None)
    assert after["status"]["allocation"]["devices"]["results"][0]["device"] == "gpu-0"
    claims.patch("with-status", {"status": {"allocation": None}}, MERGE, "status")
    claims.delete("with-status")


@pytest.mark.conformance(f"{S}[DRA] CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate [Conformance]")
def test_resource_claim_template(api, ns):
    spec = {"spec": {"devices": {"requests": [REQUEST]}}}
    kept(api, RESOURCE, "resourceclaimtemplates", "ResourceClaimTemplate", ns, spec=spec)


@pytest.mark.conformance(f"{S}[DRA] CRUD Tests resource.k8s.io/v1 ResourceSlice [Conformance]")
def test_resource_slice(api):
    spec = {
        "driver": "e2e.example.com",
        "pool": {"name": "e2e", "generation": 1, "resourceSliceCount": 1},
        # A node that is not there: nothing is allocated from it.
        "nodeName": "e2e-no-such-node",
        "devices": [{"name": "gpu-0"}],
    }
    kept(api, RESOURCE, "resourceslices", "ResourceSlice", spec=spec)
