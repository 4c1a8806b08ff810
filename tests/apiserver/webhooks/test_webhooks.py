"""Webhooks called over real TLS: who is called, what they are told, what their answers do."""

from __future__ import annotations

import asyncio

import pytest

from shirube.serving.messages import Response

from .conftest import CONFIGMAPS, GROUP, configmap, patched, register, webhook


async def test_a_validating_webhook_is_told_everything_and_may_refuse(api, hook):
    hook.answers["/"] = lambda asked: {"allowed": False, "status": {"message": "no", "code": 403}}
    await register(api, "validating", "v", webhook("deny.example.com", hook.config()))
    answer = await api.post(f"{CONFIGMAPS}?fieldManager=me", configmap("a", x="1"))
    assert answer.status == 403
    assert answer.message == 'admission webhook "deny.example.com" denied the request: no'
    asked = hook.requests[0]
    assert asked["kind"] == asked["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert asked["resource"] == asked["requestResource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (asked["name"], asked["namespace"], asked["operation"], asked["dryRun"]) == ("a", "default", "CREATE", False)
    assert asked["userInfo"]["username"] == "admin"
    assert asked["object"]["data"] == {"x": "1"} and asked["oldObject"] is None
    assert asked["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}
    assert hook.heard[0].query == "timeout=10s"
    assert hook.heard[0].headers.get("authorization") is None
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 404


async def test_without_explanation_it_is_a_bad_request(api, hook):
    hook.answers["/"] = lambda asked: {"allowed": False}
    await register(api, "validating", "v", webhook("deny.example.com", hook.config()))
    answer = await api.post(CONFIGMAPS, configmap("a"))
    assert answer.status == 400
    assert answer.message == 'admission webhook "deny.example.com" denied the request without explanation'


async def test_update_delete_and_patch_are_asked_about(api, hook):
    await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    hook.answers["/"] = lambda asked: {"allowed": asked["operation"] == "CREATE"}
    await register(api, "validating", "v", webhook("deny.example.com", hook.config()))
    assert (await api.put(f"{CONFIGMAPS}/a", configmap("a", x="2"))).status == 400
    assert (await api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "3"}})).status == 400
    assert (await api.delete(f"{CONFIGMAPS}/a")).status == 400
    assert [r["operation"] for r in hook.requests] == ["UPDATE", "UPDATE", "DELETE"]
    assert hook.requests[0]["oldObject"]["data"] == {"x": "1"} and hook.requests[0]["object"]["data"] == {"x": "2"}
    assert hook.requests[2]["object"] is None and hook.requests[2]["oldObject"]["metadata"]["name"] == "a"


async def test_a_mutating_webhook_changes_the_object(api, hook):
    hook.answers["/"] = lambda asked: patched(
        {"op": "add", "path": "/data/added", "value": "yes"}, {"op": "add", "path": "/nonsense", "value": 1}
    )
    await register(api, "mutating", "m", webhook("add.example.com", hook.config()))
    made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    assert made["data"] == {"x": "1", "added": "yes"}
    assert "nonsense" not in made


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] "
    "should mutate pod and apply defaults after mutation [Conformance]"
)
async def test_defaults_are_filled_in_again_after_mutation(pods, hook):
    container = {"name": "side", "image": "busybox"}
    hook.answers["/"] = lambda asked: patched({"op": "add", "path": "/spec/initContainers", "value": [container]})
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]
    await register(pods, "mutating", "m", webhook("init.example.com", hook.config(), rules=rules))
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    made = await pods.ok("POST", "/api/v1/namespaces/default/pods", body)
    assert made["spec"]["initContainers"][0]["terminationMessagePolicy"] == "File"


async def test_selectors_scopes_and_conditions_pick_out_writes(api, hook):
    await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "other", "labels": {"team": "a"}}})
    hook.answers["/"] = lambda asked: {"allowed": False}
    selected = webhook(
        "deny.example.com",
        hook.config(),
        namespaceSelector={"matchLabels": {"team": "a"}},
        objectSelector={"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
        matchConditions=[{"name": "data", "expression": "object.?data.?x.orValue('') == '1'"}],
    )
    selected["rules"][0]["operations"] = ["CREATE"]
    await register(api, "validating", "v", selected)
    other = "/api/v1/namespaces/other/configmaps"
    assert (await api.post(CONFIGMAPS, configmap("a", x="1"))).status == 201
    assert (await api.post(other, configmap("a"))).status == 201
    assert (await api.post(other, configmap("b", x="2"))).status == 201
    labelled = configmap("c", x="1")
    labelled["metadata"]["labels"] = {"skip": ""}
    # Either object counts: there is no old one, so the new one's label decides.
    assert (await api.post(other, labelled)).status == 201
    assert hook.requests == []
    assert (await api.post(other, configmap("d", x="1"))).status == 400


async def test_a_condition_that_fails_refuses_or_passes_by(api, hook):
    failing = [{"name": "c", "expression": "object.nothere == 1"}]
    await register(api, "validating", "v", webhook("a.example.com", hook.config(), matchConditions=failing))
    answer = await api.post(CONFIGMAPS, configmap("a"))
    assert answer.status == 403 and "no such key: nothere" in answer.message
    await api.ok("DELETE", f"{GROUP}/validatingwebhookconfigurations/v")
    ignoring = webhook("a.example.com", hook.config(), matchConditions=failing, failurePolicy="Ignore")
    await register(api, "validating", "v", ignoring)
    assert (await api.post(CONFIGMAPS, configmap("a"))).status == 201
    assert hook.requests == []


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_failure_policy(api, hook, policy):
    nobody = {"url": "https://127.0.0.1:1/x", "caBundle": hook.bundle}
    await register(api, "validating", "v", webhook("a.example.com", nobody, failurePolicy=policy))
    answer = await api.post(CONFIGMAPS, configmap("a"))
    if policy == "Ignore":
        assert answer.status == 201
        return
    assert answer.status == 500 and answer.json["reason"] == "InternalError"
    assert answer.message.startswith(
        'Internal error occurred: failed calling webhook "a.example.com": failed to call webhook: '
        'Post "https://127.0.0.1:1/x?timeout=10s": '
    )


async def test_a_slow_webhook_is_not_waited_for(api, hook):
    async def slow(asked):
        await asyncio.sleep(30)

    hook.answers["/"] = slow
    await register(api, "validating", "v", webhook("a.example.com", hook.config(), timeoutSeconds=1))
    answer = await api.post(CONFIGMAPS, configmap("a"))
    assert answer.status == 500
    assert answer.message.endswith('?timeout=1s": context deadline exceeded')


async def test_an_unknown_authority_is_not_believed(api, hook):
    config = {"url": f"https://127.0.0.1:{hook.port}/"}
    await register(api, "validating", "v", webhook("a.example.com", config))
    answer = await api.post(CONFIGMAPS, configmap("a"))
    assert answer.status == 500 and "x509" in answer.message
    assert hook.requests == []


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ({"uid": "other"}, "expected response.uid="),
        ({"patch": "W10="}, "validating webhook may not return response.patch"),
    ],
)
async def test_answers_to_other_questions_are_not_believed(api, hook, response, why):
    hook.answers["/"] = lambda asked: response
    await register(api, "validating", "v", webhook("a.example.com", hook.config()))
    answer = await api.post(CONFIGMAPS, configmap("a"))
    assert answer.status == 500 and why in answer.message


async def test_redirects_are_not_followed(api, hook):
    hook.answers["/"] = lambda asked: Response(302, b"", [("Location", "/elsewhere")])
    await register(api, "validating", "v", webhook("a.example.com", hook.config()))
    assert (await api.post(CONFIGMAPS, configmap("a"))).status == 500
    assert len(hook.heard) == 1


async def test_dry_run_reaches_only_webhooks_without_side_effects(api, hook):
    await register(api, "validating", "v", webhook("a.example.com", hook.config()))
    assert (await api.post(f"{CONFIGMAPS}?dryRun=All", configmap("a"))).status == 201
    assert hook.requests[0]["dryRun"] is True
    # v1 configurations cannot say Some or Unknown: those are refused.
    body = {"metadata": {"name": "w"}, "webhooks": [webhook("b.example.com", hook.config(), sideEffects="Some")]}
    assert (await api.post(f"{GROUP}/validatingwebhookconfigurations", body)).status == 422


async def test_warnings_of_webhooks_reach_the_client(api, hook):
    hook.answers["/"] = lambda asked: {"warnings": ["careful"], "allowed": asked["name"] != "b"}
    await register(api, "validating", "v", webhook("a.example.com", hook.config()))
    assert (await api.post(CONFIGMAPS, configmap("a"))).warnings == ['299 - "careful"']
    refused = await api.post(CONFIGMAPS, configmap("b"))
    assert refused.status == 400 and refused.warnings == ['299 - "careful"']


async def test_webhooks_are_called_in_order_and_again_when_they_ask(api, hook):
    def first(asked):
        data = asked["object"]["data"]
        return patched({"op": "add", "path": "/data/first", "value": "again" if "second" in data else "once"})

    hook.answers["/first"] = first
    hook.answers["/second"] = lambda asked: patched({"op": "add", "path": "/data/second", "value": "x"})
    again = webhook("first.example.com", hook.config("/first"), reinvocationPolicy="IfNeeded")
    await register(api, "mutating", "b", webhook("second.example.com", hook.config("/second")))
    await register(api, "mutating", "a", again)
    made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    assert made["data"] == {"x": "1", "first": "again", "second": "x"}
    assert [r.path for r in hook.heard] == ["/first", "/second", "/first"]


async def test_equivalent_versions_are_matched_and_shown_in_the_version_of_the_rule(api, hook):
    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    rules = [
        {
            "apiGroups": ["autoscaling"],
            "apiVersions": ["v1"],
            "resources": ["horizontalpodautoscalers"],
            "operations": ["CREATE"],
        }
    ]
    await register(api, "validating", "v", webhook("a.example.com", hook.config(), rules=rules))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    body = {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}}
    assert (await api.post(path, body)).status == 201
    asked = hook.requests[0]
    assert asked["kind"]["version"] == "v1" and asked["requestKind"]["version"] == "v2"
    assert asked["object"]["apiVersion"] == "autoscaling/v1"
    assert asked["object"]["spec"]["targetCPUUtilizationPercentage"] == 80
    await api.ok("DELETE", f"{GROUP}/validatingwebhookconfigurations/v")
    exact = webhook("a.example.com", hook.config(), rules=rules, matchPolicy="Exact")
    await register(api, "validating", "v", exact)
    body["metadata"]["name"] = "i"
    assert (await api.post(path, body)).status == 201
    assert len(hook.requests) == 1


async def test_services_are_resolved_by_the_server(api, hook):
    await register(api, "validating", "v", webhook("a.example.com", hook.service("/here")))
    missing = await api.post(CONFIGMAPS, configmap("a"))
    assert missing.message.endswith(
        f'Post "https://hook.default.svc:{hook.port}/here?timeout=10s": services "hook" not found'
    )
    service = {"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    await api.ok("POST", "/api/v1/namespaces/default/services", service)
    assert (await api.post(CONFIGMAPS, configmap("a"))).status == 201
    assert hook.heard[0].path == "/here"
    assert hook.heard[0].headers.get("host") == f"hook.default.svc:{hook.port}"


async def test_nobody_is_asked_about_the_configurations_themselves(api, hook):
    hook.answers["/"] = lambda asked: {"allowed": False}
    everything = [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}]
    for kind in ("validating", "mutating"):
        await register(api, kind, "all", webhook("a.example.com", hook.config(), rules=everything))
    for kind in ("validating", "mutating"):
        await api.ok("DELETE", f"{GROUP}/{kind}webhookconfigurations/all")
    assert hook.requests == []


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny attaching pod [Conformance]"
)
async def test_connections_are_asked_about(pods, hook):
    hook.answers["/"] = lambda asked: {"allowed": False, "status": {"message": "no attaching"}}
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/attach"], "operations": ["CONNECT"]}]
    await register(pods, "validating", "v", webhook("a.example.com", hook.config(), rules=rules))
    path = "/api/v1/namespaces/default/pods"
    await pods.ok("POST", path, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}]}})
    answer = await pods.post(f"{path}/p/attach?container=a&stdout=true")
    assert answer.message == 'admission webhook "a.example.com" denied the request: no attaching'
    asked = hook.requests[0]
    assert asked["kind"] == {"group": "", "version": "v1", "kind": "PodAttachOptions"}
    assert asked["subResource"] == "attach" and asked["operation"] == "CONNECT"
