"""Each finding says what is wrong, what that does, and what to do."""

from __future__ import annotations

import resource
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cluster.conftest import NAME

from shirube.cli.commands import doctor as command
from shirube.cluster import cgroups, doctor, doctor_network, namespaces
from shirube.cluster.command import CommandError, run
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    return ClusterLayout.of("doctor-test")


def only(found, words):
    """The one finding that speaks of it; it is complete."""
    [one] = [f for f in found if words in f.cause]
    assert one.cause and one.effect and one.remedy and one.severity in ("error", "warning")
    return one


def listed(**chain):
    return {"nftables": [{"metainfo": {}}, {"chain": {"family": "inet", "table": "filter", "name": "out", **chain}}]}


@pytest.mark.parametrize(
    ("chains", "found"),
    [
        (listed(hook="output", policy="drop"), ["inet filter out"]),
        (listed(hook="output", policy="accept"), []),
        (listed(hook="input", policy="drop"), []),
        (listed(), []),
        (listed(hook="output", policy="drop", table="shirube_policy"), []),
        ({}, []),
    ],
)
def test_chains_that_drop_by_default(chains, found):
    assert doctor_network.dropping(chains, {"output", "forward"}) == found


RULES = """
add table inet filter
add chain inet filter sink
add rule inet filter sink counter drop
add chain inet filter names
add rule inet filter names udp dport { 53, 5353 } jump sink
add rule inet filter names tcp dport 50-60 reject
add rule inet filter names udp dport 5353 drop
add chain inet filter unused
add rule inet filter unused udp dport 53 drop
add chain inet filter output { type filter hook output priority 0; policy drop; }
add rule inet filter output jump names
add rule inet filter output ip saddr 10.244.3.0/24 drop
add rule inet filter output ip saddr 10.0.0.0/8 tcp dport 25 drop
add rule inet filter output ip6 daddr fd00:10:244::/48 reject
add rule inet filter output udp dport != 53 ip daddr 192.0.2.1 accept
"""


@pytest.mark.cluster
def test_rules_that_drop_names_or_pods(monkeypatch, cluster):
    """A real firewall, in a network namespace of its own."""
    subprocess.run(["ip", "netns", "add", f"{NAME}-doctor"], check=True)
    try:
        nft = ["ip", "netns", "exec", f"{NAME}-doctor", "nft"]
        subprocess.run([*nft, "-f", "-"], input=RULES, text=True, check=True)
        monkeypatch.setattr(doctor_network, "run", lambda argv, **_: run([*nft[:-1], *argv]))
        ClusterSpec(ip_family="dual").save(cluster.spec)
        found = doctor_network.firewall(cluster, ClusterSpec())
    finally:
        subprocess.run(["ip", "netns", "del", f"{NAME}-doctor"], check=True)
    said = [f.cause for f in found]
    assert len(said) == 5 and all(f.effect and f.remedy for f in found)
    assert "drops what no rule accepts" in said[0]
    assert sum("inet filter names" in s and "drops DNS" in s for s in said) == 2
    assert any("10.244.0.0/16" in s for s in said) and any("fd00:10:244::/48" in s for s in said)
    assert all("`nft delete rule inet filter" in f.remedy for f in found[1:])


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ("nft", "nftables rules for IPv4"),
        ("nft", "nftables rules for IPv6"),
        ("addr", "no IPv6"),
        ("veth", "type veth"),
        ("bridge", "type bridge"),
        ("vxlan", "type vxlan"),
        ("ifb", "type ifb"),
    ],
)
def test_what_the_kernel_lacks(monkeypatch, cluster, broken, cause):
    def refuse(argv, **_):
        if broken in argv:
            raise CommandError("Operation not supported")
        return ""

    monkeypatch.setattr(doctor_network, "run", refuse)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    found = only(doctor_network.kernel(cluster, ClusterSpec(ip_family="dual")), cause)
    assert "Operation not supported" in found.cause


@pytest.mark.cluster
def test_this_kernel_has_all_that_we_use(cluster):
    assert doctor_network.kernel(cluster, ClusterSpec(ip_family="dual")) == []


def test_a_controller_that_is_missing(monkeypatch, cluster):
    monkeypatch.setattr(doctor, "_CONTROLLERS", ("cpu", "memory", "nosuch"))
    monkeypatch.setattr(cgroups, "hierarchies", lambda: (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/memory")))
    monkeypatch.setattr(cgroups, "is_v2", lambda: False)
    assert only(doctor.examine(cluster, ClusterSpec(), quick=True), "controllers nosuch").severity == "warning"


def test_few_open_files(monkeypatch, cluster):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert "limits.conf" in only(doctor.examine(cluster, ClusterSpec(), quick=True), "1024 files").remedy


def test_little_memory(monkeypatch, cluster):
    monkeypatch.setattr(doctor, "_LEAST_MEMORY_BYTES", 2**60)
    assert "evicted" in only(doctor.examine(cluster, ClusterSpec(), quick=True), "MiB of memory").effect


def test_a_file_system_that_images_cannot_be_on(monkeypatch, cluster):
    monkeypatch.setattr(doctor, "_filesystem_of", lambda _: "overlay")
    found = only(doctor.examine(cluster, ClusterSpec(), quick=True), "type overlay")
    assert found.severity == "error" and "SHIRUBE_HOME" in found.remedy


def test_no_way_out(monkeypatch, cluster):
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    monkeypatch.setattr(doctor, "system_resolvers", list)
    found = doctor.examine(cluster, ClusterSpec(), quick=True)
    assert "passt" in only(found, "pasta is not installed").remedy
    assert "resolv.conf" in only(found, "names no resolver").remedy


def test_what_a_crash_left(monkeypatch, cluster):
    monkeypatch.setattr(namespaces, "left_over", lambda _: ["network namespace doctor-test"])
    found = only(doctor.examine(cluster, ClusterSpec()), "are left from a crash")
    assert "shirube down --name doctor-test" in found.remedy


def test_a_clock_that_is_behind(monkeypatch, cluster):
    class Past:
        @staticmethod
        def now():
            return 0.0

    monkeypatch.setattr(doctor, "SYSTEM", Past)
    assert only(doctor.examine(cluster, ClusterSpec()), "the clock is behind").severity == "error"


def test_a_clock_that_nobody_sets(monkeypatch, cluster):
    class Libc:
        @staticmethod
        def adjtimex(_):
            return doctor._TIME_ERROR

    monkeypatch.setattr(doctor.ctypes, "CDLL", lambda *_, **__: Libc)
    assert "chrony" in only(doctor.examine(cluster, ClusterSpec()), "not synchronised").remedy


def test_resolvers_that_do_not_answer(monkeypatch, cluster):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))  # a port of the loopback that is not 53: nobody answers there
        monkeypatch.setattr(doctor, "system_resolvers", lambda: ["127.0.0.1"])
        monkeypatch.setattr(doctor, "_resolver_answers", lambda a: answers(a, 0.05))
        assert "UDP port 53" in only(doctor.examine(cluster, ClusterSpec()), "no resolver of /etc/resolv.conf").remedy


answers = doctor._resolver_answers


def test_a_port_in_use(cluster):
    with socket.create_server(("127.0.0.1", 0)) as held:
        found = doctor.examine(cluster, ClusterSpec(api_port=held.getsockname()[1]))
    assert "--port" in only(found, "cannot be listened on").remedy


def test_a_disk_that_cannot_be_written(monkeypatch, cluster):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor, "fsync_seconds", full)
    assert only(doctor.examine(cluster, ClusterSpec()), "cannot be written").severity == "error"


def test_a_low_limit_is_found(monkeypatch, cluster):
    monkeypatch.setitem(doctor._LIMITS, "kernel/pid_max", (2**40, "pods cannot start processes"))
    found = [f for f in doctor.examine(cluster, ClusterSpec(), quick=True) if "kernel.pid_max" in f.cause]
    assert len(found) == 1 and "sysctl -w kernel.pid_max=" in found[0].remedy


def test_a_slow_disk_is_found(monkeypatch, cluster):
    monkeypatch.setattr(doctor, "fsync_seconds", lambda _: 0.05)
    found = [f for f in doctor.examine(cluster, ClusterSpec()) if "50 ms" in f.cause]
    assert [f.severity for f in found] == ["warning"]


def test_every_finding_is_complete_and_nothing_stays(cluster, tmp_path):
    for finding in doctor.examine(cluster, ClusterSpec()):
        assert finding.cause and finding.effect and finding.remedy
        assert finding.severity in ("error", "warning")
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_cause_effect_and_remedy(monkeypatch, cluster):
    bad = doctor.Finding("error", "the moon is full", "wolves", "wait a day")
    monkeypatch.setattr(doctor, "examine", lambda *_: [bad])
    done = CliRunner().invoke(command.command, ["--name", "doctor-test"])
    assert done.exit_code == 1
    assert done.output.splitlines() == ["✗ the moon is full", "    effect: wolves", "    remedy: wait a day"]
    monkeypatch.setattr(doctor, "examine", lambda *_: [])
    assert CliRunner().invoke(command.command, ["--name", "doctor-test"]).exit_code == 0
