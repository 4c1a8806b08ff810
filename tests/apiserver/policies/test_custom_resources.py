"""Policies about custom resources, and custom resources as their parameters."""

from __future__ import annotations

import asyncio

import pytest

from .conftest import DEPLOYMENTS, deployment, policy, rule

LIMITS = "/apis/x.example.com/v1/namespaces/default/limits"


def limit(name: str, most: int) -> dict:
    return {"apiVersion": "x.example.com/v1", "kind": "Limit", "metadata": {"name": name}, "max": most}


@pytest.fixture
async def limits(api):
    """A server that serves Limits."""
    schema = {"type": "object", "properties": {"max": {"type": "integer"}, "note": {"type": "string"}}}
    spec = {
        "group": "x.example.com",
        "scope": "Namespaced",
        "names": {"plural": "limits", "singular": "limit", "kind": "Limit"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
    }
    body = {"metadata": {"name": "limits.x.example.com"}, "spec": spec}
    await api.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    async with asyncio.timeout(60):
        while (await api.get(LIMITS)).status != 200:
            await asyncio.sleep(0.005)
    return api


async def test_as_parameters(limits):
    await limits.ok("POST", LIMITS, limit("l", 2))
    spec = {
        "paramKind": {"apiVersion": "x.example.com/v1", "kind": "Limit"},
        "validations": [
            {
                "expression": "object.spec.replicas <= params.max",
                "messageExpression": "'at most ' + string(params.max)",
            }
        ],
    }
    reference = {"paramRef": {"name": "l", "parameterNotFoundAction": "Deny"}}
    await policy(limits, "validating", "few", spec, rule("deployments", group="apps"), binding=reference)
    answer = await limits.post(DEPLOYMENTS, deployment("d", 3))
    assert answer.status == 422 and answer.message.endswith("denied request: at most 2")
    assert (await limits.post(DEPLOYMENTS, deployment("d", 2))).status == 201
    await limits.ok("DELETE", f"{LIMITS}/l")
    answer = await limits.post(DEPLOYMENTS, deployment("e", 1))
    assert answer.status == 422 and "no params found for policy binding" in answer.message


async def test_as_what_is_judged(limits):
    few = {"validations": [{"expression": "object.max < 10"}]}
    await policy(limits, "validating", "few", few, rule("limits", group="x.example.com"))
    assert (await limits.post(LIMITS, limit("a", 20))).status == 422
    stay = {
        "matchConditions": [{"name": "deleted", "expression": "request.operation == 'DELETE'"}],
        "validations": [
            {"expression": "namespaceObject.metadata.name != 'default' || oldObject.metadata.name != 'kept'"}
        ],
    }
    await policy(limits, "validating", "stay", stay, rule("limits", group="x.example.com"))
    assert (await limits.post(LIMITS, limit("kept", 1))).status == 201
    assert (await limits.delete(f"{LIMITS}/kept")).status == 422


async def test_as_what_is_changed(limits):
    applied = "Object{note: 'limit of ' + string(object.max), metadata: Object.metadata{labels: {'a': 'b'}}}"
    patched = "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), value: 'z'}]"
    mutations = [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": applied}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression": patched}},
    ]
    spec = {"reinvocationPolicy": "Never", "mutations": mutations}
    await policy(limits, "mutating", "noted", spec, rule("limits", group="x.example.com", operations=("CREATE",)))
    made = await limits.ok("POST", LIMITS, limit("a", 5))
    assert made["note"] == "limit of 5" and made["metadata"]["labels"] == {"a": "b", "x/y": "z"}


async def test_quota_counts_them(limits):
    hard = {"count/limits.x.example.com": "1"}
    await limits.ok(
        "POST", "/api/v1/namespaces/default/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}}
    )
    await limits.ok("POST", LIMITS, limit("a", 1))
    answer = await limits.post(LIMITS, limit("b", 1))
    assert answer.message == (
        'limits.x.example.com "b" is forbidden: exceeded quota: q, requested: count/limits.x.example.com=1, '
        "used: count/limits.x.example.com=1, limited: count/limits.x.example.com=1"
    )
