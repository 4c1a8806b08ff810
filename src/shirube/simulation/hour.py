"""A simulated stretch of a cluster's life, from an empty store to a converged world: what `shirube simulate` runs.

    result = run(Options(nodes=1000, pods=30000, minutes=60, seed=1), progress=print)

Begin with nodes and a world of workloads; when they run, let the weather have its time; then mend what is broken, wait
until everything has converged, and tell whether every law held. The same options give the same history, to the byte.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shirube.api.gvr import PODS
from shirube.foundation.process import give_back_memory
from shirube.foundation.tasks import cancel, spawn
from shirube.simulation.cluster import Cluster, Setup, simulated
from shirube.simulation.convergence import unfinished
from shirube.simulation.history import History
from shirube.simulation.hollow import POD_CAPACITY, Pace
from shirube.simulation.laws import Laws
from shirube.simulation.virtual_time import VirtualClock
from shirube.simulation.virtual_time import run as run_virtually
from shirube.simulation.weather import Weather
from shirube.simulation.world import ZONES, furnish
from shirube.storage.memory import MemoryStorage
from shirube.storage.types import Event

_START_SECONDS, _END_SECONDS = 1800.0, 3600.0  # for everything to run, and for everything to converge
_STEP_SECONDS = 10.0
_EVENT_SECONDS = 600.0  # as a large cluster's: with upstream's hour they would be most of what there is
_REPORT_SECONDS = 60.0
_PODS_A_NODE = 90  # asked for at first


@dataclass(frozen=True, slots=True)
class Options:
    nodes: int = 100
    pods: int = 2000
    minutes: float = 10.0
    seed: int = 1
    pace: Pace = field(default_factory=Pace)

    def misfit(self) -> str:
        """Why such an hour cannot converge, and what to ask for instead; "" where it can."""
        if self.pods <= self.nodes * _PODS_A_NODE:
            return ""
        return (
            f"cannot simulate {self.pods} pods on {self.nodes} nodes: a hollow node holds {POD_CAPACITY}, and "
            f"rollouts, load and failures need some of it; ask for {self.nodes * _PODS_A_NODE} pods or fewer, or for "
            f"{-(-self.pods // _PODS_A_NODE)} nodes or more"
        )


@dataclass(slots=True)
class Result:
    options: Options
    digest: str = ""
    commits: int = 0
    checks: int = 0
    pods: int = 0
    virtual_seconds: float = 0.0
    real_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0  # bytes, of the whole process
    happened: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.violations and not self.unfinished


def run(options: Options, progress: Callable[[str], None] = lambda _: None) -> Result:
    """Blocks until the simulation is over."""
    return run_virtually(lambda clock: _Hour(options, clock, progress).run())


class _Hour:
    def __init__(self, options: Options, clock: VirtualClock, progress: Callable[[str], None]) -> None:
        self._options, self._clock, self._tell = options, clock, progress
        self._began, self._cpu = time.monotonic(), time.process_time()
        self._told = 0  # violations
        self._history, self._laws = History(), Laws()
        self._result = Result(options)

    def _commit(self, events: Sequence[Event]) -> None:
        self._history(events)
        self._laws(events)

    async def run(self) -> Result:
        setup = Setup(seed=self._options.seed, pace=self._options.pace, event_ttl=_EVENT_SECONDS)
        async with simulated(setup, self._clock, MemoryStorage(self._commit)) as cluster:
            reports = spawn(self._report(), name="progress")
            try:
                await self._live(cluster)
            finally:
                await cancel(reports)
            self._result.pods = await cluster.count(PODS)
        return self._close()

    def _close(self) -> Result:
        result = self._result
        result.digest, result.commits = self._history.digest, self._history.commits
        result.checks, result.violations = self._laws.checks, self._laws.violations
        result.virtual_seconds = self._clock.monotonic()
        result.real_seconds = time.monotonic() - self._began
        result.cpu_seconds = time.process_time() - self._cpu
        result.peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return result

    async def _live(self, cluster: Cluster) -> None:
        options = self._options
        await cluster.start_controllers()
        await cluster.start_scheduler()
        await _add_nodes(cluster, options.nodes)
        self._say(f"{options.nodes} nodes")
        world = await furnish(cluster.admin, cluster.chance("world"), options.pods, options.nodes)
        left = await self._converge(cluster, _START_SECONDS, jobs=False)
        self._say(f"{world.pods} pods asked for, {len(left)} things unfinished")
        weather = Weather(cluster, world, options.nodes, self._laws)
        await weather.run(options.minutes * 60)
        self._result.happened = dict(weather.happened)
        self._say("the weather is over: " + ", ".join(f"{n} {name}" for name, n in weather.happened.items()))
        self._result.unfinished = await self._converge(cluster, _END_SECONDS)
        self._tell_broken()
        self._say("converged" if not self._result.unfinished else f"{len(self._result.unfinished)} things unfinished")

    async def _converge(self, cluster: Cluster, seconds: float, *, jobs: bool = True) -> list[str]:
        """Wait for it; what is left when the time is over."""
        deadline = self._clock.monotonic() + seconds
        while True:
            await asyncio.sleep(_STEP_SECONDS)
            cluster.check_alive()
            give_back_memory()
            left = await unfinished(cluster, jobs=jobs)
            if not left or self._clock.monotonic() > deadline:
                return left

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            self._say(f"{self._history.commits} commits, {self._laws.checks} checks")
            self._tell_broken()
            give_back_memory()

    def _tell_broken(self) -> None:
        for text in self._laws.violations[self._told :]:
            self._say(f"a law is broken: {text}")
        self._told = len(self._laws.violations)

    def _say(self, what: str) -> None:
        minutes, seconds = divmod(int(self._clock.monotonic()), 60)
        cpu = time.process_time() - self._cpu
        self._tell(f"{minutes:3d}:{seconds:02d}  {cpu:6.1f} s of processor  {what}")


async def _add_nodes(cluster: Cluster, count: int) -> None:
    chance = cluster.chance("nodes")
    sizes: tuple[dict[str, Any], ...] = ({"cpu": "8", "memory": "32Gi"}, {"cpu": "16", "memory": "64Gi"})
    for number in range(count):
        labels = {"topology.kubernetes.io/zone": f"zone-{number % ZONES}"}
        await cluster.nodes.add(f"node-{number}", labels=labels, **chance.choice(sizes))
