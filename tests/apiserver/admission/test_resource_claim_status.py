"""Who may write which part of a ResourceClaim's status."""

from __future__ import annotations

import pytest

from shirube.apiserver.user import User

CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
DRIVER = "system:serviceaccount:kube-system:driver"
NODE_NAME = "authentication.kubernetes.io/node-name"


def allocation(*nodes):
    fields = [{"key": "metadata.name", "operator": "In", "values": list(nodes)}]
    results = [{"request": "r", "driver": "d.example.com", "pool": "p", "device": "x"}]
    return {"devices": {"results": results}, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": fields}]}}


def device(driver="d.example.com", ready="True"):
    condition = {"type": "Ready", "status": ready, "reason": "x", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {"driver": driver, "pool": "p", "device": "x", "conditions": [{**condition, "message": ""}]}


async def allow(api, user, subresource, *verbs, names=()):
    """Next to the right to write the status at all."""
    rules = [{"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims/status"], "verbs": ["*"]}]
    part = {"apiGroups": ["resource.k8s.io"], "resources": [f"resourceclaims/{subresource}"], "verbs": list(verbs)}
    if names:
        part["resourceNames"] = list(names)
    await api.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "r"}, "rules": [*rules, part]})
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
    await api.ok(
        "POST", f"{RBAC}/clusterrolebindings", {"metadata": {"name": "r"}, "roleRef": ref, "subjects": [subject]}
    )


def become(api, name, node=""):
    extra = {NODE_NAME: (node,)} if node else {}
    api.context.authenticator.user = User(name, groups=("system:authenticated",), extra=extra)


@pytest.fixture
async def claims(api):
    """A claim that is allocated to n1."""
    request = {"name": "r", "exactly": {"deviceClassName": "c"}}
    await api.ok("POST", CLAIMS, {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}})
    await write(api, {"allocation": allocation("n1")})
    return api


async def write(api, status):
    answer = await api.patch(f"{CLAIMS}/c/status", {"status": status})
    assert answer.status == 200, answer.raw


async def refused(api, status):
    answer = await api.patch(f"{CLAIMS}/c/status", {"status": status})
    return answer.message if answer.status == 422 else answer.status


RESERVED = [{"resource": "pods", "name": "p", "uid": "u"}]


@pytest.mark.parametrize(("verbs", "allowed"), [(("patch",), True), (("update",), False)])
async def test_binding(claims, verbs, allowed):
    await allow(claims, "scheduler", "binding", *verbs)
    become(claims, "scheduler")
    if allowed:
        await write(claims, {"reservedFor": RESERVED})
        return
    message = await refused(claims, {"reservedFor": RESERVED})
    assert 'changing status.allocation or status.reservedFor requires resource="resourceclaims/binding"' in message
    assert 'User "scheduler" cannot patch resource "resourceclaims/binding"' in message


async def test_a_binder_writes_no_devices_and_a_driver_binds_nothing(claims):
    await allow(claims, "scheduler", "binding", "patch")
    become(claims, "scheduler")
    assert "changing status.devices requires" in await refused(claims, {"devices": [device()]})
    become(claims, "nobody")
    assert await refused(claims, {"devices": [device()]}) == 403


async def test_drivers_write_the_devices_of_their_node(claims):
    await allow(claims, DRIVER, "driver", "associated-node:patch", names=["d.example.com"])
    become(claims, DRIVER, "n1")
    await write(claims, {"devices": [device()]})
    await write(claims, {"devices": [device(ready="False")]})
    become(claims, DRIVER, "n2")
    assert "arbitrary-node:patch" in await refused(claims, {"devices": [device()]})
    become(claims, DRIVER)
    assert "arbitrary-node:patch" in await refused(claims, {"devices": [device()]})
    assert "status.allocation" in await refused(claims, {"reservedFor": RESERVED})


async def test_other_drivers_devices_are_not_theirs(claims):
    await allow(claims, DRIVER, "driver", "associated-node:patch", names=["other.example.com"])
    become(claims, DRIVER, "n1")
    assert 'name="d.example.com"' in await refused(claims, {"devices": [device()]})


async def test_controllers_of_many_nodes(claims):
    await allow(claims, "controller", "driver", "arbitrary-node:patch")
    become(claims, "controller")
    await write(claims, {"devices": [device()]})
