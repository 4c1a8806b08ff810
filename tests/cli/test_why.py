"""`shirube why` as different users of the real API server: nobody learns what RBAC would not show them."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from tests.controllers.live import live

from shirube.api import gvr
from shirube.api.errors import ApiError
from shirube.cli.commands import why
from shirube.client.rest import Client
from shirube.scheduler.decide import Profile

PROFILES = {"default-scheduler": Profile.default()}
CONFIG = Path("kubeconfig")


@pytest.fixture
async def house(tmp_path):
    async with live(tmp_path) as made:
        admin = made.admin
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await admin.create(gvr.SERVICEACCOUNTS, account, "default")
        capacity = {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}}
        await admin.create(gvr.NODES, {"metadata": {"name": "a"}, "status": capacity})
        await admin.patch(gvr.NODES, "a", {"spec": {"taints": []}})
        container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "3"}}}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "big"}, "spec": {"containers": [container]}}
        await admin.create(gvr.PODS, body, "default")
        yield made


def asking_as(monkeypatch, house, user, *groups):
    monkeypatch.setattr(Client, "from_kubeconfig", lambda *_: house.client(user, *groups))


async def allow(house, user, *resources):
    rules = [{"apiGroups": [""], "resources": list(resources), "verbs": ["get", "list"]}]
    metadata = {"name": f"for-{user}"}
    await house.admin.create(gvr.CLUSTERROLES, {"kind": "ClusterRole", "metadata": metadata, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": metadata["name"]}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]
    binding = {"kind": "ClusterRoleBinding", "metadata": metadata, "roleRef": role, "subjects": subjects}
    await house.admin.create(gvr.CLUSTERROLEBINDINGS, binding)


async def test_an_administrator_sees_everything(house, monkeypatch):
    asking_as(monkeypatch, house, "admin", "system:masters")
    found = await why._ask(CONFIG, "default", "big", PROFILES)
    assert found["state"] == "waiting"
    assert "unread" not in found
    assert "lower its requests of cpu from 3 to 2" in [c["change"] for c in found["changes"]]
    assert orjson.loads(orjson.dumps(found)) == found


async def test_a_user_is_answered_from_what_he_may_read(house, monkeypatch):
    await allow(house, "jane", "pods", "nodes")
    asking_as(monkeypatch, house, "jane")
    found = await why._ask(CONFIG, "default", "big", PROFILES)
    assert found["verdicts"][0]["reasons"] == ["Insufficient cpu"]
    assert "resourceclaims" in found["unread"]
    assert "answered without namespaces" in "\n".join(why.lines(found))


@pytest.mark.parametrize("resources", [(), ("pods",)])
async def test_who_may_not_see_the_pod_or_any_node_is_refused(house, monkeypatch, resources):
    if resources:
        await allow(house, "joe", *resources)
    asking_as(monkeypatch, house, "joe")
    with pytest.raises(ApiError) as refused:
        await why._ask(CONFIG, "default", "big", PROFILES)
    assert refused.value.code == 403


def test_a_configuration_that_cannot_be_used_is_said(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("kind: Other")
    done = CliRunner().invoke(why.command, ["pod/x", "--scheduler-config", str(path)])
    assert done.exit_code == 1
    assert "cannot use scheduler configuration" in done.output
