"""What the conformance suite asks of StatefulSets, on the real API server with pods that run at once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.controllers.conftest import items, kubelet
from tests.controllers.live import Live, live
from tests.controllers.test_restart import quiet
from tests.controllers.test_stateful_set import stateful_set
from tests.waiting import until

from shirube.api.gvr import CONTROLLERREVISIONS, PODS, STATEFULSETS
from shirube.client.rest import Client
from shirube.foundation.tasks import cancel, spawn

PREFIX = "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] "


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house:
        yield house


def fresh(replicas: int = 3, **spec: Any) -> dict[str, Any]:
    one = stateful_set(replicas, **spec)
    del one["metadata"]["uid"], one["metadata"]["generation"]
    return one


async def status(client: Client, **wanted: Any) -> dict[str, Any] | None:
    found = (await client.get(STATEFULSETS, "db", "default")).get("status") or {}
    return found if all(found.get(k, 0) == v for k, v in wanted.items()) else None


async def images(client: Client) -> dict[str, str]:
    return {p["metadata"]["name"]: p["spec"]["containers"][0]["image"] for p in await items(client, PODS)}


async def set_image(client: Client, image: str, partition: int | None = None) -> None:
    template = {"spec": {"containers": [{"name": "c", "image": image}]}}
    spec: dict[str, Any] = {"template": template}
    if partition is not None:
        spec["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    await client.patch(STATEFULSETS, "db", {"spec": spec}, "default", type="strategic")


async def scale(client: Client, replicas: int) -> None:
    await client.patch(STATEFULSETS, "db", {"spec": {"replicas": replicas}}, "default")


async def set_ready(client: Client, name: str, ready: bool) -> None:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
    patch = {"status": {"conditions": [condition]}}
    await client.patch(PODS, name, patch, "default", subresource="status", type="strategic")


@contextlib.asynccontextmanager
async def witness(client: Client) -> AsyncIterator[list[str]]:
    """`+name` for each pod made, `-name` for each gone, in order."""
    seen: list[str] = []

    async def follow() -> None:
        async for event in client.watch(PODS, "default", resource_version="0"):
            if event["type"] in ("ADDED", "DELETED"):
                seen.append(("+" if event["type"] == "ADDED" else "-") + event["object"]["metadata"]["name"])

    task = spawn(follow(), name="witness")
    try:
        yield seen
    finally:
        await cancel(task)


@pytest.mark.conformance(
    PREFIX + "should perform rolling updates and roll backs of template modifications [Conformance]"
)
async def test_updates_and_rolls_back(house: Live):
    admin = house.admin
    async with house.controllers(only="statefulset-controller"), kubelet(admin, ends=True), witness(admin) as seen:
        await admin.create(STATEFULSETS, fresh())
        before = await until(lambda: status(admin, readyReplicas=3, updatedReplicas=3), 10)
        assert before["currentRevision"] == before["updateRevision"]
        await set_image(admin, "y")
        await until(lambda: _moved(admin, before), 10)
        assert set((await images(admin)).values()) == {"y"}
        await set_image(admin, "x")
        back = {"currentRevision": before["currentRevision"], "readyReplicas": 3, "updatedReplicas": 3}
        await until(lambda: status(admin, **back), 10)
        assert set((await images(admin)).values()) == {"x"}
        assert len(await items(admin, CONTROLLERREVISIONS)) == 2, "a rollback makes no revision"
        assert [s for s in seen if s[0] == "-"] == ["-db-2", "-db-1", "-db-0"] * 2


async def _moved(client: Client, before: dict[str, Any]) -> bool:
    now = await status(client, readyReplicas=3, updatedReplicas=3)
    return now is not None and now["currentRevision"] == now["updateRevision"] != before["updateRevision"]


@pytest.mark.conformance(
    PREFIX + "should perform canary updates and phased rolling updates of template modifications [Conformance]"
)
async def test_canaries_and_phases(house: Live):
    admin = house.admin
    async with house.controllers(only="statefulset-controller") as controllers, kubelet(admin, ends=True):
        await admin.create(STATEFULSETS, fresh())
        await until(lambda: status(admin, readyReplicas=3), 10)
        await set_image(admin, "y", partition=3)
        await quiet(house, controllers)
        assert set((await images(admin)).values()) == {"x"}
        await set_image(admin, "y", partition=2)
        canary = {"db-0": "x", "db-1": "x", "db-2": "y"}
        await until(lambda: _shows(admin, canary), 10)
        for name in canary:
            await admin.delete(PODS, name, "default")
        await until(lambda: status(admin, readyReplicas=3, updatedReplicas=1, currentReplicas=2), 10)
        assert await images(admin) == canary, "restored within their partition"
        await set_image(admin, "y", partition=1)
        await until(lambda: _shows(admin, {**canary, "db-1": "y"}), 10)
        await set_image(admin, "y", partition=0)
        await until(lambda: _shows(admin, dict.fromkeys(canary, "y")), 10)


async def _shows(client: Client, wanted: dict[str, str]) -> bool:
    return await images(client) == wanted and bool(await status(client, readyReplicas=3))


@pytest.mark.conformance(
    PREFIX + "Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Slow] [Conformance]"
)
async def test_scales_in_order_and_halts(house: Live):
    admin = house.admin
    only = house.controllers(only="statefulset-controller")
    async with only as controllers, kubelet(admin, ends=True), witness(admin) as seen:
        await admin.create(STATEFULSETS, fresh(1))
        await until(lambda: status(admin, readyReplicas=1), 10)
        await set_ready(admin, "db-0", False)
        await until(lambda: status(admin, readyReplicas=0), 10)
        await scale(admin, 3)
        await quiet(house, controllers)
        assert seen == ["+db-0"], "halted"
        await set_ready(admin, "db-0", True)
        await until(lambda: status(admin, readyReplicas=3), 10)
        assert seen == ["+db-0", "+db-1", "+db-2"]
        await set_ready(admin, "db-0", False)
        await until(lambda: status(admin, readyReplicas=2), 10)
        await scale(admin, 0)
        await quiet(house, controllers)
        assert len(seen) == 3, "halted"
        await set_ready(admin, "db-0", True)
        await until(lambda: status(admin, replicas=0), 10)
        assert seen[3:] == ["-db-2", "-db-1", "-db-0"]


@pytest.mark.conformance(
    PREFIX + "Burst scaling should run to completion even with unhealthy pods [Slow] [Conformance]"
)
async def test_bursts_do_not_wait(house: Live):
    admin = house.admin
    async with house.controllers(only="statefulset-controller"), kubelet(admin, ends=True):
        await admin.create(STATEFULSETS, fresh(1, podManagementPolicy="Parallel"))
        await until(lambda: status(admin, readyReplicas=1), 10)
        await set_ready(admin, "db-0", False)
        await scale(admin, 3)
        await until(lambda: status(admin, replicas=3, readyReplicas=2), 10)
        await set_ready(admin, "db-1", False)
        await scale(admin, 0)
        await until(lambda: status(admin, replicas=0), 10)


@pytest.mark.conformance(PREFIX + "Should recreate evicted statefulset [Conformance]")
async def test_failed_pods_are_made_anew(house: Live):
    admin = house.admin
    async with house.controllers(only="statefulset-controller"), kubelet(admin, ends=True):
        await admin.create(STATEFULSETS, fresh(1))
        await until(lambda: status(admin, readyReplicas=1), 10)
        (old,) = await items(admin, PODS)
        evicted = {"status": {"phase": "Failed", "reason": "Evicted"}}
        await admin.patch(PODS, "db-0", evicted, "default", subresource="status")

        async def anew() -> bool:
            found = await items(admin, PODS)
            return bool(found) and found[0]["metadata"]["uid"] != old["metadata"]["uid"]

        await until(anew, 10)
        await until(lambda: status(admin, readyReplicas=1), 10)
