"""A controller dies between any two of its writes; its successor must come to the same result.

A `Scenario` is a story in steps: what people do, one after another. `baseline` plays it without any crash and counts
the writes of one controller. `crash` plays it again while that controller, a process of its own, dies at a given write,
which was not sent, or took effect while its answer was lost. It is started again (its queues, expectations and caches
are gone) and the story goes on. Results are compared by `normal`, and no law (`laws`) may be broken on the way.

The rest of the table, the scheduler and hollow nodes run beside it and do not die. A step is over when nothing
but Leases and Events has been written for the scenario's `quiet` seconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from shirube.controllers.table import Row
from shirube.foundation.tasks import cancel, spawn
from shirube.simulation.cluster import Cluster, Running, Setup, simulated
from shirube.simulation.hollow import Pace
from shirube.simulation.laws import Laws
from shirube.simulation.normal import difference, normal
from shirube.simulation.virtual_time import VirtualClock
from shirube.simulation.virtual_time import run as run_virtually
from shirube.simulation.wire import Death, Process
from shirube.storage.memory import MemoryStorage
from shirube.storage.types import Event

Step = Callable[[Cluster], Awaitable[None]]

_LONGEST_SECONDS = 1800.0  # of a step
_RESTART_SECONDS = 1.0
_QUIET_KEYS = ("/registry/core/events/", "/registry/coordination.k8s.io/leases/", "/registry/masterleases/")
PACE = Pace(start=(0.2, 0.6), end=(0.1, 0.3), run=(2.0, 4.0))


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    controllers: tuple[str, ...]  # whose crashes it shows
    steps: Sequence[Step]
    quiet: float = 12.0
    nodes: int = 3  # whose Leases make long stories slow


class Outcome(NamedTuple):
    world: list[str]
    writes: int
    violations: list[str]


@dataclass(slots=True)
class Verdict:
    """What came of one controller's crashes in one scenario."""

    scenario: str
    controller: str
    writes: int = 0
    crashes: int = 0
    failures: list[str] = field(default_factory=list)


class NeverQuiet(Exception):
    """A step did not come to rest."""


class _Stage:
    """One play of a scenario."""

    def __init__(self, setup: Setup, clock: VirtualClock, scenario: Scenario, controller: str) -> None:
        self._setup, self._clock, self._scenario, self._controller = setup, clock, scenario, controller
        self._last_write = 0.0
        self._last_keys: deque[str] = deque(maxlen=5)
        self._laws = Laws()

    def _commit(self, events: list[Event]) -> None:
        self._laws(events)
        loud = [event.key for event in events if not event.key.startswith(_QUIET_KEYS)]
        if loud:
            self._last_write = self._clock.monotonic()
            self._last_keys.extend(loud)

    async def play(self, death: Death | None) -> Outcome:
        async with self._world() as cluster:
            process = Process("under-test", death)
            first = await cluster.start_controllers(self._tested(cluster), process)
            rising = spawn(self._rise_again(cluster, first), name="rise-again")
            try:
                for number, step in enumerate(self._scenario.steps):
                    await step(cluster)
                    await self._rest(cluster, number)
                    if rising.done():
                        rising.result()
            finally:
                await cancel(rising)
            items = (await cluster.storage.range("/")).items
            return Outcome(normal(items), process.writes, self._laws.violations)

    def _tested(self, cluster: Cluster) -> list[Row]:
        return [e for e in cluster.entries() if e.name == self._controller]

    async def _rise_again(self, cluster: Cluster, first: Running) -> None:
        """When the controller has died, start its successor."""
        await first.process.dead.wait()
        await cluster.stop(first)
        await asyncio.sleep(_RESTART_SECONDS)
        await cluster.start_controllers(self._tested(cluster), Process("successor"))
        self._last_write = self._clock.monotonic()

    @asynccontextmanager
    async def _world(self) -> AsyncIterator[Cluster]:
        async with simulated(self._setup, self._clock, MemoryStorage(self._commit)) as cluster:
            others = [e for e in cluster.entries() if e.name != self._controller]
            await cluster.start_controllers(others)
            await cluster.start_scheduler()
            for number in range(self._scenario.nodes):
                await cluster.nodes.add(f"node-{number}")
            yield cluster

    async def _rest(self, cluster: Cluster, number: int) -> None:
        """Until the step is over."""
        deadline = self._clock.monotonic() + _LONGEST_SECONDS
        self._last_write = self._clock.monotonic()
        while self._clock.monotonic() - self._last_write < self._scenario.quiet:
            await asyncio.sleep(0.5)
            if self._clock.monotonic() > deadline:
                last = ", ".join(self._last_keys)
                raise NeverQuiet(f"step {number + 1} did not come to rest in {_LONGEST_SECONDS:.0f} s: {last}")
            cluster.check_alive()


def play(scenario: Scenario, controller: str, death: Death | None = None, setup: Setup | None = None) -> Outcome:
    """Raises NeverQuiet."""
    chosen = setup or Setup(pace=PACE)
    return run_virtually(lambda clock: _Stage(chosen, clock, scenario, controller).play(death))


def deaths(writes: int) -> list[Death]:
    return [Death(write, applied) for write in range(1, writes + 1) for applied in (False, True)]


def judge(
    scenario: Scenario,
    controller: str,
    *,
    setup: Setup | None = None,
    choose: Callable[[list[Death]], list[Death]] = lambda all_of_them: all_of_them,
) -> Verdict:
    """Play the scenario without a crash, then once with each that is chosen."""
    verdict = Verdict(scenario.name, controller)
    expected = play(scenario, controller, setup=setup)
    verdict.writes = expected.writes
    verdict.failures += [f"no crash: {text}" for text in expected.violations]
    for death in choose(deaths(expected.writes)):
        verdict.crashes += 1
        when = f"write {death.write} {'took effect, answer lost' if death.applied else 'not sent'}"
        try:
            found = play(scenario, controller, death, setup)
        except NeverQuiet as error:
            verdict.failures.append(f"{when}: {error}")
            continue
        verdict.failures += [f"{when}: {text}" for text in found.violations]
        if found.world != expected.world:
            verdict.failures.append("\n".join([f"{when}:", *difference(expected.world, found.world)]))
    return verdict
