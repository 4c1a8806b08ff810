"""The scale and status subresources as webhooks and policies see them: scale is a kind of its own."""

from __future__ import annotations

from tests.apiserver.policies.conftest import DEPLOYMENTS, deployment, policy, rule

from .conftest import patched, register, webhook

SCALE = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
DEPLOYMENT = {"group": "apps", "version": "v1", "kind": "Deployment"}
RESOURCE = {"group": "apps", "version": "v1", "resource": "deployments"}


def rules(*resources: str) -> list[dict]:
    return [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": list(resources), "operations": ["*"]}]


async def test_what_a_webhook_is_told(api, hook):
    await api.ok("POST", DEPLOYMENTS, deployment("d", 1))
    wanted = rules("deployments/scale", "deployments/status")
    await register(api, "validating", "v", webhook("a.example.com", hook.config(), rules=wanted))
    assert (await api.patch(f"{DEPLOYMENTS}/d/scale?fieldManager=me", {"spec": {"replicas": 3}})).status == 200
    asked = hook.requests.pop()
    assert asked["kind"] == asked["requestKind"] == SCALE and asked["resource"] == asked["requestResource"] == RESOURCE
    assert asked["subResource"] == asked["requestSubResource"] == "scale"
    assert asked["object"]["spec"] == {"replicas": 3} and asked["oldObject"]["spec"] == {"replicas": 1}
    assert asked["object"]["kind"] == "Scale" and asked["object"]["status"]["selector"] == "app=d"
    assert asked["options"] == {"kind": "PatchOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}
    assert (await api.patch(f"{DEPLOYMENTS}/d/status", {"status": {"replicas": 2}})).status == 200
    asked = hook.requests.pop()
    assert asked["kind"] == DEPLOYMENT and asked["subResource"] == "status"
    assert asked["object"]["status"] == {"replicas": 2} and "status" in asked["oldObject"]
    assert (await api.patch(f"{DEPLOYMENTS}/d", {"spec": {"replicas": 4}})).status == 200
    assert hook.requests == []


async def test_a_webhook_changes_a_scale(api, hook):
    await api.ok("POST", DEPLOYMENTS, deployment("d", 1))
    hook.answers["/"] = lambda asked: patched({"op": "replace", "path": "/spec/replicas", "value": 7})
    await register(api, "mutating", "m", webhook("a.example.com", hook.config(), rules=rules("deployments/scale")))
    scaled = await api.ok(
        "PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 3}}, content_type="application/merge-patch+json"
    )
    assert scaled["spec"] == {"replicas": 7}
    assert (await api.ok("GET", f"{DEPLOYMENTS}/d"))["spec"]["replicas"] == 7


async def test_policies_about_scales(api):
    await api.ok("POST", DEPLOYMENTS, deployment("d", 1))
    few = {"validations": [{"expression": "object.spec.replicas < 10 && request.kind.kind == 'Scale'"}]}
    await policy(api, "validating", "few", few, rule("deployments/scale", group="apps"))
    even = "Object{spec: Object.spec{replicas: object.spec.replicas / 2 * 2}}"
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": even}}
    spec = {"reinvocationPolicy": "Never", "mutations": [mutation]}
    await policy(api, "mutating", "even", spec, rule("deployments/scale", group="apps"))
    path = f"{DEPLOYMENTS}/d/scale"
    assert (await api.patch(path, {"spec": {"replicas": 20}})).status == 422
    assert (await api.patch(path, {"spec": {"replicas": 5}})).json["spec"] == {"replicas": 4}
