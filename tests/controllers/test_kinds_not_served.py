"""All controllers where the API server was told not to serve some kinds: they go on without them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.controllers.conftest import gone, items, kubelet
from tests.controllers.live import live
from tests.controllers.test_deployment import deployment
from tests.waiting import until

from shirube.api.gvr import (
    CONFIGMAPS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    SERVICEACCOUNTS,
    SERVICES,
)
from shirube.api.resources import BUILTIN
from shirube.cluster.api_config import NEEDED

# All that a cluster can be without, but for Deployments, which the tests look at.
OFF = sorted({r.group_version for r in BUILTIN} - {*NEEDED, "apps/v1"})


async def test_the_others_work(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    options = ",".join(f"{group_version}=false" for group_version in OFF)
    caplog.set_level("INFO", "shirube")
    async with (
        live(tmp_path, runtime_config=options) as house,
        house.controllers() as controllers,
        kubelet(house.admin, ends=True),
    ):
        admin = house.admin
        await until(lambda: all(i.synced for c in controllers for i in c.informers), 30, "everybody at work")
        await admin.create(NODES, {"metadata": {"name": "n1"}})
        await admin.create(NAMESPACES, {"metadata": {"name": "team"}})

        await until(lambda: items(admin, SERVICEACCOUNTS, "team"), 30, "its service account")
        web = deployment(replicas=2)
        web["metadata"]["namespace"] = "team"
        web["spec"]["template"]["spec"]["containers"] = [{"name": "c", "image": "i"}]
        await admin.create(DEPLOYMENTS, web, "team")

        async def rolled_out() -> bool:
            return (await admin.get(DEPLOYMENTS, "web", "team")).get("status", {}).get("readyReplicas") == 2

        await until(rolled_out, 30, "the rollout")
        service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        await admin.create(SERVICES, service, "team")

        async def served() -> bool:
            return sum(len(piece.get("endpoints") or ()) for piece in await items(admin, ENDPOINTSLICES, "team")) == 2

        await until(served, 30, "endpoints")
        await admin.delete(NAMESPACES, "team")
        await gone(admin, NAMESPACES, "team")
    assert not [record.message for record in caplog.records if record.levelname == "ERROR"]
    absent = [r.message for r in caplog.records if "not served" in r.message or "could not find" in r.message]
    assert absent and len(absent) == len(set(absent)), "each kind is told of once"


async def test_owners_that_nobody_serves_are_not_gone(tmp_path: Path):
    """The garbage collector deletes what belongs to a ReplicaSet only when it knows that there is none."""
    async with live(tmp_path) as house:
        made = await house.admin.create(REPLICASETS, replica_set(), "default")
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": made["metadata"]["uid"]}
        body = {"metadata": {"name": "kept", "ownerReferences": [{**owner, "controller": True}]}}
        await house.admin.create(CONFIGMAPS, body, "default")
    collector = "garbage-collector-controller"
    async with live(tmp_path, runtime_config="apps/v1/replicasets=false") as house, house.controllers(only=collector):
        absent = {**owner, "kind": "ConfigMap", "apiVersion": "v1", "name": "x", "uid": "0"}
        orphan = {"metadata": {"name": "orphan", "ownerReferences": [absent]}}
        await house.admin.create(CONFIGMAPS, orphan, "default")

        async def collected() -> bool:
            names = [c["metadata"]["name"] for c in await items(house.admin, CONFIGMAPS)]
            assert "kept" in names
            return "orphan" not in names

        await until(collected, 30, "the orphan collected")
    async with live(tmp_path) as house:
        assert (await house.admin.get(REPLICASETS, "rs", "default"))["metadata"]["uid"] == owner["uid"]
        assert await items(house.admin, PODS) == []


def replica_set() -> dict:
    labels = {"a": "b"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": "rs"}, "spec": spec}
