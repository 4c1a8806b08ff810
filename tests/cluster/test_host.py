"""The host is left alone while a cluster runs (the fixture compares again when it is gone), and by one that crashes."""

import os
import signal
from pathlib import Path

import pytest
from tests.cluster.conftest import NAME, photograph
from tests.ports import free_port

from shirube.cluster import cgroups, control, namespaces
from shirube.cluster.layout import ClusterLayout

pytestmark = pytest.mark.cluster
MACHINE = ("interfaces", "addresses", "routes", "rules", "firewall", "sysctls")


@pytest.mark.parametrize("what", MACHINE)
def test_a_running_cluster_touches_nothing_of_the_host(cluster, host_before, what):
    assert photograph()[what] == host_before[what]


def test_a_crash_leaves_the_host_alone_and_down_cleans_up(cluster, host_before):
    """A cluster of its own, whose supervisor is killed: nobody is there to tidy up."""
    name = f"{NAME}-crash"
    other = ClusterLayout(name, cluster.home / "lib" / name, cluster.home / "run" / name)
    try:
        cluster.shirube("up", "--name", name, "--port", str(free_port()))
        cluster.shirube("image", "build", "examples/hello", "--name", name)
        child = control.ask(other.control_socket, "status")["children"][0]["pid"]
        supervisor = int(Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(supervisor, signal.SIGKILL)
        after = photograph()
        for what in MACHINE:
            assert after[what] == host_before[what]
        assert namespaces.left_over(other)
        said = cluster.shirube("doctor", "--name", name, check=False).stdout
        assert "left from a crash" in said and f"shirube down --name {name}" in said
    finally:
        cluster.shirube("down", "--name", name, "--purge")
    assert namespaces.left_over(other) == []
    assert not cgroups.processes(other.cgroup) and not other.lib.exists()
    after = photograph()
    for what in MACHINE:
        assert after[what] == host_before[what]
