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
