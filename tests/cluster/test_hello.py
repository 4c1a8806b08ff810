"""The main job: the example runs, is reached from inside and outside, and heals."""

from __future__ import annotations

import contextlib
import os
import signal
import urllib.request

import pytest
from tests.cluster.conftest import NAME, ROOT, Cluster
from tests.ports import free_node_port
from tests.waiting import eventually

from shirube.cluster import cgroups

pytestmark = pytest.mark.cluster

EXAMPLE = (ROOT / "examples" / "hello.yaml").read_text()
PAGE = "Hello from Shirube!\n"


@pytest.fixture(scope="module")
def node_port() -> int:
    return free_node_port()


@pytest.fixture(scope="module")
def hello(cluster: Cluster, node_port: int):
    cluster.apply(EXAMPLE.replace("nodePort: 30080", f"nodePort: {node_port}"))
    cluster.kubectl("-n", "hello", "rollout", "status", "deployment/hello", "--timeout=180s")
    yield cluster
    cluster.kubectl("delete", "namespace", "hello", "--timeout=180s")


def page_inside(cluster: Cluster, address: str = "http://hello/") -> str:
    return cluster.kubectl("-n", "hello", "exec", "deploy/hello", "--", "wget", "-q", "-O-", address)


def page_outside(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        return str(answer.read().decode())


def pods(cluster: Cluster) -> list:
    return cluster.get("pods", "-n", "hello", "-l", "app=hello")["items"]


def ready(cluster: Cluster) -> int:
    return cluster.get("deployment", "-n", "hello", "hello")["status"].get("readyReplicas", 0)


def test_the_page_through_name_cluster_ip_and_node_port(hello, node_port):
    address = hello.get("service", "-n", "hello", "hello")["spec"]["clusterIP"]
    assert page_inside(hello) == PAGE
    assert page_inside(hello, f"http://{address}/") == PAGE
    assert page_inside(hello, "http://hello.hello.svc.cluster.local/") == PAGE
    assert eventually(lambda: _or_none(lambda: page_outside(node_port)), "the page through the node port", 10) == PAGE


def _or_none(function):
    try:
        return function()
    except OSError:
        return None


def test_applying_again_changes_nothing(hello, node_port):
    out = hello.apply(EXAMPLE.replace("nodePort: 30080", f"nodePort: {node_port}"))
    assert [line.split()[-1] for line in out.splitlines()] == ["unchanged"] * 4


def test_a_killed_container_is_restarted(hello):
    pod = pods(hello)[0]
    name, before = pod["metadata"]["name"], pod["status"]["containerStatuses"][0]["restartCount"]
    _kill_container_process(hello, pod)

    def restarted():
        status = hello.get("pod", "-n", "hello", name)["status"]["containerStatuses"][0]
        return status["restartCount"] > before and status["ready"]

    eventually(restarted, "the container is restarted and ready")
    assert hello.get("pod", "-n", "hello", name)["metadata"]["uid"] == pod["metadata"]["uid"]


def _kill_container_process(cluster: Cluster, pod) -> None:
    """SIGKILL from the node: the first process of the pod's container."""
    uid = pod["metadata"]["uid"]
    group = f"{cluster.layout.node(1).cgroup}/kubepods"
    for pid in cgroups.processes(group):
        try:
            with open(f"/proc/{pid}/cgroup") as f:
                belongs = uid in f.read()
            with open(f"/proc/{pid}/comm") as f:
                server = "httpd" in f.read()
        except FileNotFoundError:
            continue
        if belongs and server:
            with contextlib.suppress(ProcessLookupError):  # its init saw it end first, or the other way round
                os.kill(pid, signal.SIGKILL)


def test_a_deleted_pod_is_replaced(hello):
    name = pods(hello)[0]["metadata"]["name"]
    hello.kubectl("-n", "hello", "delete", "pod", name)
    eventually(lambda: ready(hello) == 3, "three replicas are ready again")
    assert name not in [p["metadata"]["name"] for p in pods(hello)]


@pytest.mark.parametrize("component", ["apiserver", "controllers", "scheduler", "kubelet", "network", "containerd"])
def test_a_killed_component_comes_back_and_the_workload_never_stops(hello, node_port, component):
    before = {p["metadata"]["uid"]: p["status"]["containerStatuses"][0]["restartCount"] for p in pods(hello)}
    name = component if component in ("apiserver", "controllers", "scheduler") else f"{component}@{NAME}-1"
    old = hello.children()[name]["pid"]
    os.kill(old, signal.SIGKILL)
    assert page_outside(node_port) == PAGE
    eventually(lambda: hello.children().get(name, {}).get("pid") not in (None, 0, old), f"{name} runs again")
    eventually(lambda: hello.run("get", "--raw", "/readyz").stdout == "ok", "the API is ready")
    # It carries on: a scale up and down goes all the way through.
    hello.kubectl("-n", "hello", "scale", "deployment/hello", "--replicas=4")
    eventually(lambda: ready(hello) == 4, "the fourth replica is ready")
    hello.kubectl("-n", "hello", "scale", "deployment/hello", "--replicas=3")
    eventually(lambda: len(pods(hello)) == 3 and ready(hello) == 3, "three replicas are left")
    after = {p["metadata"]["uid"]: p["status"]["containerStatuses"][0]["restartCount"] for p in pods(hello)}
    same = before.keys() & after.keys()
    assert len(same) >= 2 and all(before[uid] == after[uid] for uid in same)
    assert page_inside(hello) == PAGE


def test_down_and_up_brings_every_workload_back(hello, node_port):
    hello.shirube("down", "--name", NAME)
    status = hello.shirube("status", "--name", NAME, check=False)
    assert status.returncode == 1 and "not running" in status.stdout
    hello.up()
    eventually(lambda: ready(hello) == 3, "three replicas are ready again", 60)
    eventually(lambda: _or_none(lambda: page_outside(node_port)) == PAGE, "the page is back", 30)
    assert page_inside(hello) == PAGE
    assert hello.shirube("status", "--name", NAME).returncode == 0


def test_a_second_up_changes_nothing(hello):
    before = {name: child["pid"] for name, child in hello.children().items()}
    hello.up()
    assert {name: child["pid"] for name, child in hello.children().items()} == before
