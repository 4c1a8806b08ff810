"""Regex and CEL blow-ups: patterns and expressions that people may write who may write definitions or policies.

Patterns run on RE2, whose time is linear in the text; expressions are refused when they are stored, or when the objects
at hand would make them too dear. The server goes on in every case.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.apiserver.conftest import CONFIGMAPS, configmap
from tests.apiserver.extensions.conftest import CRDS, CRONTABS, crontab, definition, established, spec_schema, version

# each takes a backtracking engine longer than the universe has
PATTERNS = [
    r"^(a+)+$",
    r"^(a|a)*$",
    r"^(a|aa)+$",
    r"^(.*a){25}$",
    r"^([a-zA-Z]+)*$",
]
EVIL = "a" * 50_000 + "!"


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_patterns_of_definitions(api, pattern):
    await api.ok("POST", CRDS, definition(version(schema=spec_schema(x={"type": "string", "pattern": pattern}))))
    await established(api, "crontabs.stable.example.com")
    async with asyncio.timeout(60):
        answer = await api.post(CRONTABS, crontab("x", spec={"x": EVIL}))
    assert answer.status == 422 and "should match" in answer.message


@pytest.mark.parametrize("pattern", ["(((a{1000}){1000}){1000})", "(" * 5000 + ")" * 5000, r"(a)\1", "(?=a)"])
async def test_patterns_that_are_no_good_are_refused_or_ignored(api, pattern):
    answer = await api.post(CRDS, definition(version(schema=spec_schema(x={"type": "string", "pattern": pattern}))))
    assert answer.status in (201, 422), answer.raw[:300]
    if answer.status == 201:
        await established(api, "crontabs.stable.example.com")
        async with asyncio.timeout(60):
            answer = await api.post(CRONTABS, crontab("x", spec={"x": "a" * 10_000}))
        assert answer.status in (201, 422)


def nested(depth: int, over: str) -> str:
    """A loop inside a loop inside …"""
    inner = "true"
    for n in reversed(range(depth)):
        inner = f"{over}.all(x{n}, {inner})"
    return inner


def list_of(items: dict, **more) -> dict:
    return {"type": "array", "items": items, **more}


@pytest.mark.parametrize("rule", [nested(5, "self"), nested(3, "self"), "self.all(x, self.exists(y, y == x))"])
async def test_rules_without_bounds_are_refused(api, rule):
    schema = spec_schema(x={**list_of({"type": "string"}), "x-kubernetes-validations": [{"rule": rule}]})
    answer = await api.post(CRDS, definition(version(schema=schema)))
    assert answer.status == 422 and "cost exceeds budget" in answer.message


async def test_rules_do_not_cost_more_than_they_may(api):
    rule = "self.all(x, self.all(y, x + y != 'no'))"
    bounded = list_of({"type": "string", "maxLength": 10}, maxItems=300)
    schema = spec_schema(x={**bounded, "x-kubernetes-validations": [{"rule": rule}]})
    made = await api.post(CRDS, definition(version(schema=schema)))
    if made.status == 201:
        await established(api, "crontabs.stable.example.com")
        async with asyncio.timeout(60):
            answer = await api.post(CRONTABS, crontab("x", spec={"x": [f"i{n}" for n in range(300)]}))
        assert answer.status in (201, 422)
    else:
        assert "cost exceeds budget" in made.message


async def policy(api, expression: str, **more) -> int:
    constraints = {
        "resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
        ]
    }
    spec = {
        "matchConstraints": constraints,
        "validations": [{"expression": expression}],
        "failurePolicy": "Fail",
        **more,
    }
    root = "/apis/admissionregistration.k8s.io/v1"
    answer = await api.post(f"{root}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": spec})
    if answer.status == 201:
        binding = {"policyName": "p", "validationActions": ["Deny"]}
        await api.ok("POST", f"{root}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": binding})
    return answer.status


BLOW_UPS = [
    nested(5, "object.data"),
    nested(4, "object.data"),
    "object.data.map(a, object.data.map(b, object.data.map(c, object.data.map(d, a + b + c + d)))).size() > 0",
    "('a' + object.data.map(k, object.data[k]).join('')).matches('^(a+)+$')",
    "object.data.all(k, object.data[k].matches('^(a|a)*$'))",
    "[0,1,2,3,4,5,6,7,8,9]" + "".join(f".map(x{n}, [0,1,2,3,4,5,6,7,8,9])" for n in range(40)) + ".size() > 0",
    " + ".join(["object.data.k0"] * 1000) + " != ''",
    "[" + ",".join(["object.data"] * 1300) + "].size() > 0",
    "object.data.map(k, object.data[k]).join('').replace('a', object.data.map(k, object.data[k]).join('')) != ''",
    "(" * 3000 + "true" + ")" * 3000,
    "true && " * 3000 + "true",
    "!" * 10_000 + "true",
    "'" + "x" * 20_000 + "' == ''",
    "[" * 2000 + "]" * 2000 + " == []",
]


@pytest.mark.parametrize("expression", BLOW_UPS)
async def test_policies_do_not_stop_the_server(api, expression):
    async with asyncio.timeout(60):
        status = await policy(api, expression)
        assert status in (201, 422)
        if status == 201:
            data = {f"k{n}": "a" * 50 + "!" for n in range(400)}
            answer = await api.post(CONFIGMAPS, configmap("x", **data))
            assert answer.status in (201, 422, 403), answer.raw[:300]
        assert (await api.get("/livez")).status == 200


async def test_variables_do_not_multiply(api):
    variables = [{"name": "v0", "expression": "object.data.map(k, k)"}]
    variables += [{"name": f"v{n}", "expression": f"variables.v{n - 1} + variables.v{n - 1}"} for n in range(1, 40)]
    async with asyncio.timeout(60):
        status = await policy(api, "variables.v39.size() > 0", variables=variables)
        assert status in (201, 422)
        if status == 201:
            answer = await api.post(CONFIGMAPS, configmap("x", a="b", c="d"))
            assert answer.status in (422, 403), answer.raw[:300]
