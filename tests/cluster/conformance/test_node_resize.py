"""Resources of running pods changed in place: the status shows it, the cgroups have it, nothing restarts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.conformance.api import STRATEGIC, Obj
from tests.cluster.conformance.batch import Batch, tool, tool_pod
from tests.cluster.conftest import Cluster
from tests.waiting import eventually

from shirube.api import quantity

S = "[sig-node] Pod InPlace Resize Container "
G = "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - "
E = " [MinimumKubeletVersion:1.34] [Conformance]"

Resources = dict[str, dict[str, str]]


def resources(requests: tuple[str, str] = ("", ""), limits: tuple[str, str] = ("", "")) -> Resources:
    """(cpu, memory); "" for none."""
    both = {"requests": requests, "limits": limits}
    named = {k: {n: v for n, v in zip(("cpu", "memory"), pair, strict=True) if v} for k, pair in both.items()}
    return {k: v for k, v in named.items() if v}


def guaranteed(cpu: str, memory: str) -> Resources:
    return resources((cpu, memory), (cpu, memory))


# Prints limits and weight as the container's own cgroup has them: "memory quota period weight-or-shares".
SHOW = """
    cd /sys/fs/cgroup
    if [ -e memory.max ]; then echo $(cat memory.max) $(cat cpu.max) $(cat cpu.weight)
    else echo $(cat memory/memory.limit_in_bytes) $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares)
    fi
"""


def expected_cgroup(one: Resources, shown: str) -> None:
    """What the cgroup shows follows from the resources."""
    memory, quota, period, weight = shown.split()
    limits, requests = one.get("limits", {}), one.get("requests", {})
    if "memory" in limits:
        assert int(memory) == quantity.value(limits["memory"]), (one, shown)
    else:
        assert memory == "max" or int(memory) > 1 << 60, (one, shown)
    if "cpu" in limits:
        wanted = max(quantity.milli(limits["cpu"]) * int(period) // 1000, 1000)
        assert int(quota) == wanted, (one, shown)
    else:
        assert quota in ("max", "-1"), (one, shown)
    shares = max(quantity.milli(requests.get("cpu", limits.get("cpu", "0"))) * 1024 // 1000, 2)
    # Version 2 has weights, made of shares by one of two formulas.
    assert int(weight) in (shares, 1 + (shares - 2) * 9999 // 262142), (one, shown)


def settled(pod: Obj, wanted: list[Resources]) -> bool:
    statuses = {s["name"]: s for s in pod["status"].get("containerStatuses", ())}
    assert not [c for c in pod["status"]["conditions"] if c["type"].startswith("PodResize")], pod["status"][
        "conditions"
    ]
    for number, one in enumerate(wanted, 1):
        status = statuses[f"c{number}"]
        for part in ("requests", "limits"):
            shown = status.get("resources", {}).get(part, {})
            assert _same(shown, one.get(part, {})), (status["resources"], one)
        assert _same(status.get("allocatedResources", {}), one.get("requests", {})), (status, one)
        assert status["restartCount"] == 0
    assert pod["status"]["observedGeneration"] == pod["metadata"]["generation"]
    return True


def _same(one: Any, other: Any) -> bool:
    return {k: quantity.parse(v) for k, v in one.items()} == {k: quantity.parse(v) for k, v in other.items()}


def resize(cluster: Cluster, batch: Batch, name: str, before: list[Resources], after: list[Resources]) -> None:
    containers = [tool("exec sleep 3600", f"c{n}", resources=one) for n, one in enumerate(before, 1)]
    batch.create_all([tool_pod(*containers, name=name)])
    batch.until(name, lambda pod: pod["status"]["phase"] == "Running" and settled(pod, before), "runs")
    patch = {"spec": {"containers": [{"name": f"c{n}", "resources": one} for n, one in enumerate(after, 1)]}}
    batch.pods.patch(name, patch, STRATEGIC, "resize")
    batch.until(name, lambda pod: settled(pod, after), "is resized")
    for number, one in enumerate(after, 1):
        shown = cluster.kubectl("-n", batch.ns, "exec", name, "-c", f"c{number}", "--", "/bin/sh", "-c", SHOW)
        expected_cgroup(one, shown)
    batch.pods.delete(name)


THREE = [guaranteed("20m", "30Mi")] * 3


@pytest.mark.conformance(f"{G}increase: CPU (c1,c3), memory (c2, c3) ; decrease: CPU (c2){E}")
def test_some_of_three_grow(cluster, batch):
    after = [guaranteed("25m", "30Mi"), guaranteed("15m", "35Mi"), guaranteed("25m", "35Mi")]
    resize(cluster, batch, "some-grow", THREE, after)


@pytest.mark.conformance(f"{G}increase cpu & mem on c1, c2, decrease cpu & mem on c3 - net increase{E}")
def test_a_net_increase(cluster, batch):
    after = [guaranteed("25m", "35Mi"), guaranteed("25m", "35Mi"), guaranteed("15m", "25Mi")]
    resize(cluster, batch, "net-increase", THREE, after)


@pytest.mark.conformance(f"{G}increase cpu & mem on c1, decrease cpu & mem on c2, c3 - net decrease{E}")
def test_a_net_decrease(cluster, batch):
    after = [guaranteed("25m", "35Mi"), guaranteed("15m", "25Mi"), guaranteed("15m", "25Mi")]
    resize(cluster, batch, "net-decrease", THREE, after)


@pytest.mark.conformance(
    f"{S}burstable pods - extended 6 containers - various operations performed (including adding limits and "
    f"requests){E}"
)
def test_six_containers(cluster, batch):
    before = [
        resources(("20m", "30Mi"), ("30m", "40Mi")),
        resources(("20m", "30Mi"), ("30m", "40Mi")),
        resources(("20m", "30Mi")),
        resources(("20m", "")),
        resources(("", "30Mi")),
        resources(),
    ]
    after = [
        resources(("25m", "35Mi"), ("35m", "45Mi")),  # all of it grows
        resources(("15m", "25Mi"), ("25m", "35Mi")),  # all of it shrinks
        resources(("20m", "30Mi"), ("30m", "40Mi")),  # limits are added
        resources(("20m", "30Mi")),  # a request is added
        resources(("20m", "30Mi"), ("30m", "40Mi")),
        resources(("20m", "30Mi")),
    ]
    resize(cluster, batch, "six", before, after)


@pytest.mark.conformance(f"{S}burstable pods - extended resize with equivalents{E}")
def test_equivalents(cluster, batch):
    # Less than the kernel can tell apart: shares of 2 are the least, a quota of 1 ms likewise.
    before = [resources(("2m", ""), ("10m", "")), resources(("", "32Mi"), ("", "64Mi"))]
    after = [resources(("1m", ""), ("5m", "")), resources(("", "33554432"), ("", "65536Ki"))]
    resize(cluster, batch, "equivalents", before, after)


@pytest.mark.conformance(f"{S}resize pod via the replace endpoint{E}")
def test_by_replacing(batch):
    name, before, after = "replaced", guaranteed("20m", "30Mi"), guaranteed("25m", "35Mi")
    batch.create_all([tool_pod(tool("exec sleep 3600", "c1", resources=before), name=name)])
    batch.until(name, lambda pod: pod["status"]["phase"] == "Running" and settled(pod, [before]), "runs")
    batch.pods.edit(name, lambda pod: pod["spec"]["containers"][0].update(resources=after), "resize")
    batch.until(name, lambda pod: settled(pod, [after]), "is resized")
    eventually(lambda: batch.pods.get(name, "resize") == batch.pods.get(name), "both are the same pod")
