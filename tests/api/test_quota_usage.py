"""What objects cost of a quota, and which quotas are about them."""

from __future__ import annotations

from typing import Any

import pytest

from shirube.api import quota_usage
from shirube.api.resources import BUILTIN

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def resource(name: str, group: str = "") -> Any:
    found = BUILTIN.by_path(group, "v1", name)
    assert found is not None
    return found


def used(name: str, obj: dict[str, Any], group: str = "", now: float | None = None) -> dict[str, str]:
    obj.setdefault("metadata", {})
    return {key: str(amount) for key, amount in quota_usage.of(resource(name, group), obj, now).items()}


def pod(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    return {"metadata": {}, "spec": {"containers": [{"name": "c", "resources": resources}]}, **more}


def test_a_pod():
    found = used("pods", pod({"cpu": "1", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"}, {"cpu": "2"}))
    assert found == {
        "count/pods": "1",
        "pods": "1",
        "cpu": "1",
        "requests.cpu": "1",
        "limits.cpu": "2",
        "requests.example.com/gpu": "2",
        "hugepages-2Mi": "4Mi",
        "requests.hugepages-2Mi": "4Mi",
    }


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_is_only_there(phase: str):
    assert used("pods", pod({"cpu": "1"}, status={"phase": phase})) == {"count/pods": "1"}


def test_a_pod_whose_node_is_lost_stops_counting_when_it_should_have_gone():
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
    one = pod({"cpu": "1"}, metadata=leaving)
    assert quota_usage.gone_at(one) == NOW + 30
    assert used("pods", one, now=NOW + 30)["cpu"] == "1"
    assert used("pods", one, now=NOW + 31) == {"count/pods": "1"}
    assert quota_usage.gone_at(pod()) is None


def test_a_pod_that_is_resized_costs_the_larger_of_what_it_has_and_what_it_wants():
    def resized(wanted: str, has: str, promised: str, **condition: str) -> str:
        status = {
            "name": "c",
            "resources": {"requests": {"cpu": has}, "limits": {"cpu": has}},
            "allocatedResources": {"cpu": promised},
        }
        conditions = [condition] if condition else []
        one = pod({"cpu": wanted}, {"cpu": wanted}, status={"containerStatuses": [status], "conditions": conditions})
        return used("pods", one)["requests.cpu"]

    assert resized("2", "1", "1") == "2"
    assert resized("1", "2", "1") == "2"
    assert resized("1", "1", "2") == "2"
    assert resized("4", "1", "2", type="PodResizePending", reason="Infeasible") == "2"
    assert resized("4", "1", "2", type="PodResizePending", reason="Deferred") == "4"


def test_what_a_node_would_have_to_hold_is_what_is_asked_for():
    status = {"name": "c", "resources": {"requests": {"cpu": "8"}}}
    total = quota_usage.pod_total(pod({"cpu": "1"}, status={"containerStatuses": [status]}), "requests")
    assert {key: str(amount) for key, amount in total.items()} == {"cpu": "1"}


@pytest.mark.parametrize(
    ("spec", "ports", "balancers"),
    [
        ({"type": "ClusterIP", "ports": [{}, {}]}, None, None),
        ({"type": "NodePort", "ports": [{}, {}]}, "2", None),
        ({"type": "LoadBalancer", "ports": [{}, {}]}, "2", "1"),
        ({"type": "LoadBalancer", "ports": [{}, {}], "allocateLoadBalancerNodePorts": False}, "0", "1"),
        (
            {"type": "LoadBalancer", "ports": [{"nodePort": 30000}, {}], "allocateLoadBalancerNodePorts": False},
            "1",
            "1",
        ),
    ],
)
def test_a_service(spec: dict[str, Any], ports: str | None, balancers: str | None):
    found = used("services", {"spec": spec})
    assert found["services"] == found["count/services"] == "1"
    assert (found.get("services.nodeports"), found.get("services.loadbalancers")) == (ports, balancers)


def claim(storage: str | None = "1Gi", **spec: Any) -> dict[str, Any]:
    resources = {"requests": {"storage": storage}} if storage else {}
    return {"metadata": {}, "spec": {"resources": resources, **spec}}


def test_a_claim():
    gold = "gold.storageclass.storage.k8s.io"
    plain = {"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1"}
    assert used("persistentvolumeclaims", claim()) == {**plain, "requests.storage": "1Gi"}
    of_class = {**plain, f"{gold}/persistentvolumeclaims": "1"}
    whole = {**of_class, "requests.storage": "1Gi", f"{gold}/requests.storage": "1Gi"}
    assert used("persistentvolumeclaims", claim(storageClassName="gold")) == whole
    assert used("persistentvolumeclaims", claim(None, storageClassName="gold")) == of_class
    annotated = claim(storageClassName="tin")
    annotated["metadata"]["annotations"] = {"volume.beta.kubernetes.io/storage-class": "gold"}
    assert used("persistentvolumeclaims", annotated) == whole


def test_a_claim_counts_whole_bytes_and_what_it_is_growing_to():
    def storage(asked: str, allocated: str | None = None) -> str:
        status = {"allocatedResources": {"storage": allocated}} if allocated else {}
        return used("persistentvolumeclaims", {**claim(asked), "status": status})["requests.storage"]

    assert storage("1500m") == "2"
    assert storage("1Gi", "2Gi") == "2Gi"
    assert storage("3Gi", "2Gi") == "3Gi"


def test_devices_of_a_resource_claim():
    requests = [
        {"name": "a", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 3}},
        {"name": "b", "exactly": {"deviceClassName": "gpu"}},
        {"name": "c", "exactly": {"deviceClassName": "nic", "allocationMode": "All"}},
        {
            "name": "d",
            "firstAvailable": [
                {"name": "x", "deviceClassName": "gpu", "count": 2},
                {"name": "y", "deviceClassName": "gpu", "count": 5},
                {"name": "z", "deviceClassName": "fpga", "count": 1},
            ],
        },
    ]
    assert used("resourceclaims", {"spec": {"devices": {"requests": requests}}}, "resource.k8s.io") == {
        "count/resourceclaims.resource.k8s.io": "1",
        "gpu.deviceclass.resource.k8s.io/devices": "9",
        "nic.deviceclass.resource.k8s.io/devices": "32",
        "fpga.deviceclass.resource.k8s.io/devices": "1",
        "requests.deviceclass.resource.kubernetes.io/gpu": "9",
        "requests.deviceclass.resource.kubernetes.io/nic": "32",
        "requests.deviceclass.resource.kubernetes.io/fpga": "1",
    }


EXTENDED = "resource.kubernetes.io/extended-resource-claim"
GPU = "requests.example.com/gpu"
IMPLICIT = "requests.deviceclass.resource.kubernetes.io/gpu"


def made_for(name: str, uid: str, count: int = 2, claim_name: str = "c", at: str = "2026-01-01T00:00:00Z") -> Any:
    """A claim that says that it is for the extended resources of a pod."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, "controller": True}
    return {
        "metadata": {
            "name": claim_name,
            "namespace": "n",
            "creationTimestamp": at,
            "annotations": {EXTENDED: "true"},
            "ownerReferences": [owner],
        },
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu", "count": count}}]}},
    }


@pytest.mark.parametrize(
    ("claim", "status", "others", "left"),
    [
        (made_for("p", "u"), {}, (), 0),
        (made_for("p", "u", 5), {}, (), 3),
        (made_for("p", "another"), {}, (), 2),
        (made_for("gone", "u"), {}, (), 2),
        (made_for("p", "u"), {"phase": "Succeeded"}, (), 2),
        (made_for("p", "u"), {"extendedResourceClaimStatus": {"resourceClaimName": "c"}}, (), 0),
        (made_for("p", "u"), {"extendedResourceClaimStatus": {"resourceClaimName": "other"}}, (), 2),
        (made_for("p", "u"), {}, (made_for("p", "u", claim_name="a"),), 2),
        (made_for("p", "u"), {}, (made_for("p", "u", claim_name="z"), made_for("q", "v", claim_name="a")), 0),
        (made_for("p", "u"), {}, (made_for("p", "u", claim_name="a", at="2026-02-02T00:00:00Z"),), 0),
        ({**made_for("p", "u"), "metadata": {"name": "c", "namespace": "n"}}, {}, (), 2),
    ],
    ids=[
        "paid by the pod",
        "but for what is more",
        "another pod of the name",
        "a pod that is gone",
        "a pod that has finished",
        "the pod says so, too",
        "the pod says another",
        "a second claim for one pod",
        "the first of two",
        "the older of two",
        "nobody's",
    ],
)
def test_extended_resources_are_charged_once_and_nobody_gets_around_them(claim, status, others, left):
    """By whatever way devices are asked for: a claim's word for itself is not enough."""
    asking = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "status": status}
    requests = {"example.com/gpu": "2", "deviceclass.resource.kubernetes.io/gpu": "2"}
    asking["spec"] = {"containers": [{"name": "c", "resources": {"requests": requests}}]}
    around = quota_usage.Surroundings(
        {"gpu": "example.com/gpu"}.get,  # type: ignore[arg-type]
        lambda _, name: asking if name == "p" else None,
        lambda _: [claim, *others],
    )
    found = quota_usage.of(resource("resourceclaims", "resource.k8s.io"), claim, NOW, around)
    count = claim["spec"]["devices"]["requests"][0]["exactly"]["count"]
    assert str(found["gpu.deviceclass.resource.k8s.io/devices"]) == str(count)
    assert {name: str(found[name]) for name in (GPU, IMPLICIT) if name in found} == (
        {GPU: str(left), IMPLICIT: str(left)} if left else {}
    )


def scoped(name: str, operator: str = "Exists", *values: str) -> dict[str, Any]:
    expression = {"scopeName": name, "operator": operator, "values": list(values)}
    return {"spec": {"scopeSelector": {"matchExpressions": [expression]}}}


@pytest.mark.parametrize(
    ("quota", "high", "none"),
    [
        (scoped("PriorityClass"), True, False),
        (scoped("PriorityClass", "DoesNotExist"), False, True),
        (scoped("PriorityClass", "In", "high", "low"), True, False),
        (scoped("PriorityClass", "In", "low"), False, False),
        (scoped("PriorityClass", "NotIn", "low"), True, True),
        (scoped("PriorityClass", "NotIn", "high"), False, True),
        (scoped("Terminating"), False, True),
        ({"spec": {"scopes": ["NotTerminating"]}}, True, False),
        ({"spec": {"scopes": ["BestEffort"]}}, False, True),
        ({"spec": {"scopes": ["NotBestEffort", "NotTerminating"]}}, True, False),
        ({"spec": {}}, True, True),
    ],
)
def test_scopes_of_pods(quota: dict[str, Any], high: bool, none: bool):
    """`high`: a burstable pod of a class, without a deadline. `none`: a best-effort pod with one."""
    one, other = pod({"cpu": "1"}), pod()
    one["spec"]["priorityClassName"] = "high"
    other["spec"]["activeDeadlineSeconds"] = 0
    pods = resource("pods")
    assert (quota_usage.matches(quota, pods, one), quota_usage.matches(quota, pods, other)) == (high, none)


@pytest.mark.parametrize("kind", ["podAffinity", "podAntiAffinity"])
@pytest.mark.parametrize("preferred", [False, True])
@pytest.mark.parametrize(
    ("term", "crosses"),
    [
        ({}, False),
        ({"namespaces": []}, False),
        ({"namespaces": ["other"]}, True),
        ({"namespaceSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"a": "b"}}}, True),
    ],
)
def test_the_scope_of_pods_that_look_at_other_namespaces(kind: str, preferred: bool, term: Any, crosses: bool):
    when = f"{'preferred' if preferred else 'required'}DuringSchedulingIgnoredDuringExecution"
    one = pod()
    one["spec"]["affinity"] = {kind: {when: [{"weight": 1, "podAffinityTerm": term} if preferred else term]}}
    quota = {"spec": {"scopes": ["CrossNamespacePodAffinity"]}}
    assert quota_usage.matches(quota, resource("pods"), one) is crosses


def test_of_init_containers_the_largest_counts_and_sidecars_always():
    def container(cpu: str, **more: str) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}, **more}

    one = {"spec": {"containers": [container("1"), container("2")], "initContainers": [container("4"), container("1")]}}
    assert used("pods", one) | {"requests.cpu": "4", "limits.cpu": "4", "cpu": "4"} == used("pods", one)
    one["spec"]["initContainers"] = [container("2", restartPolicy="Always"), container("1")]
    assert used("pods", one)["requests.cpu"] == "5"


@pytest.mark.parametrize(
    ("quota", "asked", "changing", "without"),
    [
        (scoped("VolumeAttributesClass"), True, True, False),
        (scoped("VolumeAttributesClass", "DoesNotExist"), False, False, True),
        (scoped("VolumeAttributesClass", "In", "gold"), True, True, False),
        (scoped("VolumeAttributesClass", "In", "tin"), False, True, False),
        (scoped("VolumeAttributesClass", "NotIn", "gold"), False, True, True),
        (scoped("PriorityClass"), False, False, False),
        ({"spec": {}}, True, True, True),
    ],
)
def test_scopes_of_claims(quota: dict[str, Any], asked: bool, changing: bool, without: bool):
    """A claim that changes from one class to another is in the scope of both."""
    gold = claim(volumeAttributesClassName="gold")
    both = {**gold, "status": {"currentVolumeAttributesClassName": "tin"}}
    claims = resource("persistentvolumeclaims")
    found = tuple(quota_usage.matches(quota, claims, one) for one in (gold, both, claim()))
    assert found == (asked, changing, without)
    assert not quota_usage.matches(scoped("VolumeAttributesClass"), resource("services"), {"spec": {}})


def test_growth_is_what_is_more():
    before = quota_usage.of(resource("services"), {"spec": {"type": "NodePort", "ports": [{}]}})
    after = quota_usage.of(resource("services"), {"spec": {"type": "NodePort", "ports": [{}, {}, {}]}})
    assert {n: str(a) for n, a in quota_usage.more(after, before).items()} == {"services.nodeports": "2"}
    assert quota_usage.more(before, after) == {}
