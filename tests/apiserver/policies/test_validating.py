"""ValidatingAdmissionPolicy: what is refused, in which words, for whom."""

from __future__ import annotations

import pytest

from .conftest import CONFIGMAPS, DEPLOYMENTS, GROUP, configmap, deployment, policy, rule


@pytest.mark.conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] "
    "should validate against a Deployment [Conformance]"
)
async def test_a_validation_that_does_not_hold_refuses(api):
    spec = {"validations": [{"expression": "object.spec.replicas <= 5"}]}
    await policy(api, "validating", "few", spec, rule("deployments", group="apps"))
    assert (await api.post(DEPLOYMENTS, deployment("a", 5))).status == 201
    answer = await api.post(DEPLOYMENTS, deployment("b", 6))
    assert answer.status == 422 and answer.json["reason"] == "Invalid"
    failed = "failed expression: object.spec.replicas <= 5"
    why = f"ValidatingAdmissionPolicy 'few' with binding 'few' denied request: {failed}"
    assert answer.message == f'deployments.apps "b" is forbidden: {why}'
    assert answer.json["details"]["causes"] == [{"message": why}]
    assert (await api.patch(f"{DEPLOYMENTS}/a", {"spec": {"replicas": 9}})).status == 422


@pytest.mark.conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] "
    "should allow expressions to refer variables. [Conformance]"
)
async def test_messages_reasons_and_variables(api):
    spec = {
        "variables": [
            {"name": "size", "expression": "object.?data.orValue({}).size()"},
            {"name": "most", "expression": "variables.size * 0 + 1"},
        ],
        "validations": [
            {
                "expression": "variables.size <= variables.most",
                "messageExpression": "'at most ' + string(variables.most) + ', not ' + string(variables.size)",
                "reason": "Forbidden",
            }
        ],
    }
    await policy(api, "validating", "small", spec)
    answer = await api.post(CONFIGMAPS, configmap("a", x="1", y="2"))
    assert answer.status == 403 and answer.json["reason"] == "Forbidden"
    assert answer.message.endswith("denied request: at most 1, not 2")


async def test_warn_and_audit_let_pass(api):
    spec = {"validations": [{"expression": "false", "message": "bad"}]}
    await policy(api, "validating", "w", spec, binding={"validationActions": ["Warn", "Audit"]})
    answer = await api.post(CONFIGMAPS, configmap("a"))
    assert answer.status == 201
    assert answer.warnings == ["299 - \"Validation failed for ValidatingAdmissionPolicy 'w' with binding 'w': bad\""]


async def test_parameters(api):
    await api.ok("POST", CONFIGMAPS, configmap("limits", most="1"))
    spec = {
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "object.spec.replicas <= int(params.data.most)"}],
    }
    ref = {"name": "limits", "parameterNotFoundAction": "Deny"}
    await policy(api, "validating", "p", spec, rule("deployments", group="apps"), binding={"paramRef": ref})
    assert (await api.post(DEPLOYMENTS, deployment("a", 1))).status == 201
    assert (await api.post(DEPLOYMENTS, deployment("b", 2))).status == 422
    await api.ok("PATCH", f"{CONFIGMAPS}/limits", {"data": {"most": "7"}}, content_type="application/merge-patch+json")
    assert (await api.post(DEPLOYMENTS, deployment("b", 2))).status == 201
    await api.ok("DELETE", f"{CONFIGMAPS}/limits")
    answer = await api.post(DEPLOYMENTS, deployment("c", 1))
    assert answer.message.endswith(
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    )


@pytest.mark.parametrize(("policy_", "code"), [("Fail", 422), ("Ignore", 201)])
async def test_errors_follow_the_failure_policy(api, policy_, code):
    spec = {"failurePolicy": policy_, "validations": [{"expression": "object.nothere == 1"}]}
    await policy(api, "validating", "e", spec)
    answer = await api.post(CONFIGMAPS, configmap("a"))
    assert answer.status == code
    if code == 422:
        assert answer.message.endswith("expression 'object.nothere == 1' resulted in error: no such key: nothere")


async def test_match_conditions_bindings_and_exclusions(api):
    await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "prod", "labels": {"env": "prod"}}})
    spec = {
        "matchConditions": [{"name": "c", "expression": "!object.metadata.name.startsWith('free-')"}],
        "validations": [{"expression": "namespaceObject.metadata.labels.env != 'prod'"}],
    }
    selector = {"namespaceSelector": {"matchLabels": {"env": "prod"}}}
    await policy(api, "validating", "m", spec, binding={"matchResources": selector})
    prod = "/api/v1/namespaces/prod/configmaps"
    assert (await api.post(CONFIGMAPS, configmap("a"))).status == 201
    assert (await api.post(prod, configmap("free-a"))).status == 201
    assert (await api.post(prod, configmap("a"))).status == 422


async def test_who_asks_and_what_they_may(api):
    check = "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()"
    account = "authorizer.serviceAccount('default', 'nobody').requestResource.check('create').allowed()"
    validations = [
        {"expression": "request.userInfo.username == 'admin' && request.operation in ['CREATE', 'UPDATE']"},
        {"expression": check},
        {"expression": f"!{account}"},
        {"expression": "!authorizer.path('/healthz').check('get').errored()"},
    ]
    await policy(api, "validating", "who", {"validations": validations})
    answer = await api.post(CONFIGMAPS, configmap("a"))
    assert answer.status == 201, answer.raw


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("object.x ==", "compilation failed"),
        ("nothing.x == 1", "undeclared reference to 'nothing'"),
        ("params.x == 1", "undeclared reference to 'params'"),
    ],
)
async def test_expressions_are_checked_when_they_are_written(api, expression, why):
    body = {
        "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule("configmaps")]},
            "validations": [{"expression": expression}],
        },
    }
    answer = await api.post(f"{GROUP}/validatingadmissionpolicies", body)
    assert answer.status == 422 and why in answer.message
    assert answer.json["details"]["causes"][0]["field"] == "spec.validations[0].expression"


async def test_a_policy_cannot_lock_its_own_removal(api):
    everything = rule("*/*", group="*", version="*")
    await policy(api, "validating", "lock", {"validations": [{"expression": "false"}]}, everything)
    assert (await api.post(CONFIGMAPS, configmap("a"))).status == 422
    await api.ok("DELETE", f"{GROUP}/validatingadmissionpolicybindings/lock")
    assert (await api.post(CONFIGMAPS, configmap("a"))).status == 201
