"""Pods before the machine's end: in turns, in their time, and with a status that says why."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from node import NODE, pod, running_node, shell

from shirube.kubelet.node_shutdown import turns

CRITICAL = 2_000_000_000


def test_the_systems_pods_come_last_and_have_their_share():
    def worker(priority: int, ended: bool = False):
        return SimpleNamespace(pod={"metadata": {}, "spec": {"priority": priority, "containers": []}}, ended=ended)

    ordinary, system, gone = worker(0), worker(CRITICAL), worker(0, ended=True)
    first, second = turns([system, ordinary, gone], 30, 10)
    assert (first.workers, first.seconds) == ((ordinary,), 20)
    assert (second.workers, second.seconds) == ((system,), 10)
    assert turns([gone], 30, 10) == []


@pytest.mark.cluster
async def test_pods_end_in_good_order(containerd):
    async with running_node(containerd, shutdown_grace=20.0, shutdown_grace_critical=10.0) as node:
        polite = "trap 'echo bye; exit 0' TERM; while true; do sleep 0.05; done"
        for name, priority in (("plain", 0), ("system", CRITICAL)):
            node.run(pod(name, shell(polite), priority=priority, terminationGracePeriodSeconds=5))
        for name in ("plain", "system"):
            await node.ready(name)
        node.agent.shutdown.begin()
        ended = {name: await node.phase(name, "Failed") for name in ("plain", "system")}
        for name, status in ended.items():
            assert status["reason"] == "Terminated"
            assert status["message"] == "Pod was terminated in response to imminent node shutdown."
            target = next(c for c in status["conditions"] if c["type"] == "DisruptionTarget")
            assert target["reason"] == "TerminationByKubelet"
            assert await node.log(name) == "bye\n"
        finished = [s["containerStatuses"][0]["state"]["terminated"]["finishedAt"] for s in ended.values()]
        assert finished == sorted(finished)
        refused = await node.phase(node.run(pod("late", shell("true"))), "Failed")
        assert (refused["reason"], refused["message"]) == (
            "NodeShutdown",
            "Pod was rejected as the node is shutting down.",
        )

        def told() -> bool:
            conditions = node.api.objects[f"/api/v1/nodes/{NODE}"]["status"]["conditions"]
            ready = next(c for c in conditions if c["type"] == "Ready")
            return ready["status"] == "False" and "node is shutting down" in ready["message"]

        await node.until(told)
