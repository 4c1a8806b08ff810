"""In-place resize and admission, on a real containerd: what the kernel enforces is what was granted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from node import pod, running_node, shell

pytestmark = pytest.mark.cluster


@pytest.fixture
async def node(containerd):
    async with running_node(containerd) as node:
        yield node


def limited(cpu, memory):
    amounts = {"cpu": cpu, "memory": memory}
    return {"requests": dict(amounts), "limits": dict(amounts)}


def resize(node, name, resources):
    changed = json.loads(json.dumps(node.api.pod(name)))
    changed["spec"]["containers"][0]["resources"] = resources
    changed["metadata"]["generation"] += 1
    node.run(changed)


def condition(node, name, kind):
    return next((c for c in node.status(name).get("conditions") or () if c["type"] == kind), None)


def kernel(node, name):
    """(CPU quota, memory limit) of the pod's group and of its first container's."""
    worker = node.agent.pods.worker("default", name)
    cgroups = node.agent.services.cgroups
    group = cgroups.pod_path(worker.pod).strip("/")
    container = worker.runtime.latest("c0").id
    found = []
    for path in (group, f"{group}/{container}"):
        if cgroups.unified:
            top = Path("/sys/fs/cgroup") / path
            found.append(((top / "cpu.max").read_text().split()[0], (top / "memory.max").read_text().strip()))
        else:
            top = Path("/sys/fs/cgroup")
            quota = (top / "cpu" / path / "cpu.cfs_quota_us").read_text().strip()
            found.append((quota, (top / "memory" / path / "memory.limit_in_bytes").read_text().strip()))
    return found


async def test_a_container_grows_and_shrinks_without_a_restart(node):
    name = node.run(pod("grows", shell("sleep 1000", resources=limited("100m", "64Mi"))))
    await node.ready(name)
    mib = 1024 * 1024
    assert kernel(node, name) == [("10000", str(64 * mib))] * 2
    for cpu, quota, memory in (("200m", "20000", 128), ("50m", "5000", 96)):
        resize(node, name, limited(cpu, f"{memory}Mi"))
        wanted = limited(cpu, f"{memory}Mi")
        await node.until(lambda wanted=wanted: node.container(name).get("resources") == wanted)
        await node.until(lambda: condition(node, name, "PodResizeInProgress") is None)
        assert kernel(node, name) == [(quota, str(memory * mib))] * 2
    container = node.container(name)
    assert container["restartCount"] == 0
    assert container["allocatedResources"] == {"cpu": "50m", "memory": "96Mi"}
    await node.until(lambda: node.api.events("ResizeCompleted"))


async def test_a_policy_that_asks_for_a_restart_gets_one(node):
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    name = node.run(pod("again", shell("sleep 1000", resources=limited("100m", "64Mi"), resizePolicy=policy)))
    await node.ready(name)
    resize(node, name, limited("100m", "80Mi"))
    await node.until(lambda: node.container(name).get("restartCount") == 1 and node.is_ready(name))
    assert kernel(node, name)[1][1] == str(80 * 1024 * 1024)
    assert node.container(name)["resources"] == limited("100m", "80Mi")


async def test_a_resize_waits_for_room_or_never_fits_and_survives_a_restart_of_the_agent(node):
    cpus = node.agent.machine.cpus
    big = node.run(pod("big", shell("sleep 1000", resources={"requests": {"cpu": str(cpus - 1)}})))
    small = node.run(pod("small", shell("sleep 1000", resources={"requests": {"cpu": "100m"}})))
    await node.ready(big)
    await node.ready(small)
    resize(node, small, {"requests": {"cpu": str(cpus + 5)}})
    await node.until(lambda: (condition(node, small, "PodResizePending") or {}).get("reason") == "Infeasible")
    resize(node, small, {"requests": {"cpu": "1500m"}})
    await node.until(lambda: (condition(node, small, "PodResizePending") or {}).get("reason") == "Deferred")
    await node.stop()
    node.start()
    await node.until(lambda: node.agent.pods.worker("default", small))
    assert node.container(small)["allocatedResources"] == {"cpu": "100m"}
    refused = node.run(pod("refused", shell("sleep 1000", resources={"requests": {"cpu": "1"}})))
    status = await node.phase(refused, "Failed")
    assert status["reason"] == "OutOfcpu"
    assert "containerStatuses" not in status, "there never was one"
    assert status["message"].startswith("Pod was rejected: Node didn't have enough resource: cpu, requested: 1000")
    await node.remove(big)
    await node.until(lambda: node.container(small).get("allocatedResources") == {"cpu": "1500m"})
    await node.until(lambda: condition(node, small, "PodResizePending") is None)


async def test_limits_of_a_whole_pod_hold_for_its_group(node):
    name = node.run(pod("whole", shell("sleep 1000"), resources=limited("300m", "100Mi")))
    await node.ready(name)
    assert kernel(node, name)[0] == ("30000", str(100 * 1024 * 1024))
    assert node.status(name)["qosClass"] == "Guaranteed"
