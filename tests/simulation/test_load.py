"""Load that comes and goes moves Deployments, as its metrics make the autoscaler move them; all laws hold meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from shirube.api.errors import ApiError
from shirube.api.gvr import DEPLOYMENTS, HORIZONTALPODAUTOSCALERS
from shirube.simulation import world
from shirube.simulation.cluster import Cluster, Setup, simulated
from shirube.simulation.laws import Laws
from shirube.simulation.load import Load
from shirube.simulation.virtual_time import VirtualClock, run
from shirube.storage.memory import MemoryStorage

METRICS = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"


async def _size(cluster: Cluster) -> tuple[int, int]:
    deployment = await cluster.get(DEPLOYMENTS, "web", "default")
    assert deployment is not None
    return deployment["spec"]["replicas"], deployment["status"].get("readyReplicas", 0)


def test_a_deployment_follows_its_load_within_its_bounds():
    laws = Laws()
    sizes = []

    async def main(clock: VirtualClock) -> None:
        async with simulated(Setup(seed=1), clock, MemoryStorage(laws)) as cluster:
            await cluster.start_controllers()
            await cluster.start_scheduler()
            await cluster.nodes.add("node-0")
            await asyncio.sleep(2)
            await cluster.admin.create(DEPLOYMENTS, world.deployment("web", 2, cpu="100m"), "default")
            await cluster.admin.create(HORIZONTALPODAUTOSCALERS, world.autoscaler("web", 1, 6), "default")
            for cores, seconds in ((0.1, 60), (0.2, 120), (9.0, 180), (0.09, 600)):
                cluster.load.put("default", "web", cores)
                await asyncio.sleep(seconds)
                sizes.append(await _size(cluster))
            found = await cluster.get(HORIZONTALPODAUTOSCALERS, "web", "default")
            assert found is not None
            assert found["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"] == 45
            with pytest.raises(ApiError, match="cannot list resource"):
                await cluster.client("nobody").raw("GET", METRICS)
            cluster.check_alive()

    run(main)
    assert sizes == [(2, 2), (4, 4), (6, 6), (2, 2)]
    assert laws.violations == []


def test_ready_pods_share_the_work_of_their_application():
    def pod(app: str, ready: bool = True, **metadata: str) -> dict:
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        return {"metadata": {"labels": {"app": app}, **metadata}, "status": {"conditions": conditions}}

    load = Load()
    load.put("ns", "a", 3.0)
    pods = [pod("a"), pod("a"), pod("b"), pod("a", ready=False), pod("a", deletionTimestamp="2026-01-01T00:00:00Z")]
    assert [cores for _, cores in load.shares("ns", pods)] == [1.5, 1.5, 0.0]
    assert [cores for _, cores in load.shares("other", pods)] == [0.0, 0.0, 0.0]
