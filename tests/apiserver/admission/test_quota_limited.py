"""Resources that are limited by default: nothing of them without a quota that counts it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apiserver.conftest import PODS, pod

from shirube.api import quantity
from shirube.api.gvr import PODS as POD_KIND
from shirube.api.quota_usage import matches
from shirube.api.resources import BUILTIN
from shirube.apiserver.admission.quota import ResourceQuota, limited
from shirube.apiserver.admission.quota.limited import LimitedResource

NS = "/api/v1/namespaces/default"
QUOTAS = f"{NS}/resourcequotas"
CLAIMS = f"{NS}/persistentvolumeclaims"
KIND = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration"}
CRITICAL = {"scopeName": "PriorityClass", "operator": "In", "values": ["critical", "vital"]}


def rules(*items):
    return {**KIND, "limitedResources": list(items)}


def claim(name, storage_class, storage="1Gi"):
    resources = {"requests": {"storage": storage}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": resources, "storageClassName": storage_class}
    return {"metadata": {"name": name}, "spec": spec}


async def quota(api, name, hard, **spec):
    await api.ok("POST", QUOTAS, {"metadata": {"name": name}, "spec": {"hard": hard, **spec}})


GOLD = {"resource": "persistentvolumeclaims", "matchContains": ["gold.storageclass.storage.k8s.io/requests.storage"]}


async def test_amounts(start):
    async with start(ResourceQuota=rules(GOLD)) as api:
        answer = await api.post(CLAIMS, claim("a", "gold"))
        assert answer.status == 403
        assert answer.message == (
            'persistentvolumeclaims "a" is forbidden: insufficient quota to consume: '
            "gold.storageclass.storage.k8s.io/requests.storage"
        )
        assert (await api.post(CLAIMS, claim("b", "silver"))).status == 201
        await quota(api, "count", {"persistentvolumeclaims": "9"})
        assert (await api.post(CLAIMS, claim("a", "gold"))).status == 403, "a quota of something else covers nothing"
        await quota(api, "gold", {"gold.storageclass.storage.k8s.io/requests.storage": "3Gi"})
        assert (await api.post(CLAIMS, claim("a", "gold", "2Gi"))).status == 201
        answer = await api.post(CLAIMS, claim("c", "gold", "2Gi"))
        assert answer.status == 403 and "exceeded quota: gold, requested:" in answer.message
        used = (await api.ok("GET", f"{QUOTAS}/gold"))["status"]["used"]
        assert used == {"gold.storageclass.storage.k8s.io/requests.storage": "2Gi"}


async def test_several_amounts_are_told_together(start):
    async with start(ResourceQuota=rules({"resource": "pods", "matchContains": ["pods", "cpu"]})) as api:
        containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]
        answer = await api.post(PODS, pod("p", containers=containers))
        assert answer.message.endswith("insufficient quota to consume: count/pods,cpu,pods,requests.cpu")
        assert (await api.post(f"{PODS}?dryRun=All", pod("p"))).status == 403


@pytest.mark.parametrize("body", [{"metadata": {"name": "d"}}])
async def test_other_groups_and_kinds_are_left_alone(start, body):
    limited_deployments = {"apiGroup": "apps", "resource": "deployments", "matchContains": ["count/"]}
    async with start(ResourceQuota=rules(limited_deployments)) as api:
        labels = {"a": "b"}
        template = {"metadata": {"labels": labels}, "spec": pod("x")["spec"]}
        deployment = {**body, "spec": {"selector": {"matchLabels": labels}, "template": template}}
        answer = await api.post("/apis/apps/v1/namespaces/default/deployments", deployment)
        assert answer.status == 403
        assert answer.message.endswith("insufficient quota to consume: count/deployments.apps")
        assert (await api.post(PODS, pod("p"))).status == 201
        assert (await api.post(f"{NS}/configmaps", body)).status == 201


async def test_scopes(start):
    async with start(ResourceQuota=rules({"resource": "pods", "matchScopes": [CRITICAL]})) as api:
        for name in ("critical", "plain"):
            body = {"metadata": {"name": name}, "value": 5}
            await api.ok("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body)
        assert (await api.post(PODS, pod("p", priorityClassName="plain"))).status == 201
        answer = await api.post(PODS, pod("q", priorityClassName="critical"))
        assert answer.status == 403
        assert answer.message == (
            'pods "q" is forbidden: insufficient quota to match these scopes: [{PriorityClass In [critical vital]}]'
        )
        await quota(api, "other", {"pods": "5"})
        mixed = {"matchExpressions": [CRITICAL, {"scopeName": "NotBestEffort", "operator": "Exists"}]}
        await quota(api, "elsewhere", {"pods": "5"}, scopeSelector=mixed)
        assert (await api.post(PODS, pod("q", priorityClassName="critical"))).status == 403
        await quota(api, "critical", {"pods": "1"}, scopeSelector={"matchExpressions": [CRITICAL]})
        answers = await asyncio.gather(*(api.post(PODS, pod(f"q{n}", priorityClassName="critical")) for n in range(4)))
        assert sorted(a.status for a in answers) == [201, 403, 403, 403]


async def test_what_is_there_may_stay_and_shrink_but_not_grow(start):
    """A server that begins to limit leaves objects alone that do not use more."""
    async with start() as api:
        await api.ok("POST", CLAIMS, claim("a", "gold"))
        (plugin,) = (p for p in api.context.admission._plugins if isinstance(p, ResourceQuota))
        plugin.configure(limited.read_configuration(rules(GOLD), ""))
        assert (await api.patch(f"{CLAIMS}/a", {"metadata": {"labels": {"x": "y"}}})).status == 200
        held = await api.ok("GET", f"{CLAIMS}/a")
        status = {**held["status"], "phase": "Bound", "capacity": {"storage": "9Gi"}}
        assert (await api.put(f"{CLAIMS}/a/status", {**held, "status": status})).status == 200


# -- quotas that come and go meanwhile ----------------------------------------------------------------------

PODS_LIMITED = rules({"resource": "pods", "matchContains": ["pods"]})


async def test_nobody_passes_before_there_is_a_quota(start):
    async with start(ResourceQuota=PODS_LIMITED) as api:

        async def create(worker):
            return [(await api.post(PODS, pod(f"p{worker}-{n}"))).status for n in range(5)]

        early = await asyncio.gather(*(create(worker) for worker in range(4)))
        assert {status for one in early for status in one} == {403}
        await quota(api, "q", {"pods": "7", "count/pods": "100"})
        late = await asyncio.gather(*(create(worker) for worker in range(4)))
        assert sorted(status for one in late for status in one) == [201] * 7 + [403] * 13
        assert (await api.ok("GET", f"{QUOTAS}/q"))["status"]["used"] == {"pods": "7", "count/pods": "7"}


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_quota_that_is_gone_when_it_is_charged_covers_nothing(start, monkeypatch, deleted):
    """Between looking at the quotas and charging them somebody deletes the one, or takes the resource out of it."""
    async with start(ResourceQuota=PODS_LIMITED) as api:
        await quota(api, "q", {"pods": "7", "count/pods": "100", "cpu": "5"})
        store = api.context.store
        update, hard = store.guaranteed_update, {"cpu": "5"}

        async def meddled(gvr, *where, **more):
            monkeypatch.setattr(store, "guaranteed_update", update)
            if deleted:
                await api.ok("DELETE", f"{QUOTAS}/q")
            else:
                changed = await api.ok("GET", f"{QUOTAS}/q")
                await api.ok("PUT", f"{QUOTAS}/q", {**changed, "spec": {"hard": hard}})
            return await update(gvr, *where, **more)

        monkeypatch.setattr(store, "guaranteed_update", meddled)
        containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]
        answers = await asyncio.gather(*(api.post(PODS, pod(f"p{n}", containers=containers)) for n in range(3)))
        assert [a.status for a in answers] == [403] * 3
        assert all(a.message.endswith("insufficient quota to consume: count/pods,pods") for a in answers)
        assert (await api.ok("GET", PODS))["items"] == []


# -- the rule itself ----------------------------------------------------------------------------------------

POD = BUILTIN.by_gvr(POD_KIND)
NAMES = ("pods", "count/pods", "cpu", "requests.cpu", "requests.e.x/gpu")
SCOPES = (
    CRITICAL,
    {"scopeName": "PriorityClass", "operator": "Exists", "values": []},
    {"scopeName": "BestEffort", "operator": "Exists", "values": []},
    {"scopeName": "NotBestEffort", "operator": "Exists", "values": []},
    {"scopeName": "Terminating", "operator": "Exists", "values": []},
)
subsets = st.lists(st.sampled_from(SCOPES), max_size=2, unique_by=lambda scope: scope["scopeName"])
amounts = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3).map(lambda n: quantity.parse(str(n))))
quotas = st.builds(
    lambda hard, scopes: {"spec": {"hard": dict.fromkeys(hard, "9"), "scopeSelector": {"matchExpressions": scopes}}},
    st.sets(st.sampled_from(NAMES)),
    subsets,
)
limits = st.builds(
    lambda contains, scopes: LimitedResource("", "pods", tuple(contains), tuple(scopes)),
    st.sets(st.sampled_from(("pods", "cpu", "gpu", "count/"))),
    subsets,
)
objects = st.builds(
    lambda name, deadline: {"metadata": {}, "spec": {"priorityClassName": name, "activeDeadlineSeconds": deadline}},
    st.sampled_from(("", "critical", "plain")),
    st.sampled_from((None, 5)),
)


@given(st.lists(limits, max_size=3), st.lists(quotas, max_size=3), objects, amounts)
def test_covered_means_counted(rules, there, obj, cost):
    """Whatever is limited and let through is counted by a quota that the object belongs to; more quotas never hurt."""
    wanted = limited.needed(rules, POD, obj, cost)
    refusal = limited.uncovered(wanted, there, POD, obj, cost)
    mine = [q for q in there if matches(q, POD, obj) and q["spec"]["hard"].keys() & cost.keys()]
    counted = {name for q in mine for name in q["spec"]["hard"]}
    scopes = {e["scopeName"] for q in mine for e in q["spec"]["scopeSelector"]["matchExpressions"]}
    covered = wanted.names <= counted and all(scope["scopeName"] in scopes for scope in wanted.scopes)
    assert (refusal == "") is covered
    if not refusal:
        assert limited.uncovered(wanted, [*there, {"spec": {"hard": {"pods": "1"}}}], POD, obj, cost) == ""
    if not wanted:
        assert limited.uncovered(wanted, [], POD, obj, cost) == ""
    assert all(cost[name].nanos > 0 for name in wanted.names)
