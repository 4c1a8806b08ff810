"""Binding, eviction, tokens, reviews: asked of a whole server."""

from __future__ import annotations

import asyncio

import pytest

from shirube.apiserver.authentication import Authenticator
from shirube.apiserver.authentication.jwt import unverified_claims
from shirube.apiserver.user import User

NS = "/api/v1/namespaces/default"
PODS = f"{NS}/pods"
ISSUER = "https://kubernetes.default.svc.cluster.local"


def pod(name, labels=None, **spec):
    containers = [{"name": "c", "image": "i"}]
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"containers": containers, **spec}}


def binding(name, node="n1", **meta):
    return {"metadata": {"name": name, **meta}, "target": {"kind": "Node", "name": node}}


# -- binding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"{PODS}/p/binding", f"{NS}/bindings"])
async def test_binding(pods, path):
    await pods.ok("POST", PODS, pod("p"))
    answer = await pods.post(path, binding("p", annotations={"by": "me"}))
    assert (answer.status, answer.json["status"]) == (201, "Success")
    bound = await pods.ok("GET", f"{PODS}/p")
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["metadata"]["annotations"]["by"] == "me"
    (condition,) = [c for c in bound["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert condition["status"] == "True"


async def test_bound_once(pods):
    await pods.ok("POST", PODS, pod("p"))
    answers = await asyncio.gather(*(pods.post(f"{PODS}/p/binding", binding("p", f"n{i}")) for i in range(8)))
    assert sorted(a.status for a in answers) == [201] + [409] * 7
    node = (await pods.ok("GET", f"{PODS}/p"))["spec"]["nodeName"]
    refused = next(a for a in answers if a.status == 409)
    assert refused.message == (
        f'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "{node}"'
    )


async def test_what_cannot_be_bound(pods):
    await pods.ok("POST", PODS, pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
    answer = await pods.post(f"{PODS}/gated/binding", binding("gated"))
    assert (answer.status, "non-empty .spec.schedulingGates" in answer.message) == (409, True)
    assert (await pods.post(f"{PODS}/none/binding", binding("none"))).status == 404
    answer = await pods.post(f"{PODS}/gated/binding", {"metadata": {"name": "gated"}, "target": {"kind": "Pod"}})
    assert answer.status == 422
    assert {c["field"] for c in answer.json["details"]["causes"]} == {"target.kind", "target.name"}
    answer = await pods.post(f"{PODS}/gated/binding", binding("gated", uid="another"))
    assert (answer.status, "Precondition failed: UID" in answer.message) == (409, True)


async def test_dry_run_binds_nothing(pods):
    await pods.ok("POST", PODS, pod("p"))
    await pods.ok("POST", f"{PODS}/p/binding?dryRun=All", binding("p"))
    assert "nodeName" not in (await pods.ok("GET", f"{PODS}/p"))["spec"]


# -- eviction -----------------------------------------------------------------------------------------------


async def serving_pods(api, count, **budget):
    """Ready pods behind a budget whose status is `budget`."""
    for index in range(count):
        await api.ok("POST", PODS, pod(f"p{index}", {"app": "web"}, nodeName="n1"))
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        await api.ok(
            "PATCH", f"{PODS}/p{index}/status", {"status": status}, content_type="application/merge-patch+json"
        )
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    made = await api.ok("POST", budgets, {"metadata": {"name": "b"}, "spec": spec})
    status = {
        "observedGeneration": made["metadata"].get("generation", 1),
        "disruptionsAllowed": 0,
        "currentHealthy": count,
        "desiredHealthy": 1,
        "expectedPods": count,
        **budget,
    }
    await api.ok("PUT", f"{budgets}/b/status", {**made, "status": status})
    return f"{budgets}/b"


def eviction(name):
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}


async def test_eviction_takes_from_the_budget(pods):
    budget = await serving_pods(pods, 4, disruptionsAllowed=2)
    answers = await asyncio.gather(*(pods.post(f"{PODS}/p{i}/eviction", eviction(f"p{i}")) for i in range(4)))
    assert sorted(a.status for a in answers) == [201, 201, 429, 429]
    refused = next(a for a in answers if a.status == 429)
    assert refused.message == "Cannot evict pod as it would violate the pod's disruption budget."
    assert refused.header("retry-after") == []  # nobody knows when there will be room again
    assert refused.json["details"]["causes"] == [
        {
            "reason": "DisruptionBudget",
            "message": "The disruption budget b does not allow evicting pods currently",
        }
    ]
    status = (await pods.ok("GET", budget))["status"]
    assert (status["disruptionsAllowed"], len(status["disruptedPods"])) == (0, 2)


async def test_budget_that_is_behind_is_waited_for(pods):
    await serving_pods(pods, 1, disruptionsAllowed=5, observedGeneration=0)
    answer = await pods.post(f"{PODS}/p0/eviction", eviction("p0"))
    assert answer.status == 429
    assert "is still being processed by the server" in answer.json["details"]["causes"][0]["message"]


async def test_who_does_not_serve_needs_no_budget(pods):
    await serving_pods(pods, 1)
    await pods.ok("PATCH", f"{PODS}/p0/status", {"status": {"phase": "Pending"}},
                  content_type="application/merge-patch+json")  # fmt: skip
    assert (await pods.post(f"{PODS}/p0/eviction", eviction("p0"))).status == 201


async def test_eviction_dry_run(pods):
    budget = await serving_pods(pods, 1, disruptionsAllowed=1)
    assert (await pods.post(f"{PODS}/p0/eviction?dryRun=All", eviction("p0"))).status == 201
    assert (await pods.ok("GET", budget))["status"]["disruptionsAllowed"] == 1
    assert "deletionTimestamp" not in (await pods.ok("GET", f"{PODS}/p0"))["metadata"]


# -- tokens -------------------------------------------------------------------------------------------------


async def test_token_request(pods):
    made = await pods.ok("POST", PODS, pod("p", nodeName="n1"))
    await pods.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}
    answer = await pods.post(
        f"{NS}/serviceaccounts/default/token",
        {"spec": {"audiences": ["vault"], "expirationSeconds": 700, "boundObjectRef": ref}},
    )
    assert answer.status == 201
    claims = unverified_claims(answer.json["status"]["token"])
    assert (claims["aud"], claims["exp"] - claims["iat"]) == (["vault"], 700)
    assert claims["kubernetes.io"]["pod"] == {"name": "p", "uid": made["metadata"]["uid"]}
    assert claims["kubernetes.io"]["node"]["name"] == "n1"


async def test_tokens_of_the_default_volume_are_extended(pods):
    answer = await pods.post(f"{NS}/serviceaccounts/default/token", {"spec": {"expirationSeconds": 3607}})
    claims = unverified_claims(answer.json["status"]["token"])
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] - claims["iat"] == 3607


async def test_bad_token_requests(pods):
    path = f"{NS}/serviceaccounts/default/token"
    answer = await pods.post(path, {"spec": {"expirationSeconds": 10}})
    assert answer.status == 422
    assert "may not specify a duration less than 10 minutes" in answer.message
    assert (await pods.post(f"{NS}/serviceaccounts/none/token", {"spec": {}})).status == 404
    ref = {"kind": "ConfigMap", "apiVersion": "v1", "name": "x"}
    assert (await pods.post(path, {"spec": {"boundObjectRef": ref}})).status == 400
    await pods.ok("POST", PODS, pod("p"))
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "old"}
    assert (await pods.post(path, {"spec": {"boundObjectRef": ref}})).status == 409
    assert (await pods.get(path)).status == 405


# -- reviews ------------------------------------------------------------------------------------------------


async def test_token_review(pods):
    context = pods.context
    real = Authenticator(context.reader, context.clock, tokens=context.authenticator.tokens, audiences=(ISSUER,))
    context.authenticator.review = real.review
    token = (await pods.ok("POST", f"{NS}/serviceaccounts/default/token", {"spec": {}}))["status"]["token"]
    reviews = "/apis/authentication.k8s.io/v1/tokenreviews"
    status = (await pods.ok("POST", reviews, {"spec": {"token": token}}))["status"]
    assert status["authenticated"] is True
    assert status["user"]["username"] == "system:serviceaccount:default:default"
    assert status["audiences"] == [ISSUER]
    status = (await pods.ok("POST", reviews, {"spec": {"token": token, "audiences": ["vault"]}}))["status"]
    assert "authenticated" not in status
    status = (await pods.ok("POST", reviews, {"spec": {"token": "rubbish"}}))["status"]
    assert status == {"user": {}, "error": "[invalid bearer token]"}
    assert (await pods.post(reviews, {"spec": {}})).status == 400


async def test_who_am_i(api):
    answer = await api.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert answer["status"]["userInfo"]["username"] == "admin"


async def test_access_reviews(api):
    base = "/apis/authorization.k8s.io/v1"
    ask = {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "default"}}
    assert (await api.ok("POST", f"{base}/selfsubjectaccessreviews", {"spec": ask}))["status"]["allowed"] is True
    about_jane = {"spec": {**ask, "user": "jane"}}
    assert (await api.ok("POST", f"{base}/subjectaccessreviews", about_jane))["status"] == {"allowed": False}
    path = {"spec": {"user": "jane", "groups": ["system:authenticated"], "nonResourceAttributes": {"verb": "get", "path": "/version"}}}  # fmt: skip # noqa: E501
    status = (await api.ok("POST", f"{base}/subjectaccessreviews", path))["status"]
    assert status["allowed"] is True
    assert status["reason"].startswith("RBAC: allowed by ClusterRoleBinding")
    local = f"{base}/namespaces/other/localsubjectaccessreviews"
    answer = await api.post(local, {"metadata": {"namespace": "other"}, **about_jane})
    assert (answer.status, "must match metadata.namespace" in answer.message) == (422, True)
    answer = await api.post(f"{base}/subjectaccessreviews", {"spec": {"user": "jane"}})
    assert "exactly one of nonResourceAttributes or resourceAttributes must be specified" in answer.message
    answer = await api.post(f"{base}/subjectaccessreviews", {"spec": ask})
    assert "at least one of user or group must be specified" in answer.message


async def test_rules_review(api):
    api.context.authenticator.user = User("jane", groups=("system:authenticated",))
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status = (await api.ok("POST", path, {"spec": {"namespace": "default"}}))["status"]
    assert status["incomplete"] is False
    assert {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]} in (
        status["resourceRules"]
    )
    assert (await api.post(path, {"spec": {}})).status == 400


async def test_component_statuses(api):
    answer = await api.get("/api/v1/componentstatuses")
    assert [i["metadata"]["name"] for i in answer.json["items"]] == ["scheduler", "controller-manager", "etcd-0"]
    assert any("v1 ComponentStatus is deprecated" in w for w in answer.warnings)
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    rows = (await api.ok("GET", "/api/v1/componentstatuses", accept=accept))["rows"]
    assert [row["cells"][:2] for row in rows][2] == ["etcd-0", "Healthy"]
    one = await api.ok("GET", "/api/v1/componentstatuses/etcd-0")
    assert one["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
    assert (await api.get("/api/v1/componentstatuses/none")).status == 404
