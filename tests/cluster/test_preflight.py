"""What must hold before `up`: one clear sentence each, and nothing changed."""

import os
import shutil
import socket
import tempfile
from collections import namedtuple
from dataclasses import replace

import pytest
from tests.cluster.conftest import NAME

from shirube.cluster import cgroups, packages, preflight
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def cluster(monkeypatch):
    with tempfile.TemporaryDirectory(
        prefix=f"shirube-{NAME}-", dir="/tmp"
    ) as home:  # (pytest's own have paths too long)
        monkeypatch.setenv("SHIRUBE_HOME", home)
        monkeypatch.setattr(packages, "missing", lambda table: [])
        monkeypatch.setattr("os.geteuid", lambda: 0)
        yield ClusterLayout.of("edge")
        assert os.listdir(home) == []


@pytest.fixture
def free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return ClusterSpec(api_port=probe.getsockname()[1])


def test_root_is_needed(cluster, free, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    [said] = preflight.findings(cluster, free)
    assert "root is needed" in said and "sudo" in said


def test_missing_programs_name_the_packages(cluster, free, monkeypatch):
    monkeypatch.setattr(packages, "missing", lambda table: ["containerd", "nftables"])
    [said] = preflight.findings(cluster, free)
    assert "apt-get install containerd nftables" in said


def test_a_port_in_use(cluster):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        [said] = preflight.findings(cluster, ClusterSpec(api_port=port))
    assert f"127.0.0.1:{port}" in said and "--port" in said


def test_a_name_whose_sockets_have_too_long_a_path(cluster, free, monkeypatch, tmp_path):
    monkeypatch.delenv("SHIRUBE_HOME")
    [said] = preflight.findings(ClusterLayout.of("a" * 26), free)
    assert "kubelet.sock is longer" in said and said.endswith("choose a --name of at most 25 characters")
    assert preflight.findings(ClusterLayout.of("a" * 25), free) == []
    with socket.socket(socket.AF_UNIX) as longest, pytest.raises(OSError, match="too long"):
        longest.bind(str(tmp_path) + "x" * (108 - len(str(tmp_path))))
    monkeypatch.setenv("SHIRUBE_HOME", "/" + "deep/" * 15)
    [said] = preflight.findings(ClusterLayout.of("edge"), free)
    assert said.endswith("choose a shorter --name, or a shorter SHIRUBE_HOME")


def test_no_disk_space(cluster, free, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 10**6))
    [said] = preflight.findings(cluster, free)
    assert "free some space" in said


def test_missing_kernel_features(cluster, free, monkeypatch):
    monkeypatch.setattr(preflight, "_FILESYSTEMS", {"nosuchfs": "nosuchfs (images)"})
    monkeypatch.setattr(cgroups, "hierarchies", lambda: ())
    said = preflight.findings(cluster, free)
    assert any("the kernel has no nosuchfs" in s for s in said) and any("no cgroup hierarchy" in s for s in said)


def test_ipv6_where_the_kernel_has_none(cluster, free, monkeypatch, tmp_path_factory):
    monkeypatch.setattr(preflight, "_IPV6", tmp_path_factory.getbasetemp() / "nothing")
    assert preflight.findings(cluster, free) == []
    [said] = preflight.findings(cluster, replace(free, ip_family="dual"))
    assert "no IPv6" in said and "--ip-family ipv4" in said


def test_a_namespace_of_somebody_else(cluster, free, monkeypatch, tmp_path_factory):
    taken = tmp_path_factory.mktemp("netns") / "edge"
    taken.touch()
    monkeypatch.setattr(preflight.namespaces, "network_namespace_path", lambda name: taken)
    [said] = preflight.findings(cluster, free)
    assert "belongs to something else" in said and "--name" in said


def test_nothing_to_say_on_a_good_machine(cluster, free):
    assert preflight.findings(cluster, free) == []


def test_packages_are_found_by_program_and_by_file(tmp_path):
    present = tmp_path / "there"
    present.touch()
    table = {"sh": "dash", str(present): "x", str(tmp_path / "gone"): "gone-package", "no-such-program": "a-package"}
    assert packages.missing(table) == ["a-package", "gone-package"]
