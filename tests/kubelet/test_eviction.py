"""Node pressure: thresholds, whom they evict and why; then on a real containerd."""

from __future__ import annotations

import asyncio

import pytest
from node import NODE, pod, running_node, shell

from shirube.api import quantity
from shirube.kubelet import eviction, stats_cgroup
from shirube.kubelet.eviction import Reading, format_bytes, over_local_limits, rank, thresholds
from shirube.kubelet.node_info import MachineInfo
from shirube.kubelet.node_status import NodeIdentity, Reserve, RuntimeReport, allocatable, node_status, reserve
from shirube.kubelet.runtime_state import Container
from shirube.kubelet.stats import ContainerUsage, PodUsage
from shirube.kubelet.stats_cgroup import Usage
from shirube.kubelet.stats_disk import Used

MIB = 1024 * 1024


def using(name, working_set=0, disk=0, volumes=None, request=None, limits=None, **spec):
    container = shell("x", resources={"requests": request or {}, "limits": limits or {}})
    record = Container(f"id-{name}", "c0", 0, "running", "s", 1, started_at=1)
    usage = Usage(memory=working_set, working_set=working_set, processes=3)
    inside = ContainerUsage(record, usage, None, Used(disk, 1), Used(0, 0))
    return PodUsage(pod(name, container, **spec), usage, None, (inside,), volumes or {})


def names(found):
    return [usage.pod["metadata"]["name"] for usage in found]


def test_thresholds_are_amounts_or_shares_in_order_of_urgency():
    given = {"nodefs.available": "10%", "memory.available": "100Mi", "imagefs.available": "0%"}
    soft = {"memory.available": "1Gi"}
    found = thresholds(given, soft, {"memory.available": 30.0}, {"memory.available": "50Mi"})
    assert [(t.signal, t.text, t.grace) for t in found] == [
        ("memory.available", "100Mi", None),
        ("memory.available", "1Gi", 30.0),
        ("nodefs.available", "10%", None),
    ]
    assert found[0].is_met(Reading(1000 * MIB, 99 * MIB)) and not found[0].is_met(Reading(1000 * MIB, 100 * MIB))
    assert found[0].is_met(Reading(1000 * MIB, 149 * MIB), reclaiming=True)
    assert found[2].least(Reading(500, 0)) == 50
    with pytest.raises(ValueError, match="unknown eviction signal 'disk'"):
        thresholds({"disk": "1"})
    with pytest.raises(ValueError, match="no grace period"):
        thresholds({}, soft)


def test_who_uses_more_than_it_asked_for_goes_first_then_the_less_important():
    modest = using("modest", 50 * MIB, request={"memory": "100Mi"})
    greedy = using("greedy", 150 * MIB, request={"memory": "100Mi"})
    greedier = using("greedier", 400 * MIB, request={"memory": "100Mi"})
    important = using("important", 900 * MIB, priority=1000)
    critical = using("critical", 900 * MIB, priority=2_000_000_000)
    found = rank("memory.available", [modest, important, greedy, critical, greedier])
    assert names(found) == ["greedier", "greedy", "important", "modest"]
    full, fuller = using("full", disk=1), using("fuller", disk=2)
    assert names(rank("nodefs.available", [full, fuller])) == ["fuller", "full"]


def test_the_message_says_what_was_low_and_who_used_it():
    (threshold,) = thresholds({"memory.available": "100Mi"})
    text = eviction.message(threshold, Reading(MIB * 999, MIB * 50), using("a", 20 * MIB))
    assert text == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container c0 was using 20Mi, request is 0, has larger consumption of memory. "
    )
    assert [format_bytes(n) for n in (5, 1024, MIB + 1024, 1 << 30)] == ["5", "1Ki", "1025Ki", "1Gi"]


def test_limits_of_local_storage():
    limited = pod("a", shell("x"), volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}])
    assert over_local_limits(PodUsage(limited, Usage(), None, (), {"v": Used(MIB, 1)})) == ""
    text = over_local_limits(PodUsage(limited, Usage(), None, (), {"v": Used(MIB + 1, 1)}))
    assert text == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    limited = using("a", disk=3 * MIB, limits={"ephemeral-storage": "2Mi"})
    assert over_local_limits(limited) == (
        "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    )
    assert over_local_limits(using("a", disk=MIB, limits={"ephemeral-storage": "2Mi"})) == ""


def test_what_is_reserved_is_not_for_pods():
    machine = MachineInfo(4, 1024 * MIB, 1000, "", "", "", "", "", "amd64")
    kept = reserve(
        machine,
        ({"cpu": "500m", "memory": "100Mi"}, {"cpu": "250m", "ephemeral-storage": "100"}),
        {"memory.available": "24Mi", "nodefs.available": "10%"},
    )
    assert kept == Reserve(750, 124 * MIB, 200)
    left = allocatable(NodeIdentity("n", (), 1, 5), machine, kept)
    assert (left["cpu"], left["memory"], left["ephemeral-storage"]) == ("3250m", f"{900 * 1024}Ki", "800")


def test_a_node_tells_of_its_swap_when_it_has_some():
    def told(swap):
        machine = MachineInfo(4, 1024 * MIB, 1000, "", "", "", "", "", "amd64", swap=swap)
        return node_status(NodeIdentity("n", (), 1, 5), machine, RuntimeReport(), [], 0.0)["nodeInfo"].get("swap")

    assert (told(512 * MIB), told(0)) == ({"capacity": 512 * MIB}, None)


# -- on a real containerd


@pytest.mark.cluster
async def test_a_node_low_on_memory_says_so_evicts_the_greediest_and_refuses_best_effort(containerd):
    options = {"eviction_pressure_transition": 0.0, "eviction_period": 3600.0}
    async with running_node(containerd, **options) as node:
        asked = {"resources": {"requests": {"memory": "64Mi"}}}
        calm = node.run(pod("calm", shell("sleep 1000", **asked)))
        hungry = node.run(pod("hungry", shell("sleep 1000"), terminationGracePeriodSeconds=30))
        await node.ready(calm)
        await node.ready(hungry)
        await node.until(lambda: "/api/v1/nodes/" + NODE in node.api.objects)
        left = {"memory.available": Reading(1000 * MIB, 50 * MIB)}

        async def signals():
            return left

        node.agent.pressure.signals = signals
        await node.agent.pressure.look()
        status = await node.phase(hungry, "Failed")
        assert status["reason"] == "Evicted"
        assert status["message"].startswith("The node was low on resource: memory. Threshold quantity: 100Mi")
        target = next(c for c in status["conditions"] if c["type"] == "DisruptionTarget")
        assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
        assert node.is_ready(calm)

        def condition():
            found = (node.api.objects["/api/v1/nodes/" + NODE].get("status") or {}).get("conditions") or []
            return next((c["status"] for c in found if c["type"] == "MemoryPressure"), "")

        await node.until(lambda: condition() == "True")
        await node.until(lambda: node.api.events("EvictionThresholdMet"))
        refused = await node.phase(node.run(pod("late", shell("sleep 1000"))), "Failed")
        assert (refused["reason"], refused["message"]) == ("Evicted", "The node had condition: [MemoryPressure]. ")
        left["memory.available"] = Reading(1000 * MIB, 900 * MIB)
        await asyncio.sleep(0.01)
        await node.agent.pressure.look()
        await node.until(lambda: condition() == "False")


@pytest.mark.cluster
async def test_a_pod_over_a_limit_of_local_storage_is_evicted(containerd):
    async with running_node(containerd, eviction_period=0.2) as node:
        script = "busybox head -c 3000000 /dev/zero > /data/x; sleep 1000"
        container = shell(script, volumeMounts=[{"name": "data", "mountPath": "/data"}])
        volumes = [{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]
        name = node.run(pod("overflows", container, volumes=volumes))
        await node.ready(name)
        node.agent.pressure._storage_at = 0.0
        status = await node.phase(name, "Failed")
        assert status["reason"] == "Evicted"
        assert status["message"] == 'Usage of EmptyDir volume "data" exceeds the limit "1Mi". '


@pytest.mark.cluster
async def test_a_container_that_takes_too_much_memory_is_killed_and_said_to_be(containerd):
    async with running_node(containerd) as node:
        script = "x=a; while true; do x=$x$x; done"
        limits = {"limits": {"memory": "16Mi"}, "requests": {"memory": "16Mi"}}
        name = node.run(pod("swells", shell(script, resources=limits), restartPolicy="Never"))
        status = await node.phase(name, "Failed")
        ended = status["containerStatuses"][0]["state"]["terminated"]
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


@pytest.mark.cluster
async def test_all_pods_together_get_no_more_than_is_not_reserved(containerd):
    async with running_node(containerd, kube_reserved={"memory": "64Mi", "cpu": "100m"}) as node:
        await node.until(lambda: "/api/v1/nodes/" + NODE in node.api.objects)
        cgroups = node.agent.services.cgroups
        machine = node.agent.machine
        usage = stats_cgroup.read(cgroups.root)
        assert usage.limit == (machine.memory - 64 * MIB) // 4096 * 4096
        status = node.agent.services.node().allocatable
        assert status["cpu"] == f"{machine.cpus * 1000 - 100}m"
        assert quantity.value(status["memory"]) <= machine.memory - (64 + 100) * MIB
