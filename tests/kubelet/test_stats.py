"""Statistics: control groups of both kinds, disks, and what clients read of a real pod."""

from __future__ import annotations

import os

import pytest
from node import NODE, pod, running_node, shell

from shirube.foundation.clock import ManualClock
from shirube.kubelet import stats_cgroup
from shirube.kubelet.stats_disk import DiskUsage, Used, measure
from shirube.kubelet.stats_metrics import cadvisor_metrics, resource_metrics


def write(top, files):
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_group_of_version_two(tmp_path):
    files = {
        "cgroup.controllers": "cpu memory",
        "a/cpu.stat": "usage_usec 5000\nuser_usec 1",
        "a/memory.current": "1000\n",
        "a/memory.stat": "anon 300\ninactive_file 400\npgfault 7\npgmajfault 2\n",
        "a/memory.max": "2000",
        "a/pids.current": "3",
        "b/memory.current": "10",
        "b/memory.max": "max",
    }
    write(tmp_path, files)
    assert stats_cgroup.read("/a", tmp_path) == stats_cgroup.Usage(5_000_000, 1000, 600, 300, 7, 2, 2000, 3)
    assert stats_cgroup.read("/b", tmp_path).limit is None
    assert stats_cgroup.read("/none", tmp_path) == stats_cgroup.Usage()


def test_a_group_of_version_one(tmp_path):
    files = {
        "cpuacct/a/cpuacct.usage": "77\n",
        "memory/a/memory.usage_in_bytes": "1000",
        "memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 400\ntotal_rss 300\n",
        "memory/a/memory.limit_in_bytes": str((1 << 63) - 4096),
        "pids/a/pids.current": "4",
    }
    write(tmp_path, files)
    assert stats_cgroup.read("a", tmp_path) == stats_cgroup.Usage(77, 1000, 600, 300, 0, 0, None, 4)


async def test_disks_are_measured_without_leaving_them_and_remembered(tmp_path):
    top = tmp_path / "top"
    write(tmp_path, {"top/a/one": "x" * 10_000, "outside": "y" * 100_000})
    os.link(top / "a/one", top / "again")
    (top / "way-out").symlink_to(tmp_path / "outside")
    used = measure(top)
    assert 10_000 <= used.bytes < 100_000 and used.inodes == 4
    assert measure(tmp_path / "none") == Used(0, 0)
    clock = ManualClock()
    usage = DiskUsage(clock)
    assert await usage.of(top) == used
    (top / "more").write_text("z")
    assert await usage.of(top) == used
    assert (await usage.of(top, max_age=0)).inodes == 5


@pytest.mark.cluster
async def test_what_a_pod_uses_is_told_in_every_form(containerd):
    async with running_node(containerd) as node:
        script = "head -c 3000000 /dev/zero > /data/x; head -c 2000000 /dev/zero > /layer; echo done; sleep 1000"
        container = shell(script.replace("head -c", "busybox head -c"), resources={"limits": {"memory": "64Mi"}})
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        name = node.run(pod("uses", container, volumes=[{"name": "data", "emptyDir": {}}]))
        await node.ready(name)
        await node.log_with(name, "done")
        usage = node.agent.usage
        found = await usage.summary(False)
        assert found["node"]["nodeName"] == NODE
        assert found["node"]["memory"]["availableBytes"] > 0 and found["node"]["cpu"]["usageCoreNanoSeconds"] > 0
        assert found["node"]["fs"]["inodes"] > 0 and found["node"]["rlimit"]["curproc"] > 0
        (shown,) = found["pods"]
        assert shown["podRef"]["name"] == name
        assert shown["cpu"]["usageCoreNanoSeconds"] > 0
        (inside,) = shown["containers"]
        assert 0 < inside["memory"]["workingSetBytes"] < 64 * 1024 * 1024
        assert inside["memory"]["availableBytes"] > 0
        volume = shown["volume"][0]
        assert volume["name"] == "data" and volume["usedBytes"] >= 3_000_000
        assert shown["ephemeral-storage"]["usedBytes"] >= 3_000_000
        await node.until(lambda: True)
        text = resource_metrics(await usage.snapshot(), usage.working_set()).decode()
        assert f'container_memory_working_set_bytes{{container="c0",namespace="default",pod="{name}"}} ' in text
        assert f'pod_cpu_usage_seconds_total{{namespace="default",pod="{name}"}} ' in text
        assert "\nnode_cpu_usage_seconds_total " in text and "resource_scrape_error 0\n" in text
        assert 'image="shirube.test/busybox:1"' in cadvisor_metrics(await usage.snapshot()).decode()
        only = await usage.summary(True)
        assert only["pods"][0]["volume"] == []
