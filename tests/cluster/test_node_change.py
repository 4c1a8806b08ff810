"""Which nodes a cluster has after changes, and a supervisor whose nodes come and go."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cluster.conftest import NAME
from tests.forking import forked
from tests.waiting import eventually

from shirube.cluster import cgroups, control
from shirube.cluster.node_change import without
from shirube.cluster.spec import ClusterSpec
from shirube.cluster.supervisor import ChildSpec, Supervisor

GROUP = f"/{NAME}-nodes/children"


@given(st.lists(st.integers(1, 8), max_size=8), st.sets(st.integers(1, 8)))
def test_a_removed_node_is_gone_and_the_others_stay(removals, stopped):
    spec = ClusterSpec(nodes=8, stopped=tuple(sorted(stopped)))
    left = set(range(1, 9))
    for index in removals:
        if index in left:
            spec = without(spec, index)
            left.discard(index)
        assert set(spec.indexes()) == left
        assert set(spec.running()) == left - stopped
        assert all(i < spec.nodes for i in spec.removed)


def test_a_spec_with_removed_nodes_survives_its_file(tmp_path):
    spec = ClusterSpec(nodes=4, removed=(2,), stopped=(3,))
    spec.save(tmp_path / "cluster.json")
    assert ClusterSpec.load(tmp_path / "cluster.json") == spec


@pytest.mark.cluster
def test_the_supervisor_starts_and_ends_a_nodes_processes(tmp_path):
    path = tmp_path / "control.sock"

    def node_children(number: int) -> list[ChildSpec]:
        # The second ignores SIGTERM's first half second.
        slow = ["/bin/sh", "-c", "trap 'sleep 0.5; exit 0' TERM; while :; do sleep 0.05; done"]
        return [
            ChildSpec(f"{what}@n-{number}", tmp_path / f"{what}.log", GROUP, argv=argv)
            for what, argv in (("a", ["/bin/sleep", "1000"]), ("b", slow))
        ]

    def running() -> dict[str, int]:
        return {c["name"]: c["pid"] for c in control.ask(path, "status")["children"]}

    cgroups.create(GROUP)
    pid = forked(lambda: Supervisor(path, [], node_children).run())
    try:
        eventually(path.exists, "the supervisor listens", 5)
        control.ask(path, "add_node", node=2)
        first = eventually(lambda: (r := running()) and all(r.values()) and r, "both run", 5)
        assert set(first) == {"a@n-2", "b@n-2"}
        with pytest.raises(control.ControlError, match="runs already"):
            control.ask(path, "add_node", node=2)
        control.ask(path, "remove_node", node=2)
        eventually(lambda: not running(), "both have ended", 5)
        control.ask(path, "remove_node", node=2)
        for _ in range(30):  # ended while they are about to begin
            control.ask(path, "add_node", node=2)
            control.ask(path, "remove_node", node=2)
            eventually(lambda: not running(), "both have ended, and the supervisor goes on")
        control.ask(path, "add_node", node=2)
        again = eventually(lambda: (r := running()) and all(r.values()) and r, "both run again", 5)
        assert set(again.values()).isdisjoint(first.values())
    finally:
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        eventually(lambda: not cgroups.processes(GROUP), "nothing is left", 5)
        cgroups.remove(GROUP)
