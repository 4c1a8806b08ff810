"""A container that forks without end or floods its log hurts nobody else on the node."""

from __future__ import annotations

from pathlib import Path

import pytest
from node import pod, running_node, shell

from shirube.kubelet.log_rotation import LogRotation

pytestmark = pytest.mark.cluster

PIDS = 64
FLOOD = 256 * 2**20


@pytest.fixture
async def node(containerd):
    async with running_node(containerd, pod_pids_limit=PIDS) as node:
        yield node


async def test_forking_without_end_stops_at_the_pods_limit(node):
    bomb = "while :; do sleep 1000 & done 2>/dev/null; sleep 1000"
    name = node.run(pod("bomb", shell(f"({bomb}) & ({bomb}) & wait; sleep 1000")))
    await node.until(lambda: node.status(name).get("phase") == "Running")
    made = node.api.pod(name)
    group = node.agent.services.cgroups._directory("pids", node.agent.services.cgroups.pod_path(made))
    assert (group / "pids.max").read_text().strip() == str(PIDS)
    await node.until(lambda: int((group / "pids.current").read_text()) >= PIDS - 2)
    neighbour = node.run(pod("neighbour", shell("echo here; sleep 1000")))
    await node.ready(neighbour)
    await node.log_with(neighbour, "here")
    assert PIDS // 2 <= int((group / "pids.current").read_text()) <= PIDS
    await node.remove(name, grace=0)
    assert not group.exists()


async def test_a_flood_of_log_is_cut_and_the_neighbour_goes_on(node):
    line = "x" * 8000
    writer = node.run(pod("flood", shell(f"yes {line} | head -c {FLOOD}; echo; echo done; sleep 1000")))
    neighbour = node.run(pod("neighbour", shell("i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done")))
    await node.ready(neighbour)
    agent = node.agent
    rotation = LogRotation(agent.runtime, agent.clock, agent.pods.running_containers)
    before = len((await node.log(neighbour)).splitlines())
    record = await node.until(lambda: agent.pods.container("default", writer, "c0"))
    log = Path(record.log_path)
    await node.until(lambda: b"done" in log.read_bytes()[-200:], 60)
    assert len((await node.log(neighbour)).splitlines()) > before
    await rotation.rotate_all()
    assert log.stat().st_size < 10 * 2**20
    await rotation.rotate_all()
    assert sum(path.stat().st_size for path in log.parent.iterdir()) < FLOOD * 1.1
    assert (await node.ready(neighbour))["containerStatuses"][0]["restartCount"] == 0
