"""ResourceQuota at the door: what is judged, what is not, and what changes cost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.apiserver.admission.test_quota import CLAIMS, QUOTAS, asking, claim, quota, used
from tests.apiserver.conftest import PODS, pod

NS = "/api/v1/namespaces/default"
SERVICES = f"{NS}/services"  # in namespace default, where there is one already: kubernetes


def service(name: str, kind: str = "ClusterIP", ports: int = 1, **spec: Any) -> dict[str, Any]:
    listed = [{"name": f"p{i}", "port": 80 + i} for i in range(ports)]
    return {"metadata": {"name": name}, "spec": {"type": kind, "ports": listed, **spec}}


def container(name: str, requests: dict[str, str], limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"name": name, "image": "i", "resources": {"requests": requests, "limits": limits or {}}}


@pytest.mark.parametrize(
    ("hard", "spec", "missing"),
    [
        ({"memory": "1Gi"}, {"containers": [container("a", {"cpu": "1m"})]}, "memory for: a"),
        (
            {"requests.memory": "1Gi", "limits.cpu": "4"},
            {"containers": [container("b", {"memory": "1Mi"}), container("a", {}, {"cpu": "1"})]},
            "limits.cpu for: b; requests.memory for: a",
        ),
        (
            {"cpu": "4"},
            {"containers": [container("a", {"cpu": "1m"})], "initContainers": [container("first", {})]},
            "cpu for: first",
        ),
        ({"requests.ephemeral-storage": "1Gi"}, {"containers": [container("a", {})]}, ""),
        ({"requests.example.com/gpu": "1", "pods": "5"}, {"containers": [container("a", {})]}, ""),
        ({"cpu": "4"}, {"containers": [container("a", {})], "resources": {"requests": {"cpu": "1"}}}, ""),
    ],
)
async def test_what_a_quota_is_about_has_to_be_said(pods, hard: dict[str, str], spec: dict[str, Any], missing: str):
    """Of cpu and memory: of others, who does not say takes none."""
    await quota(pods, "q", hard)
    answer = await pods.post(PODS, pod("p", **spec))
    assert answer.status == (403 if missing else 201), answer.message
    if missing:
        assert answer.message.endswith(f"failed quota: q: must specify {missing}")


async def test_what_is_exceeded_already_stops_only_its_own(pods):
    """A quota that was lowered below its use: nothing more of that, all the rest as before."""
    for name in ("a", "b"):
        await pods.ok("POST", SERVICES, service(name, "NodePort", ports=2))
    await quota(pods, "q", {"services": "1", "services.nodeports": "1", "pods": "1"})
    assert (await pods.post(PODS, pod("p"))).status == 201
    answer = await pods.post(SERVICES, service("c"))
    assert "exceeded quota: q, requested: services=1, used: services=3, limited: services=1" in answer.message
    ports = [{"name": "p0", "port": 80}]
    fewer = await pods.patch(f"{SERVICES}/a", {"spec": {"ports": ports}})
    assert fewer.status == 200, "to take less is always allowed"
    labels = await pods.patch(f"{SERVICES}/b", {"metadata": {"labels": {"x": "y"}}})
    assert labels.status == 200, "and to take as much as before"
    more = await pods.patch(f"{SERVICES}/a", {"spec": {"ports": [*ports, {"name": "new", "port": 90}]}})
    assert "requested: services.nodeports=1, used: services.nodeports=4" in more.message


async def test_a_service_that_becomes_another_kind_costs_the_difference(pods):
    await quota(pods, "q", {"services": "9", "services.nodeports": "3", "services.loadbalancers": "1"})
    await pods.ok("POST", SERVICES, service("a", ports=2))
    await pods.ok("POST", SERVICES, service("b", ports=2))
    assert await used(pods, "q") == {"services": "3", "services.nodeports": "0", "services.loadbalancers": "0"}
    assert (await pods.patch(f"{SERVICES}/a", {"spec": {"type": "NodePort"}})).status == 200
    answer = await pods.patch(f"{SERVICES}/b", {"spec": {"type": "LoadBalancer"}})
    assert "exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=2" in answer.message
    without = {"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}}
    assert (await pods.patch(f"{SERVICES}/b", without)).status == 200
    assert await used(pods, "q") == {"services": "3", "services.nodeports": "2", "services.loadbalancers": "1"}
    answer = await pods.patch(f"{SERVICES}/a", {"spec": {"type": "LoadBalancer"}})
    assert "exceeded quota: q, requested: services.loadbalancers=1" in answer.message


async def test_a_claim_that_grows_costs_what_it_grows(pods):
    await quota(pods, "q", {"requests.storage": "3Gi", "fast.storageclass.storage.k8s.io/requests.storage": "9Gi"})
    fast = {"metadata": {"name": "fast"}, "provisioner": "x.io/y", "allowVolumeExpansion": True}
    await pods.ok("POST", "/apis/storage.k8s.io/v1/storageclasses", fast)
    await pods.ok("POST", CLAIMS, claim("a", storageClassName="fast"))
    made = await pods.ok("GET", f"{CLAIMS}/a")
    bound = {**made["status"], "phase": "Bound", "capacity": {"storage": "1Gi"}}
    await pods.ok("PUT", f"{CLAIMS}/a/status", {**made, "status": bound})

    def size(text: str) -> dict[str, Any]:
        return {"spec": {"resources": {"requests": {"storage": text}}}}

    assert (await pods.patch(f"{CLAIMS}/a", size("2Gi"))).status == 200
    answer = await pods.patch(f"{CLAIMS}/a", size("4Gi"))
    assert "exceeded quota: q, requested: requests.storage=2Gi, used: requests.storage=2Gi" in answer.message
    of_class = "fast.storageclass.storage.k8s.io/requests.storage"
    assert await used(pods, "q") == {"requests.storage": "2Gi", of_class: "2Gi"}


async def test_best_effort_pods_have_a_quota_of_their_own(pods):
    await quota(pods, "loose", {"pods": "1"}, scopes=["BestEffort"])
    await quota(pods, "firm", {"pods": "1"}, scopes=["NotBestEffort"])
    assert (await pods.post(PODS, asking("firm"))).status == 201
    assert (await pods.post(PODS, pod("loose"))).status == 201
    assert "exceeded quota: firm" in (await pods.post(PODS, asking("second"))).message
    assert "exceeded quota: loose" in (await pods.post(PODS, pod("third"))).message
    assert (await used(pods, "loose"), await used(pods, "firm")) == ({"pods": "1"}, {"pods": "1"})


async def test_binding_deleting_and_other_namespaces_cost_nothing(pods):
    await quota(pods, "q", {"pods": "1", "count/configmaps": "0"})
    await pods.ok("POST", PODS, pod("p"))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert (await pods.post(f"{PODS}/p/binding", binding)).status == 201
    assert (await pods.delete(f"{PODS}/p?gracePeriodSeconds=0")).status == 200
    await pods.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
    elsewhere = "/api/v1/namespaces/other/configmaps"
    assert (await pods.post(elsewhere, {"metadata": {"name": "c"}})).status == 201
    answer = await pods.post(f"{NS}/configmaps", {"metadata": {"name": "c"}})
    assert "exceeded quota: q, requested: count/configmaps=1" in answer.message


async def test_events_are_never_counted(pods):
    """A quota must not silence who reports that it is exceeded."""
    await quota(pods, "q", {"count/events": "0", "count/events.events.k8s.io": "0"})
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    event = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "Because", "type": "Normal"}
    assert (await pods.post(f"{NS}/events", event)).status == 201


@pytest.mark.parametrize("amount", ["-1Gi", "-1"])
async def test_nobody_earns_by_asking_for_less_than_nothing(pods, amount: str):
    await quota(pods, "q", {"requests.storage": "1Gi"})
    assert (await pods.post(CLAIMS, claim("a", storage=amount))).status == 422
    assert (await used(pods, "q") or {}).get("requests.storage", "0") == "0"


async def test_many_at_once_get_just_what_is_there(pods):
    await quota(pods, "q", {"services": "6", "services.nodeports": "6"})
    answers = await asyncio.gather(*(pods.post(SERVICES, service(f"s{i}", "NodePort", 2)) for i in range(8)))
    assert sorted(a.status for a in answers) == [201] * 3 + [403] * 5
    assert await used(pods, "q") == {"services": "4", "services.nodeports": "6"}


async def test_a_quota_that_is_changed_is_judged_by_what_it_says_now(pods):
    await pods.ok("POST", PODS, asking("a"))
    await quota(pods, "q", {"pods": "1"})
    assert (await pods.post(PODS, asking("b"))).status == 403
    assert (await pods.patch(f"{QUOTAS}/q", {"spec": {"hard": {"pods": "2", "requests.cpu": "200m"}}})).status == 200
    assert (await pods.post(PODS, asking("b"))).status == 201
    assert await used(pods, "q") == {"pods": "2", "requests.cpu": "200m"}
    assert (await pods.patch(f"{QUOTAS}/q", {"spec": {"hard": {"pods": "9", "requests.cpu": None}}})).status == 200
    assert (await pods.post(PODS, pod("c"))).status == 201, "cpu is no longer its concern"
    assert await used(pods, "q") == {"pods": "3"}


async def test_a_class_that_stands_for_an_extended_resource_counts_as_it(pods):
    """Also when claims mark themselves as what the scheduler makes for a pod that has paid."""
    await pods.ok("POST", "/apis/resource.k8s.io/v1/deviceclasses", {"metadata": {"name": "nic"}, "spec": {}})
    gpu = {"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}}
    await pods.ok("POST", "/apis/resource.k8s.io/v1/deviceclasses", gpu)
    claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"

    def devices(name: str, count: int, kind: str = "gpu", **metadata: Any) -> dict[str, Any]:
        request = {"name": "r", "exactly": {"deviceClassName": kind, "count": count}}
        return {"metadata": {"name": name, **metadata}, "spec": {"devices": {"requests": [request]}}}

    assert (await pods.post(claims, devices("a", 1))).status == 201
    await quota(pods, "q", {"requests.example.com/gpu": "3"})
    marked = {"annotations": {"resource.kubernetes.io/extended-resource-claim": "true"}}
    answer = await pods.post(claims, devices("b", 3, **marked))
    assert "requested: requests.example.com/gpu=3, used: requests.example.com/gpu=1" in answer.message
    assert (await pods.post(claims, devices("c", 9, "nic"))).status == 201
    asks = {"requests": {"example.com/gpu": "2"}, "limits": {"example.com/gpu": "2"}}
    user = await pods.ok("POST", PODS, pod("p", containers=[{"name": "c", "image": "i", "resources": asks}]))
    assert await used(pods, "q") == {"requests.example.com/gpu": "3"}
    uid = user["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": True}
    made = devices("p-claim", 2, **marked, ownerReferences=[owner])
    assert (await pods.post(claims, made)).status == 201, "its pod has been charged"
    assert await used(pods, "q") == {"requests.example.com/gpu": "3"}
