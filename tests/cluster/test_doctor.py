"""Each finding says what is wrong, what that does, and what to do."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from shirube.cli.commands import doctor as command
from shirube.cluster import doctor
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    return ClusterLayout.of("doctor-test")


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
    assert doctor.dropping(chains, {"output", "forward"}) == found


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
