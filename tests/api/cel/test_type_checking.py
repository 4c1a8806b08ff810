"""Type checking of policies' expressions, in cel-go's words, against types as a server publishes them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from shirube.api import openapi
from shirube.api.cel import type_checking
from shirube.api.cel.type_checking import Matched
from shirube.api.gvr import GVR
from shirube.api.resources import BUILTIN
from shirube.api.schema import published
from shirube.api.schema.types import Type

DEPLOYMENT = published.type_of(orjson.loads(openapi.v3(BUILTIN, "apis/apps/v1")), "apps", "v1", "Deployment")


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
        ("object.spec.template.spec.containers[0].resources.limits['cpu'] == '1'", None),
        ("myobject.nothing || variables.object.nothing", None),
    ],
)
def test_check(text: str, why: str | None):
    assert DEPLOYMENT is not None
    assert [wrong.why for wrong in type_checking.check(text, DEPLOYMENT)] == ([why] if why else [])


def test_all_that_is_wrong_is_told():
    assert DEPLOYMENT is not None
    text = "object.spec.replicas > '1' && object.spec.nonExisting == 1"
    policy = {"spec": {"validations": [{"expression": text}]}}
    (found,) = type_checking.warnings(policy, [Matched("apps/v1", "Deployment", DEPLOYMENT)])
    assert found["warning"] == (
        "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"
        f"\n | {text}\n | .....................^\n"
        f"ERROR: <input>:1:42: undefined field 'nonExisting'\n | {text}\n | {'.' * 41}^\n"
    )


def rule(groups: str, versions: str, resources: str) -> dict[str, Any]:
    return {"apiGroups": groups.split(), "apiVersions": versions.split(), "resources": resources.split()}


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([rule("apps", "v1", "deployments")], [GVR("apps", "v1", "deployments")]),
        ([rule("apps", "v1", "deployments deployments/scale")], [GVR("apps", "v1", "deployments")]),
        ([rule("*", "v1", "deployments")], []),
        ([rule("apps", "*", "deployments")], []),
        ([rule("apps", "v1", "*")], []),
        ([rule("apps", "v1", "*/scale")], []),
        (
            [rule("a b", "v1 v2", "xs"), rule("b", "v2", "xs")],
            [GVR(group, version, "xs") for group in "ab" for version in ("v1", "v2")],
        ),
        ([], []),
    ],
)
def test_collections_that_rules_name_outright(rules: list[Any], found: list[GVR]):
    assert list(type_checking.named({"spec": {"matchConstraints": {"resourceRules": rules}}})) == found
    assert list(type_checking.named({"spec": {}})) == []


def test_each_kind_that_an_expression_does_not_fit_has_a_line():
    """Every expression once, with the kinds that it is wrong about; messages are expressions, too."""
    size = Type("object", properties={"size": Type("integer")})
    kinds = [
        Matched("a.example.com/v1", "Sized", Type("object", properties={"spec": size})),
        Matched("a.example.com/v1", "Named", Type("object", properties={"name": Type("string")})),
        Matched("v1", "Any", Type("any")),
    ]
    policy = {
        "spec": {
            "validations": [
                {"expression": "object.spec.size > 1", "messageExpression": "object.name"},
                {"expression": "true"},
            ]
        }
    }
    assert type_checking.warnings(policy, kinds) == [
        {
            "fieldRef": "spec.validations[0].expression",
            "warning": "a.example.com/v1, Kind=Named: ERROR: <input>:1:7: undefined field 'spec'\n"
            " | object.spec.size > 1\n | ......^\n",
        },
        {
            "fieldRef": "spec.validations[0].messageExpression",
            "warning": "a.example.com/v1, Kind=Sized: ERROR: <input>:1:7: undefined field 'name'\n"
            " | object.name\n | ......^\n",
        },
    ]
