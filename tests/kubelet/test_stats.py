"""Statistics: control groups of both kinds, disks, and what clients read of a real pod."""

from __future__ import annotations

import os

import pytest
from node import NODE, pod, running_node, shell

from shirube.foundation.clock import ManualClock
from shirube.kubelet import stats_cgroup
from shirube.kubelet.stats_disk import DiskUsage, Used, measure
from shirube.kubelet.stats_metrics import resource_metrics


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


def test_details_of_both_versions(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write(
        one,
        {
            "cpu/a/cpu.cfs_quota_us": "5000",
            "cpu/a/cpu.cfs_period_us": "100000",
            "cpu/a/cpu.shares": "20",
            "cpu/a/cpu.stat": "nr_periods 7\nnr_throttled 3\nthrottled_time 900\n",
            "cpuacct/a/cpuacct.stat": "user 200\nsystem 100\n",
            "memory/a/memory.stat": "cache 1\ntotal_cache 4096\ntotal_mapped_file 5\n",
            "memory/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            "blkio/a/blkio.throttle.io_service_bytes": "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\nTotal 31\n",
        },
    )
    found = stats_cgroup.details("a", one)
    assert (found.quota, found.period, found.shares) == (5000, 100000, 20)
    assert (found.periods, found.throttled, found.throttled_time) == (7, 3, 900)
    assert found.cpu_user == 2 * found.cpu_system > 0
    assert (found.cache, found.oom_kills, found.read_bytes, found.written_bytes) == (4096, 2, 11, 20)
    write(
        two,
        {
            "cgroup.controllers": "cpu memory",
            "a/cpu.max": "5000 100000",
            "a/cpu.weight": "1",
            "a/cpu.stat": "usage_usec 9\nuser_usec 6\nsystem_usec 3\nnr_periods 7\nnr_throttled 3\nthrottled_usec 2\n",
            "a/memory.stat": "file 4096\nfile_mapped 5\n",
            "a/memory.events": "low 0\nmax 4\noom_kill 2\n",
            "a/io.stat": "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=0\n",
            "b/cpu.max": "max 100000",
        },
    )
    found = stats_cgroup.details("a", two)
    assert (found.quota, found.period, found.shares) == (5000, 100000, 2)
    assert (found.cpu_user, found.cpu_system, found.throttled_time) == (6000, 3000, 2000)
    assert (found.cache, found.memory_failures, found.oom_kills) == (4096, 4, 2)
    assert (found.read_bytes, found.written_bytes) == (11, 20)
    assert stats_cgroup.details("b", two).quota is None


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
        text = (await usage.cadvisor()).decode()
        mine = [line for line in text.splitlines() if f'pod="{name}"' in line]
        of_container = {line.partition("{")[0] for line in mine if 'image="shirube.test/busybox:1"' in line}
        assert {
            "container_cpu_usage_seconds_total",
            "container_cpu_user_seconds_total",
            "container_memory_working_set_bytes",
            "container_memory_rss",
            "container_memory_cache",
            "container_spec_memory_limit_bytes",
            "container_spec_cpu_shares",
            "container_start_time_seconds",
            "container_last_seen",
            "container_fs_usage_bytes",
        } <= of_container
        [limit] = [v for v in mine if v.startswith("container_spec_memory_limit_bytes") and 'container="c0"' in v]
        assert limit.split()[-2] == str(64 * 1024 * 1024)
        network = [line for line in mine if line.startswith("container_network_receive_bytes_total")]
        assert network and 'interface="eth0"' in network[0] and 'container=""' in network[0]
        assert 'id="/"' in text and "\nmachine_cpu_cores{" in text
        only = await usage.summary(True)
        assert only["pods"][0]["volume"] == []


@pytest.mark.cluster
async def test_pods_that_have_ended_hide_nobodys_network(containerd):
    async with running_node(containerd) as node:
        serves = node.run(pod("serves", shell("sleep 1000")))
        ended = node.run(pod("ended", shell("true"), restartPolicy="Never"))
        await node.ready(serves)
        await node.until(lambda: node.status(ended).get("phase") == "Succeeded")

        async def networks():
            found = await node.agent.usage.summary(False)
            return {p["podRef"]["name"]: p["network"]["interfaces"] for p in found["pods"] if p.get("network")}

        # The sandbox of the one that has ended stays; its cgroup goes as soon as its worker is done with it.
        group = node.agent.usage.stats.group_of(node.api.pod(ended))
        await node.until(lambda: stats_cgroup.read(group) == stats_cgroup.Usage())
        assert [i["name"] for i in (await networks())[serves]] == ["eth0"]


@pytest.mark.cluster
async def test_who_asks_for_processor_and_memory_has_no_disk_measured(containerd, monkeypatch):
    async with running_node(containerd) as node:
        name = node.run(pod("quick", shell("sleep 1000")))
        await node.ready(name)
        monkeypatch.setattr(node.agent.usage.stats, "_disk", None)
        text = resource_metrics(await node.agent.usage.snapshot(), 1).decode()
        assert f'container_memory_working_set_bytes{{container="c0",namespace="default",pod="{name}"}} ' in text
