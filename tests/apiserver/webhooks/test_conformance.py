"""The behaviours of upstream's AdmissionWebhook suite, each as a test."""

from __future__ import annotations

import asyncio

import pytest

from .conftest import CONFIGMAPS, GROUP, configmap, patched, register, webhook

SUITE = "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin]"
PODS = "/api/v1/namespaces/default/pods"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CUSTOM = "/apis/example.com/v1/namespaces/default/things"
KINDS = ("mutating", "validating")


def shows(name):
    return pytest.mark.conformance(f"{SUITE} {name} [Conformance]")


def rule(*resources, group="", version="v1", operations=("*",)):
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": list(resources),
        "operations": list(operations),
    }


def adding(key, value="yes"):
    return lambda asked: patched({"op": "add", "path": f"/data/{key}", "value": value})


def denied(asked):
    return {"allowed": False, "status": {"message": "not allowed here"}}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("mutating", marks=shows("listing mutating webhooks should work")),
        pytest.param("validating", marks=shows("listing validating webhooks should work")),
    ],
)
async def test_collections_of_configurations(api, hook, kind):
    hook.answers["/"] = adding("added") if kind == "mutating" else denied
    path = f"{GROUP}/{kind}webhookconfigurations"
    for n in range(10):
        meta = {"name": f"w{n}", "labels": {"test": "list"}}
        await api.ok("POST", path, {"metadata": meta, "webhooks": [webhook(f"w{n}.example.com", hook.config())]})
    assert len((await api.ok("GET", f"{path}?labelSelector=test%3Dlist"))["items"]) == 10
    answer = await api.post(CONFIGMAPS, configmap("a", x="1"))
    assert answer.json["data"]["added"] == "yes" if kind == "mutating" else answer.status == 400
    await api.ok("DELETE", f"{path}?labelSelector=test%3Dlist")
    assert (await api.ok("GET", path))["items"] == []
    made = await api.ok("POST", CONFIGMAPS, configmap("b", x="1"))
    assert made["data"] == {"x": "1"}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("mutating", marks=shows("patching/updating a mutating webhook should work")),
        pytest.param("validating", marks=shows("patching/updating a validating webhook should work")),
    ],
)
async def test_changed_configurations_hold_at_once(api, hook, kind):
    hook.answers["/"] = adding("added") if kind == "mutating" else denied
    path = f"{GROUP}/{kind}webhookconfigurations/w"
    made = await register(api, kind, "w", webhook("w.example.com", hook.config(), rules=[rule("configmaps")]))
    made["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
    await api.ok("PUT", path, made)
    assert (await api.ok("POST", CONFIGMAPS, configmap("a", x="1")))["data"] == {"x": "1"}
    change = [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]
    assert (await api.patch(path, change, kind="json-patch+json")).status == 200
    answer = await api.post(CONFIGMAPS, configmap("b", x="1"))
    assert answer.json["data"]["added"] == "yes" if kind == "mutating" else answer.status == 400


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=shows(f"should be able to create and update {kind} webhook configurations {rest}"))
        for kind in KINDS
        for rest in ("with match conditions",)
    ],
)
async def test_match_conditions_are_kept(api, hook, kind):
    conditions = [{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}]
    made = await register(api, kind, "w", webhook("w.example.com", hook.config(), matchConditions=conditions))
    assert made["webhooks"][0]["matchConditions"] == conditions
    made["webhooks"][0]["matchConditions"] = conditions = [
        {"name": "expression-1", "expression": "object.metadata.namespace == 'staging'"},
        {"name": "expression-2", "expression": "object.metadata.name == 'a'"},
    ]
    path = f"{GROUP}/{kind}webhookconfigurations/w"
    await api.ok("PUT", path, made)
    assert (await api.ok("GET", path))["webhooks"][0]["matchConditions"] == conditions


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=shows(f"should reject {kind} webhook configurations with invalid match conditions"))
        for kind in KINDS
    ],
)
async def test_conditions_that_do_not_compile_are_refused(api, hook, kind):
    conditions = [{"name": "invalid", "expression": "... [] bad expression"}]
    body = {
        "metadata": {"name": "w"},
        "webhooks": [webhook("w.example.com", hook.config(), matchConditions=conditions)],
    }
    answer = await api.post(f"{GROUP}/{kind}webhookconfigurations", body)
    assert answer.status == 422 and "compilation failed" in answer.message


@shows("should mutate configmap")
async def test_webhooks_build_on_one_another(api, hook):
    def second(asked):
        return adding("stage-2")(asked) if "stage-1" in asked["object"]["data"] else {}

    hook.answers["/1"] = adding("stage-1")
    hook.answers["/2"] = second
    hooks = [webhook(f"w{n}.example.com", hook.config(f"/{n}")) for n in (1, 2)]
    await register(api, "mutating", "w", *hooks)
    made = await api.ok("POST", CONFIGMAPS, configmap("a", start="yes"))
    assert made["data"] == {"start": "yes", "stage-1": "yes", "stage-2": "yes"}


@shows("should mutate everything except 'skip-me' configmaps")
async def test_match_conditions_leave_out(api, hook):
    hook.answers["/"] = adding("added")
    conditions = [{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]
    await register(api, "mutating", "w", webhook("w.example.com", hook.config(), matchConditions=conditions))
    assert (await api.ok("POST", CONFIGMAPS, configmap("skip-me", x="1")))["data"] == {"x": "1"}
    assert (await api.ok("POST", CONFIGMAPS, configmap("other", x="1")))["data"] == {"x": "1", "added": "yes"}


@shows("should unconditionally reject operations on fail closed webhook")
async def test_closed_means_closed(api, hook):
    config = {"service": {"namespace": "default", "name": "nobody", "path": "/x"}}
    await register(api, "validating", "w", webhook("w.example.com", config, failurePolicy="Fail"))
    answer = await api.post(CONFIGMAPS, configmap("a"))
    assert answer.status == 500 and 'failed calling webhook "w.example.com"' in answer.message


@shows("should honor timeout")
async def test_timeouts(api, hook, monkeypatch):
    async def slow(asked):
        await asyncio.sleep(1.5)
        return {}

    hook.answers["/"] = slow
    for number, (policy, seconds, status) in enumerate((("Fail", 1, 500), ("Ignore", 1, 201), ("Fail", 10, 201))):
        await register(
            api,
            "validating",
            "w",
            webhook("w.example.com", hook.config(), failurePolicy=policy, timeoutSeconds=seconds),
        )
        answer = await api.post(CONFIGMAPS, configmap(f"a{number}"))
        assert answer.status == status
        if status == 500:
            assert "context deadline exceeded" in answer.message
        await api.ok("DELETE", f"{GROUP}/validatingwebhookconfigurations/w")


@shows("should include webhook resources in discovery documents")
async def test_discovery(api):
    groups = {g["name"]: g for g in (await api.ok("GET", "/apis"))["groups"]}
    versions = [v["version"] for v in groups["admissionregistration.k8s.io"]["versions"]]
    assert "v1" in versions
    names = {r["name"] for r in (await api.ok("GET", GROUP))["resources"]}
    assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= names


@shows("should not be able to mutate or prevent deletion of webhook configuration objects")
async def test_configurations_are_out_of_reach(api, hook):
    hook.answers["/deny"] = denied
    hook.answers["/label"] = lambda asked: patched({"op": "add", "path": "/metadata/labels", "value": {"mutated": "1"}})
    rules = [rule(*(f"{kind}webhookconfigurations" for kind in KINDS), group="admissionregistration.k8s.io")]
    await register(api, "validating", "deny", webhook("deny.example.com", hook.config("/deny"), rules=rules))
    await register(api, "mutating", "label", webhook("label.example.com", hook.config("/label"), rules=rules))
    for kind in KINDS:
        made = await register(api, kind, "dummy", webhook("dummy.example.com", hook.config()))
        assert "labels" not in made["metadata"]
        await api.ok("DELETE", f"{GROUP}/{kind}webhookconfigurations/dummy")


@shows("should be able to deny pod and configmap creation")
async def test_pods_and_configmaps(pods, hook):
    async def judge(asked):
        obj = asked["object"]
        if obj["metadata"].get("labels", {}).get("hang"):
            await asyncio.sleep(30)
        bad = obj.get("data", {}).get("webhook-e2e-test") == "disallow" or "disallow" in obj["metadata"]["name"]
        return {"allowed": not bad, "status": {"message": "unwanted"}}

    hook.answers["/"] = judge
    selector = {"matchExpressions": [{"key": "skip", "operator": "NotIn", "values": ["yes"]}]}
    rules = [rule("pods", operations=("CREATE",)), rule("configmaps", operations=("CREATE", "UPDATE"))]
    hooks = webhook("w.example.com", hook.config(), rules=rules, namespaceSelector=selector, timeoutSeconds=1)
    await register(pods, "validating", "w", hooks)

    def a_pod(name, **labels):
        containers = [{"name": "a", "image": "b"}]
        return {"metadata": {"name": name, "labels": labels}, "spec": {"containers": containers}}

    assert (await pods.post(PODS, a_pod("fine"))).status == 201
    assert "unwanted" in (await pods.post(PODS, a_pod("disallow"))).message
    assert "deadline" in (await pods.post(PODS, a_pod("hang", hang="yes"))).message
    assert (await pods.get(f"{PODS}/hang")).status == 404
    bad = {"webhook-e2e-test": "disallow"}
    assert "unwanted" in (await pods.post(CONFIGMAPS, configmap("bad", **bad))).message
    assert (await pods.post(CONFIGMAPS, configmap("good", x="1"))).status == 201
    assert "unwanted" in (await pods.put(f"{CONFIGMAPS}/good", configmap("good", **bad))).message
    assert "unwanted" in (await pods.patch(f"{CONFIGMAPS}/good", {"data": bad})).message
    await pods.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "skipped", "labels": {"skip": "yes"}}})
    assert (await pods.post("/api/v1/namespaces/skipped/configmaps", configmap("bad", **bad))).status == 201


# -- custom resources ---------------------------------------------------------------------------------------


def definition(*, served=("v1",), stored="v1", schema=None):
    data = {"type": "object", "additionalProperties": {"type": "string"}} if schema is None else schema
    versions = [
        {
            "name": v,
            "served": True,
            "storage": v == stored,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"data": data}}},
        }
        for v in served
    ]
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    return {"metadata": {"name": "things.example.com"}, "spec": spec}


async def defined(api, **more):
    await api.ok("POST", CRDS, definition(**more))
    async with asyncio.timeout(60):
        while (await api.get(CUSTOM)).status != 200:
            await asyncio.sleep(0.01)


def thing(name, version="v1", **data):
    return {"apiVersion": f"example.com/{version}", "kind": "Thing", "metadata": {"name": name}, "data": data}


THINGS = [rule("things", group="example.com", version="*")]


@shows("should be able to deny custom resource creation, update and deletion")
async def test_custom_resources_are_denied(api, hook):
    await defined(api)
    hook.answers["/"] = lambda asked: {
        "allowed": ((asked["object"] or asked["oldObject"]).get("data") or {}).get("bad") != "yes",
        "status": {"message": "unwanted"},
    }
    await register(api, "validating", "w", webhook("w.example.com", hook.config(), rules=THINGS))
    assert "unwanted" in (await api.post(CUSTOM, thing("a", bad="yes"))).message
    await api.ok("POST", CUSTOM, thing("a", bad="no"))
    assert "unwanted" in (await api.patch(f"{CUSTOM}/a", {"data": {"bad": "yes"}})).message
    await api.ok("DELETE", f"{GROUP}/validatingwebhookconfigurations/w")
    await api.ok("PATCH", f"{CUSTOM}/a", {"data": {"bad": "yes"}}, content_type="application/merge-patch+json")
    await register(api, "validating", "w", webhook("w.example.com", hook.config(), rules=THINGS))
    assert "unwanted" in (await api.delete(f"{CUSTOM}/a")).message


@shows("should mutate custom resource")
async def test_custom_resources_are_mutated(api, hook):
    await defined(api)
    hook.answers["/"] = adding("stage-1")
    await register(api, "mutating", "w", webhook("w.example.com", hook.config(), rules=THINGS))
    assert (await api.ok("POST", CUSTOM, thing("a", x="1")))["data"] == {"x": "1", "stage-1": "yes"}


@shows("should mutate custom resource with pruning")
async def test_what_the_schema_does_not_know_is_pruned_after_mutation(api, hook):
    known = {name: {"type": "string"} for name in ("start", "stage-1")}
    await defined(api, schema={"type": "object", "properties": known})
    hook.answers["/1"], hook.answers["/2"] = adding("stage-1"), adding("stage-2")
    hooks = [webhook(f"w{n}.example.com", hook.config(f"/{n}"), rules=THINGS) for n in (1, 2)]
    await register(api, "mutating", "w", *hooks)
    assert (await api.ok("POST", CUSTOM, thing("a", start="yes")))["data"] == {"start": "yes", "stage-1": "yes"}


@shows("should mutate custom resource with different stored version")
async def test_the_stored_version_may_change_under_a_webhook(api, hook):
    await defined(api, served=("v1", "v2"))
    hook.answers["/"] = adding("stage-1")
    await register(api, "mutating", "w", webhook("w.example.com", hook.config(), rules=THINGS))
    await api.ok("POST", CUSTOM, thing("a", x="1"))
    changed = await api.ok("GET", f"{CRDS}/things.example.com")
    for version in changed["spec"]["versions"]:
        version["storage"] = version["name"] == "v2"
    await api.ok("PUT", f"{CRDS}/things.example.com", changed)
    patch = {"data": {"y": "2"}}
    made = await api.ok("PATCH", f"{CUSTOM}/a", patch, content_type="application/merge-patch+json")
    assert made["data"] == {"x": "1", "y": "2", "stage-1": "yes"} and made["apiVersion"] == "example.com/v1"


@shows("should deny crd creation")
async def test_definitions_are_denied(api, hook):
    hook.answers["/"] = denied
    rules = [rule("customresourcedefinitions", group="apiextensions.k8s.io", version="*", operations=("CREATE",))]
    await register(api, "validating", "w", webhook("w.example.com", hook.config(), rules=rules))
    answer = await api.post(CRDS, definition())
    assert answer.status == 400 and "not allowed here" in answer.message
