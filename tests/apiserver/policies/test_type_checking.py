"""Type checking of policies: warnings in their status, in cel-go's words."""

from __future__ import annotations

import asyncio

import pytest

from shirube.api import schema
from shirube.api.gvr import VALIDATINGADMISSIONPOLICIES
from shirube.apiserver.policies import status, type_checking

from .conftest import GROUP, policy, rule

DEPLOYMENT = schema.type_of("apps", "v1", "Deployment")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("object.spec.replicas <= 5", None),
        ("object.replicas > 1", "undefined field 'replicas'"),
        ("object.spec.template.spec.containers[0].imag == 'a'", "undefined field 'imag'"),
        ("object.spec.template.spec.containers.all(c, c.whatever)", None),
        ("has(object.spec.paused) && object.spec.nothing", "undefined field 'nothing'"),
        ("object.metadata.labels.anything == 'x'", None),
        ("object.metadata.labels['a'] == 5", "found no matching overload for '_==_' applied to '(string, int)'"),
        ("object.spec.replicas > '1'", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("object.spec.replicas > 1.5", None),
        ("object.spec.replicas == 1.5", "found no matching overload for '_==_' applied to '(int, double)'"),
        ("object.spec.paused == 'yes'", "found no matching overload for '_==_' applied to '(bool, string)'"),
        ("oldObject.spec.replica == 1", "undefined field 'replica'"),
        ("object.metadata.creationTimestamp == 5", None),
        ("'object.nothing' == object.metadata.name", None),
        ("object.?nothing.hasValue()", None),
        ("object.spec.strategy.rollingUpdate.maxSurge == 1", None),
        ("myobject.nothing || variables.object.nothing", None),
    ],
)
def test_check(text, why):
    found = type_checking.check(text, DEPLOYMENT)
    assert (found.why if found else None) == why


async def test_warnings_are_in_the_status(api):
    spec = {
        "variables": [{"name": "n", "expression": "object.spec.size"}],
        "validations": [
            {"expression": "object.spec.replicas > 1", "messageExpression": "'at ' + object.name"},
            {"expression": "true &&\n object.spec.replicas == '1'"},
        ],
    }
    rules = rule("deployments", "deployments/status", group="apps"), rule("*", group="batch")
    await policy(api, "validating", "typed", spec, *rules)
    await status.settle(api.context)
    path = f"{GROUP}/validatingadmissionpolicies/typed"
    checked = (await api.ok("GET", path))["status"]["typeChecking"]["expressionWarnings"]
    assert checked == [
        {
            "fieldRef": "spec.validations[0].messageExpression",
            "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:15: undefined field 'name'\n"
            " | 'at ' + object.name\n | ..............^\n",
        },
        {
            "fieldRef": "spec.validations[1].expression",
            "warning": "apps/v1, Kind=Deployment: ERROR: <input>:2:23: found no matching overload for "
            "'_==_' applied to '(int, string)'\n |  object.spec.replicas == '1'\n | ......................^\n",
        },
        {
            "fieldRef": "spec.variables[0].expression",
            "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'size'\n"
            " | object.spec.size\n | ...........^\n",
        },
    ]
    fixed = {"spec": {**spec, "variables": [], "validations": [{"expression": "object.spec.replicas > 1"}]}}
    await api.ok("PATCH", path, fixed, content_type="application/merge-patch+json")
    await status.settle(api.context)
    assert (await api.ok("GET", path))["status"]["typeChecking"] == {}


async def test_custom_resources_are_checked_once_they_are_served(api):
    spec = {"validations": [{"expression": "object.spec.size > 1 && object.spec.seize"}]}
    await policy(api, "validating", "custom", spec, rule("cranks", group="t.example.com"))
    await status.settle(api.context)
    path = f"{GROUP}/validatingadmissionpolicies/custom"
    assert (await api.ok("GET", path))["status"]["typeChecking"] == {}
    size = {"type": "object", "properties": {"size": {"type": "integer"}}}
    await api.ok(
        "POST",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {
            "metadata": {"name": "cranks.t.example.com"},
            "spec": {
                "group": "t.example.com",
                "scope": "Namespaced",
                "names": {"plural": "cranks", "singular": "crank", "kind": "Crank"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": size}}},
                    }
                ],
            },
        },
    )
    async with asyncio.timeout(5):
        while "typeChecking" not in (found := (await api.ok("GET", path))["status"]) or not found["typeChecking"]:
            await asyncio.sleep(0.01)  # `keep` sees the new kind by itself
    assert "undefined field 'seize'" in found["typeChecking"]["expressionWarnings"][0]["warning"]
    assert api.context.reader.get(VALIDATINGADMISSIONPOLICIES, "", "custom")["status"] == found
