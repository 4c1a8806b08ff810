"""ResourceQuota at the door: what counts against which quota, beside the plain cases of `test_plugins`."""

from __future__ import annotations

import asyncio

import pytest
from tests.apiserver.conftest import PODS, pod

NS = "/api/v1/namespaces/default"
QUOTAS = f"{NS}/resourcequotas"
CLAIMS = f"{NS}/persistentvolumeclaims"


async def quota(api, name, hard, **spec):
    body = {"metadata": {"name": name}, "spec": {"hard": hard, **spec}}
    await api.ok("POST", QUOTAS, body)
    # The first decision makes the status; here it is there from the start.
    await api.ok("GET", f"{QUOTAS}/{name}")


async def used(api, name):
    return (await api.ok("GET", f"{QUOTAS}/{name}"))["status"].get("used")


def asking(name, cpu="100m", **spec):
    resources = {"requests": {"cpu": cpu}}
    return pod(name, containers=[{"name": "c", "image": "i", "resources": resources}], **spec)


async def test_who_does_not_fit_into_one_quota_takes_nothing_of_another(pods):
    await quota(pods, "a-wide", {"pods": "10"})
    await quota(pods, "b-narrow", {"requests.cpu": "250m"})
    answers = await asyncio.gather(*(pods.post(PODS, asking(f"p{i}")) for i in range(6)))
    assert sorted(a.status for a in answers) == [201] * 2 + [403] * 4
    assert await used(pods, "a-wide") == {"pods": "2"}
    assert await used(pods, "b-narrow") == {"requests.cpu": "200m"}


async def test_quotas_of_quotas(pods):
    await quota(pods, "q", {"resourcequotas": "2", "count/resourcequotas": "5"})
    await quota(pods, "r", {"pods": "1"})
    answer = await pods.post(QUOTAS, {"metadata": {"name": "s"}, "spec": {"hard": {"pods": "1"}}})
    assert answer.status == 403
    assert answer.message.endswith(
        "exceeded quota: q, requested: resourcequotas=1, used: resourcequotas=2, limited: resourcequotas=2"
    )


async def test_a_resize_needs_room(pods):
    await pods.ok("POST", PODS, asking("p"))
    await quota(pods, "q", {"requests.cpu": "300m"})

    def resized(cpu):
        return {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}

    kind = "strategic-merge-patch+json"
    answer = await pods.patch(f"{PODS}/p/resize", resized("400m"), kind=kind)
    assert answer.status == 403
    assert "exceeded quota: q, requested: requests.cpu=300m, used: requests.cpu=100m" in answer.message
    assert (await pods.patch(f"{PODS}/p/resize", resized("250m"), kind=kind)).status == 200
    assert await used(pods, "q") == {"requests.cpu": "250m"}


async def test_a_deadline_moves_a_pod_into_the_other_scope(pods):
    await pods.ok("POST", PODS, asking("p"))
    await quota(pods, "short", {"pods": "0"}, scopes=["Terminating"])
    answer = await pods.patch(f"{PODS}/p", {"spec": {"activeDeadlineSeconds": 60}})
    assert answer.status == 403
    assert "exceeded quota: short, requested: pods=1" in answer.message
    assert (await pods.patch(f"{PODS}/p", {"metadata": {"labels": {"x": "y"}}})).status == 200


def claim(name, storage="1Gi", **spec):
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}, **spec}
    return {"metadata": {"name": name}, "spec": {"storageClassName": "", **asked}}


async def test_claims_of_a_volume_attributes_class(pods):
    expression = {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"]}
    await quota(pods, "q", {"persistentvolumeclaims": "1"}, scopeSelector={"matchExpressions": [expression]})
    gold = {"volumeAttributesClassName": "gold"}
    assert (await pods.post(CLAIMS, claim("a", **gold))).status == 201
    assert (await pods.post(CLAIMS, claim("b", **gold))).status == 403
    assert (await pods.post(CLAIMS, claim("c"))).status == 201
    assert await used(pods, "q") == {"persistentvolumeclaims": "1"}


async def test_a_status_is_charged_and_never_refused(pods):
    made = await pods.ok("POST", CLAIMS, claim("a"))
    await quota(pods, "q", {"requests.storage": "1Gi"})
    status = {"allocatedResources": {"storage": "2Gi"}}
    await pods.ok("PUT", f"{CLAIMS}/a/status", {**made, "status": {**made["status"], **status}})
    assert await used(pods, "q") == {"requests.storage": "2Gi"}


@pytest.mark.parametrize("dry", [True, False])
async def test_a_dry_run_is_judged_and_takes_nothing(pods, dry):
    await quota(pods, "q", {"pods": "1"})
    target = f"{PODS}?dryRun=All" if dry else PODS
    assert (await pods.post(target, pod("a"))).status == 201
    assert (await pods.post(target, pod("b"))).status == (201 if dry else 403)


async def test_devices(pods):
    await quota(pods, "q", {"gpu.deviceclass.resource.k8s.io/devices": "3"})
    claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"

    def devices(name, count):
        request = {"name": "r", "exactly": {"deviceClassName": "gpu", "count": count}}
        return {"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}}

    assert (await pods.post(claims, devices("a", 2))).status == 201
    answer = await pods.post(claims, devices("b", 2))
    assert "requested: gpu.deviceclass.resource.k8s.io/devices=2, used: gpu.deviceclass" in answer.message
    assert (await pods.post(claims, devices("c", 1))).status == 201
