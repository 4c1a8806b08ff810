"""Lives of a small cluster on virtual time, in which laws are attacked with chance.

A test draws a seed, what people do, and where one controller dies; `live` plays it and lets `Laws`, which hears of
every commit, and the test's own ear judge. Eight examples a law in every run of the tests; to search on, for hours:

    SHIRUBE_HYPOTHESIS=search SHIRUBE_EXAMPLES=2000 pytest tests/simulation -k laws
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from shirube.foundation.tasks import cancel, spawn
from shirube.simulation.cluster import Cluster, Setup, simulated
from shirube.simulation.convergence import unfinished
from shirube.simulation.hollow import Pace
from shirube.simulation.laws import Laws
from shirube.simulation.virtual_time import VirtualClock, run
from shirube.simulation.wire import Death, Process
from shirube.storage.memory import MemoryStorage
from shirube.storage.types import Event

EXAMPLES = int(os.environ.get("SHIRUBE_EXAMPLES", "8"))
ATTACK = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
PACE = Pace(start=(0.1, 2.0), end=(0.1, 1.0))
SEEDS = st.integers(0, 10_000)

Tell = Callable[[Sequence[Event]], None]
Life = Callable[[Cluster, Laws], Awaitable[None]]


def deaths(most: int, *, times: int = 3) -> st.SearchStrategy[list[Death]]:
    """A controller's ends: at which of its writes it dies, and its successors after it."""
    return st.lists(st.builds(Death, st.integers(1, most), st.booleans()), max_size=times)


def acts_of(kinds: Sequence[str], pause: float) -> st.SearchStrategy[list[tuple[str, int, int, float]]]:
    """What hands do: the kind of act, to which object, a value, and the seconds before it, at most `pause`."""
    pauses = st.one_of(st.floats(0.0, 0.2), st.floats(0.0, pause))
    act = st.tuples(st.sampled_from(kinds), st.integers(0, 40), st.integers(0, 11), pauses)
    return st.lists(act, min_size=3, max_size=14)


def live(
    seed: int,
    life: Life,
    *,
    nodes: int = 3,
    dying: str = "",
    deaths: Sequence[Death] = (),
    hear: Tell | None = None,
    judged: bool = True,
) -> None:
    """A small cluster lives through `life`; no law may be broken. `dying` names a controller that dies so often. Not
    `judged` are lives in which people break the laws themselves."""
    laws = Laws()

    def commit(events: Sequence[Event]) -> None:
        laws(events)
        if hear is not None:
            hear(events)

    async def main(clock: VirtualClock) -> None:
        async with simulated(Setup(seed=seed, pace=PACE), clock, MemoryStorage(commit)) as cluster:
            await cluster.start_controllers([e for e in cluster.entries() if e.name != dying])
            await cluster.start_scheduler()
            for number in range(nodes):
                await cluster.nodes.add(f"node-{number}")
            await asyncio.sleep(5)
            rising = spawn(_rise_again(cluster, dying, deaths), name="rise-again")
            try:
                await life(cluster, laws)
                if rising.done():
                    rising.result()
            finally:
                await cancel(rising)
            cluster.check_alive()

    run(main)
    assert not judged or laws.violations == []


async def _rise_again(cluster: Cluster, name: str, deaths: Sequence[Death]) -> None:
    """The controller, and each time that it has died its successor."""
    entries = [e for e in cluster.entries() if e.name == name]
    for number, death in enumerate((*deaths, None)):
        process = Process(f"mortal-{number}", death)
        mortal = await cluster.start_controllers(entries, process)
        await process.dead.wait()
        await cluster.stop(mortal)
        await asyncio.sleep(1)


async def converged(cluster: Cluster, seconds: float = 900) -> None:
    left: list[str] = ["never looked"]
    deadline = cluster.clock.monotonic() + seconds
    while left and cluster.clock.monotonic() < deadline:
        await asyncio.sleep(5)
        left = await unfinished(cluster)
    assert left == []


def changes(events: Sequence[Event], resource: str) -> list[tuple[str, dict[str, Any] | None]]:
    """(key, object; None when it is gone) of what was committed to a resource, `core/pods` or the like."""
    prefix = f"/registry/{resource}/"
    return [(e.key, orjson.loads(e.value) if e.kind == "PUT" else None) for e in events if e.key.startswith(prefix)]
