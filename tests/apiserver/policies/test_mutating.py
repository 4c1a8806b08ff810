"""MutatingAdmissionPolicy: what it makes of objects."""

from __future__ import annotations

import pytest

from .conftest import CONFIGMAPS, DEPLOYMENTS, GROUP, configmap, deployment, policy, rule


@pytest.mark.conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment [Conformance]"
)
async def test_apply_configurations_merge_into_the_object(api):
    text = """Object{
        metadata: Object.metadata{labels: {"team": "a"}},
        spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
            containers: [Object.spec.template.spec.containers.item{name: "a", workingDir: "/w"}]
        }}}
    }"""
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}
    spec = {"mutations": [mutation], "reinvocationPolicy": "Never"}
    await policy(api, "mutating", "m", spec, rule("deployments", group="apps", operations=("CREATE",)))
    made = await api.ok("POST", DEPLOYMENTS, deployment("d", 1))
    assert made["metadata"]["labels"] == {"team": "a"}
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "b" and container["workingDir"] == "/w"


async def test_json_patches_and_reinvocation(api):
    def patching(text):
        return {"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": text}}]}

    last = """[JSONPatch{op: "add", path: "/data/" + jsonpatch.escapeKey("a.b"), value: "1"}]"""
    seen = """[JSONPatch{op: "add", path: "/data/seen", value: string(object.data.size())}]"""
    await policy(api, "mutating", "a", patching(seen) | {"reinvocationPolicy": "IfNeeded"})
    await policy(api, "mutating", "b", patching(last) | {"reinvocationPolicy": "Never"})
    made = await api.ok("POST", CONFIGMAPS, configmap("c", x="1"))
    assert made["data"] == {"x": "1", "a.b": "1", "seen": "3"}


async def test_failures_refuse_and_names_stay(api):
    text = 'Object{metadata: Object.metadata{name: "other"}}'
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}
    await policy(api, "mutating", "m", {"mutations": [mutation], "reinvocationPolicy": "Never"})
    answer = await api.post(CONFIGMAPS, configmap("c"))
    assert answer.status == 422
    assert "MutatingAdmissionPolicy 'm' with binding 'm' denied request" in answer.message
    await api.ok("DELETE", f"{GROUP}/mutatingadmissionpolicybindings/m")
    assert (await api.post(CONFIGMAPS, configmap("c"))).status == 201


POD = "Object.spec.template.spec"
CONTAINER = f"Object{{spec: Object.spec{{template: Object.spec.template{{spec: {POD}{{containers: [%s]}}}}}}}}"


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("Object{spec: Object.spec{nope: 1}}", "invalid ApplyConfiguration: .spec.nope: field not declared in schema"),
        ("Object{spec: 5}", "invalid ApplyConfiguration: .spec: expected map, got "),
        ("Object{spec: Object.spec{replicas: 'x'}}", "cannot unmarshal string into Go struct field"),
        ("[1]", "must return an Object"),
        ("Object{metadata: Object.metadata{name: 'x'}}", "may not set metadata.name"),
        (
            CONTAINER % f"{POD}.containers{{name: 'a', args: ['x']}}",
            'may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[name="a"].args',
        ),
        (
            "Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'x': 'y'}}}}",
            "structs: .spec.selector",
        ),
    ],
)
async def test_configurations_that_cannot_be_applied(api, expression, why):
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}
    spec = {"reinvocationPolicy": "Never", "mutations": [mutation]}
    await policy(api, "mutating", "bad", spec, rule("deployments", group="apps"))
    answer = await api.post(DEPLOYMENTS, deployment("d", 1))
    assert answer.status == 422 and why in answer.message
    ignore = {"spec": {"failurePolicy": "Ignore"}}
    await api.ok("PATCH", f"{GROUP}/mutatingadmissionpolicies/bad", ignore, content_type="application/merge-patch+json")
    assert (await api.post(DEPLOYMENTS, deployment("d", 1))).status == 201


async def test_lists_by_key_are_merged(api):
    added = f"{POD}.containers{{name: 'a', env: [{POD}.containers.env{{name: 'A', value: 'B'}}]}}"
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": CONTAINER % added}}
    spec = {"reinvocationPolicy": "Never", "mutations": [mutation]}
    await policy(api, "mutating", "env", spec, rule("deployments", group="apps"))
    made = await api.ok("POST", DEPLOYMENTS, deployment("d", 1))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "b" and container["env"] == [{"name": "A", "value": "B"}]
