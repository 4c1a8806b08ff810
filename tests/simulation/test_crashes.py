"""A few of each controller's crashes, chosen evenly; all of them: `python -m tests.simulation.crashes`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.simulation.crashes import keys
from tests.simulation.scenarios import SCENARIOS

from shirube.controllers import deployment_rollout, replication_controller
from shirube.controllers.table import CONTROLLERS
from shirube.simulation.cluster import Setup
from shirube.simulation.crash import Scenario, deaths, judge, play
from shirube.simulation.wire import Death

# The first scenario of each controller is enough here.
FIRST: dict[str, Scenario] = {name: scenario for scenario in reversed(SCENARIOS) for name in scenario.controllers}


@pytest.fixture(scope="module")
def setup() -> Iterator[Setup]:
    with keys() as made:
        yield made


def test_every_controller_of_the_table_has_a_scenario():
    assert FIRST.keys() == {entry.name for entry in CONTROLLERS}


def test_all_writes_are_crashed_at_once_sent_and_once_not():
    assert deaths(2) == [Death(1, False), Death(1, True), Death(2, False), Death(2, True)]


@pytest.mark.parametrize("name", sorted(FIRST))
def test_a_crash_changes_nothing_of_the_result(name: str, setup: Setup):
    """One crash in the midst of its work, one whose answer is lost."""
    verdict = judge(FIRST[name], name, setup=setup, choose=lambda all_: [all_[len(all_) // 2]] if all_ else [])
    assert verdict.writes > 0, "the scenario must give it something to write"
    assert verdict.failures == []


def test_the_harness_sees_a_controller_that_forgets(monkeypatch: pytest.MonkeyPatch):
    """One whose successor does not look at what is there already: its crash must show."""
    name = "replicationcontroller-controller"
    lives: list[object] = []

    class Forgetful(replication_controller.ReplicationControllerController):
        async def started(self) -> None:
            lives.append(self)

        async def reconcile(self, key: str) -> float | None:
            return await super().reconcile(key) if lives[0] is self else None

    monkeypatch.setattr(replication_controller, "ReplicationControllerController", Forgetful)
    verdict = judge(FIRST[name], name, choose=lambda all_: lives.clear() or all_[:1])
    assert verdict.crashes == len(verdict.failures) == 1


def test_the_same_play_has_the_same_end(setup: Setup):
    one, other = (play(FIRST["deployment-controller"], "deployment-controller", setup=setup) for _ in range(2))
    assert one == other


def test_the_harness_sees_a_broken_law(monkeypatch: pytest.MonkeyPatch):
    """A rollout that believes in sizes, not in pods: while the one who takes pods away is dead there are too many."""
    name = "replicaset-controller"
    monkeypatch.setattr(deployment_rollout, "behind", lambda _: False)
    monkeypatch.setattr(deployment_rollout, "held_by", deployment_rollout.replicas_of)
    verdict = judge(FIRST[name], name, choose=lambda all_: all_[22:26])  # the first round of the rollout
    assert any("pods, " in text and "allowed" in text for text in verdict.failures)
