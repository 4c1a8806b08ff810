"""Each controller dies after each of its writes, one after the other; its successor comes to the same result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.controllers.conftest import kubelet
from tests.controllers.live import Live, live
from tests.controllers.test_daemon_set import daemon_set
from tests.controllers.test_deployment import deployment
from tests.controllers.test_stateful_set import stateful_set
from tests.controllers.test_volumes import claim, plain, volume
from tests.waiting import until

from shirube.api.gvr import (
    CONTROLLERREVISIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    GVR,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    REPLICASETS,
    STATEFULSETS,
)
from shirube.client.rest import Client

CRASHES = range(1, 12)


class Case(NamedTuple):
    controllers: str
    start: Callable[[Client], Awaitable[Any]]
    done: Callable[[Client], Awaitable[Any]]


async def _status(client: Client, gvr: GVR, name: str) -> dict[str, Any]:
    return (await client.get(gvr, name, "default")).get("status") or {}


async def _names(client: Client, gvr: GVR) -> list[str]:
    return [o["metadata"]["name"] for o in (await client.list(gvr, "default"))["items"]]


def _new_template(obj: dict[str, Any]) -> dict[str, Any]:
    labels = obj["spec"]["template"]["metadata"]["labels"]
    return {"spec": {"template": {"metadata": {"labels": {**labels, "version": "2"}}}}}


async def _updated(client: Client, gvr: GVR, obj: dict[str, Any]) -> None:
    await client.create(gvr, obj, "default")
    await client.patch(gvr, obj["metadata"]["name"], _new_template(obj), "default")


async def start_stateful_set(client: Client) -> None:
    owner = stateful_set(2)
    del owner["metadata"]["uid"], owner["metadata"]["generation"]
    await _updated(client, STATEFULSETS, owner)


async def stateful_set_done(client: Client) -> bool:
    status = await _status(client, STATEFULSETS, "db")
    revisions = len(await _names(client, CONTROLLERREVISIONS))
    complete = status.get("updatedReplicas") == status.get("availableReplicas") == 2
    return complete and status["currentRevision"] == status["updateRevision"] and revisions in (1, 2)


async def start_daemon_set(client: Client) -> None:
    await _updated(client, DAEMONSETS, daemon_set())


async def daemon_set_done(client: Client) -> bool:
    status = await _status(client, DAEMONSETS, "agent")
    pods = [n for n in await _names(client, PODS) if n.startswith("agent-")]
    return status.get("updatedNumberScheduled") == status.get("numberAvailable") == len(pods) == 2


async def start_deployment(client: Client) -> None:
    owner = deployment(replicas=3)
    owner["spec"]["template"]["spec"]["containers"] = [{"name": "c", "image": "x"}]
    await _updated(client, DEPLOYMENTS, owner)


async def deployment_done(client: Client) -> bool:
    status = await _status(client, DEPLOYMENTS, "web")
    pods = [n for n in await _names(client, PODS) if n.startswith("web-")]
    sets = await _names(client, REPLICASETS)
    complete = status.get("updatedReplicas") == status.get("availableReplicas") == status.get("replicas") == 3
    return complete and len(pods) == 3 and len(sets) in (1, 2)


async def start_binding(client: Client) -> None:
    for name in ("pv1", "pv2"):
        await client.create(PERSISTENTVOLUMES, volume(name))
    for name in ("c1", "c2"):
        await client.create(PERSISTENTVOLUMECLAIMS, plain(claim(name, storageClassName="")))


async def binding_done(client: Client) -> bool:
    claims = (await client.list(PERSISTENTVOLUMECLAIMS, "default"))["items"]
    volumes = (await client.list(PERSISTENTVOLUMES))["items"]
    bound = {c["spec"].get("volumeName") for c in claims if (c.get("status") or {}).get("phase") == "Bound"}
    return bound == {"pv1", "pv2"} and all(v["status"]["phase"] == "Bound" for v in volumes)


CASES = {
    "StatefulSet": Case("statefulset-controller", start_stateful_set, stateful_set_done),
    "DaemonSet": Case("daemonset-controller", start_daemon_set, daemon_set_done),
    "Deployment": Case("deployment-controller,replicaset-controller", start_deployment, deployment_done),
    "PersistentVolume": Case("persistentvolume-binder-controller", start_binding, binding_done),
}


async def _once(house: Live, case: Case, writes: int) -> None:
    admin = house.admin
    for name in ("n1", "n2"):
        await admin.create(NODES, {"metadata": {"name": name}})
        await admin.patch(NODES, name, {"spec": {"taints": None}})
    async with kubelet(admin, ends=True):
        house.tokens.writes_left, house.tokens.dead = writes, asyncio.Event()
        async with house.controllers(only=case.controllers):
            await case.start(admin)

            async def stopped() -> bool:
                return house.tokens.dead.is_set() or bool(await case.done(admin))

            await until(stopped, 10)
        house.tokens.writes_left = None
        async with house.controllers(only=case.controllers):
            await until(lambda: case.done(admin), 10, f"the end, after a crash at write {writes}")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_crash_after_any_write_changes_nothing_of_the_result(case: Case, tmp_path: Path):
    for writes in CRASHES:
        directory = tmp_path / str(writes)
        directory.mkdir()
        async with live(directory) as house:
            await _once(house, case, writes)
