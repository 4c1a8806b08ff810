"""A small hour: failures, rollouts and load changes, all laws held, everything converged; and the same again."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from shirube.api.gvr import DEPLOYMENTS, PODS, RESOURCEQUOTAS
from shirube.simulation.cluster import Setup, simulated
from shirube.simulation.history import History
from shirube.simulation.hour import Options, run
from shirube.simulation.laws import Laws, Pod
from shirube.simulation.virtual_time import VirtualClock
from shirube.simulation.virtual_time import run as run_virtually
from shirube.simulation.world import deployment, quota
from shirube.storage.memory import MemoryStorage
from shirube.storage.types import Compacted, Event

SMALL = Options(nodes=8, pods=60, minutes=2.0, seed=3)


def test_the_laws_hold_and_the_world_converges():
    told: list[str] = []
    result = run(SMALL, told.append)
    assert result.violations == []
    assert result.unfinished == []
    assert result.checks > 50 and sum(result.happened.values()) > 3
    assert told[-1].endswith("converged")
    # Mishaps end with the weather: what follows is mending.
    assert SMALL.minutes * 60 < result.virtual_seconds < SMALL.minutes * 60 + 900


def test_history_is_let_go():
    """A simulated hour would else hold gigabytes of it."""

    async def main(clock: VirtualClock) -> None:
        storage = MemoryStorage()
        async with simulated(Setup(seed=1), clock, storage) as cluster:
            for number in range(5):
                await cluster.nodes.add(f"node-{number}")
            seen = storage.revision
            await asyncio.sleep(600)
            assert storage.revision - seen > 250
            with pytest.raises(Compacted):
                await storage.history("", storage.revision - 50)

    run_virtually(main)


def test_a_broken_law_is_told_when_it_is_broken(monkeypatch: pytest.MonkeyPatch):
    def too_strict(laws: Laws, pod: Pod) -> None:
        laws.tell(f"{pod.key} is there")

    monkeypatch.setattr(Laws, "_check_namespace", too_strict)
    told: list[str] = []
    result = run(Options(nodes=3, pods=4, minutes=0, seed=1), told.append)
    assert not result.sound and result.violations
    assert sum("a law is broken: /registry/core/pods/" in line for line in told) == len(result.violations)


def test_pods_on_a_machine_that_died_do_not_hold_a_quota_for_ever():
    async def main(clock: VirtualClock) -> tuple[Laws, int, int]:
        laws = Laws()
        async with simulated(Setup(seed=1), clock, MemoryStorage(laws)) as cluster:
            await cluster.start_controllers()
            await cluster.start_scheduler()
            for number in range(3):
                await cluster.nodes.add(f"node-{number}")
            await cluster.admin.create(RESOURCEQUOTAS, quota(6), "default")
            await asyncio.sleep(10)
            await cluster.admin.create(DEPLOYMENTS, deployment("web", 6), "default")
            await asyncio.sleep(30)
            cluster.nodes.fail("node-0")
            await asyncio.sleep(600)
            pods = await cluster.list(PODS, "default")
            ready = sum(
                c["type"] == "Ready" and c["status"] == "True" for pod in pods for c in pod["status"]["conditions"]
            )
            return laws, len(pods), ready

    laws, there, ready = run_virtually(main)
    assert there > 6 == ready
    assert laws.violations == []


def in_another_process(hash_seed: str, seed: int) -> dict:
    """What `shirube simulate` says there."""
    options = ["--nodes", "5", "--pods", "30", "--minutes", "1", "--seed", str(seed), "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "shirube", "simulate", *options],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        timeout=300,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_same_seed_gives_the_same_history_whatever_the_hashes():
    first, second = in_another_process("1", 7), in_another_process("2", 7)
    assert first["sound"] and first["commits"] == second["commits"]
    assert first["digest"] == second["digest"]


def test_another_seed_gives_another_history():
    calm = Options(nodes=3, pods=4, minutes=0, seed=1)
    assert run(calm).digest == run(calm).digest != run(replace(calm, seed=2)).digest


@pytest.mark.parametrize("change", [{"revision": 3}, {"key": "/b"}, {"value": b"2"}, {"kind": "DELETE"}])
def test_histories_that_differ_have_different_digests(change: dict):
    event = Event("PUT", "/a", b"1", 2, 2, None)
    one, other = History(keep=True), History()
    one([event])
    other([event._replace(**change)])
    assert one.digest != other.digest
    assert one.lines == ["2 PUT /a 1"]
