"""Pods on a real containerd: start, serve, crash, restart, end."""

from __future__ import annotations

import pytest
from node import pod, running_node, shell

pytestmark = pytest.mark.cluster


@pytest.fixture
async def node(containerd):
    async with running_node(containerd) as node:
        yield node


async def test_a_pod_runs_and_is_ready(node):
    name = node.run(pod("hello", shell("echo hello; sleep 1000")))
    status = await node.ready(name)
    assert status["phase"] == "Running"
    assert status["podIP"].startswith("10.244.9.")
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status["qosClass"] == "BestEffort"
    container = status["containerStatuses"][0]
    assert container["ready"] and container["started"] and container["restartCount"] == 0
    assert container["containerID"].startswith("containerd://")
    assert "startedAt" in container["state"]["running"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"), "True"
    )
    assert await node.log_with(name, "hello") == "hello\n"
    await node.until(lambda: {"Pulled", "Created", "Started"} <= {e["reason"] for e in node.api.events()})


async def test_deletion_ends_the_pod_and_leaves_nothing(node):
    name = node.run(pod("leaving", shell("trap 'exit 0' TERM; sleep 1000 & wait")))
    await node.ready(name)
    uid = node.api.pod(name)["metadata"]["uid"]
    await node.remove(name, grace=30)
    assert not node.agent.paths.pod(uid).exists()
    assert not node.agent.services.cgroups.pod_uids()
    assert (await node.agent.services.state.observe(uid)).sandboxes == ()
