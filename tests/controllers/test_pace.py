"""Pods that become ready one after another are told together; nothing else waits."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items, make_ready
from tests.controllers.test_daemon_set import daemon_set
from tests.controllers.test_endpoint_slice import pod, service
from tests.controllers.test_replica_set import replica_set
from tests.waiting import until

from shirube.api.gvr import DAEMONSETS, ENDPOINTSLICES, NODES, PODDISRUPTIONBUDGETS, PODS, REPLICASETS, SERVICES
from shirube.client.rest import Client
from shirube.controllers import pace as pacing
from shirube.controllers.daemon_set import DaemonSetController
from shirube.controllers.daemon_set_plan import node_of
from shirube.controllers.disruption import DisruptionController
from shirube.controllers.endpoint_slice import EndpointSliceController
from shirube.controllers.endpoints import EndpointsController
from shirube.controllers.pace import Pace
from shirube.controllers.replica_set import ReplicaSetController

ALL = (ReplicaSetController, EndpointsController, EndpointSliceController, DisruptionController)


class _Clock:
    time = 100.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def test_good_news_waits_only_after_other_good_news(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pacing, "_MANY", 4)
    clock = _Clock()
    pace = Pace(clock, 0.5)
    pace.done("a")  # pods that are not ready yet
    assert pace.left("a") == 0
    pace.done("a")
    clock.time += 0.125
    assert pace.left("a") == 0.375
    assert pace.left("b") == 0
    clock.time += 1
    assert pace.left("a") == 0


def test_what_is_over_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pacing, "_MANY", 2)
    clock = _Clock()
    pace = Pace(clock, 0.5)
    for key in ("a", "b", "c"):
        pace.left(key)
        pace.done(key)
        clock.time += 0.25
    assert len(pace._next) == 2
    for key in "defg":
        assert pace.left(key) == 0
    assert len(pace._untold) <= 2


async def test_many_that_become_ready_are_few_writes(
    house: House, client: Client, api: MemoryApi, monkeypatch: pytest.MonkeyPatch
):
    budget = {"metadata": {"name": "b", "namespace": "default"}, "spec": {"minAvailable": 1}}
    budget["spec"]["selector"] = {"matchLabels": {"app": "rs"}}
    await client.create(NODES, {"metadata": {"name": "n1"}})
    await client.create(SERVICES, service(selector={"app": "rs"}, ports=[{"port": 80}]))
    await client.create(PODDISRUPTIONBUDGETS, budget)
    await client.create(REPLICASETS, replica_set(20))

    async def all_ready() -> bool:
        (owner,), (guard,) = await items(client, REPLICASETS), await items(client, PODDISRUPTIONBUDGETS)
        ready = [owner["status"].get("readyReplicas"), guard["status"]["currentHealthy"]]
        return [*ready, await _serving(client)] == [20] * 3

    async with house.running(*ALL) as controllers:
        await until(lambda: _count(client, 20))
        await house.settle(controllers)
        before = len(api.writes())
        *most, last = await items(client, PODS)
        monkeypatch.setattr(Pace, "left", lambda *_: 3600.0)
        for n, one in enumerate(most, 1):
            await make_ready(client, one, ip=f"10.0.0.{n}")
        await house.settle(controllers)
        assert _told(api, before) == []
        monkeypatch.setattr(Pace, "left", lambda *_: 0.0)
        await make_ready(client, last, ip="10.0.0.20")
        await until(all_ready)
        await house.settle(controllers)
    assert len(_told(api, before)) == len(ALL)


def _told(api: MemoryApi, before: int) -> list[str]:
    return [path for _, path in api.writes()[before:] if "/pods/" not in path and "/events" not in path]


async def test_daemons_on_many_nodes_are_few_writes(
    house: House, client: Client, api: MemoryApi, monkeypatch: pytest.MonkeyPatch
):
    for n in range(10):
        await client.create(NODES, {"metadata": {"name": f"n{n}"}, "spec": {}})
    await client.create(DAEMONSETS, daemon_set())
    async with house.running(DaemonSetController) as controllers:
        await until(lambda: _count(client, 10))
        await house.settle(controllers)
        before = len(api.writes())
        *most, last = await items(client, PODS)
        monkeypatch.setattr(Pace, "left", lambda *_: 3600.0)
        for one in most:
            await make_ready(client, one, node=node_of(one))
        await house.settle(controllers)
        assert _told(api, before) == [], "neither that they are bound nor that they are ready"
        monkeypatch.setattr(Pace, "left", lambda *_: 0.0)
        await make_ready(client, last, node=node_of(last))
        await until(lambda: _status_says(client, numberReady=10))
        await house.settle(controllers)
        assert len(_told(api, before)) == 1
        unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        await client.patch(PODS, last["metadata"]["name"], unready, "default", subresource="status")
        await until(lambda: _status_says(client, numberReady=9))


async def _status_says(client: Client, **wanted: int) -> bool:
    (found,) = await items(client, DAEMONSETS)
    return all(found["status"].get(name) == value for name, value in wanted.items())


async def _count(client: Client, wanted: int) -> bool:
    return len(await items(client, PODS)) == wanted


async def test_bad_news_does_not_wait(house: House, client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Pace, "left", lambda *_: 3600.0)
    await client.create(NODES, {"metadata": {"name": "n1"}})
    await client.create(SERVICES, service())
    for n in (1, 2):
        await client.create(PODS, {**pod(n), "spec": {**pod(n)["spec"], "nodeName": ""}})
        await make_ready(client, pod(n), ip=f"10.0.0.{n}")
    async with house.running(EndpointSliceController) as controllers:
        await until(lambda: _serves(client, 2))
        await house.settle(controllers)
        unready: dict[str, Any] = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        await client.patch(PODS, "p1", unready, "default", subresource="status")
        await until(lambda: _serves(client, 1))
        await client.delete(PODS, "p2", "default", grace_period_seconds=0)
        await until(lambda: _serves(client, 0))


async def _serving(client: Client) -> int:
    endpoints = [e for s in await items(client, ENDPOINTSLICES) for e in s["endpoints"]]
    return len([e for e in endpoints if e["conditions"]["serving"]])


async def _serves(client: Client, wanted: int) -> bool:
    return await _serving(client) == wanted
