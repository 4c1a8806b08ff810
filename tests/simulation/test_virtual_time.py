"""Virtual time: nobody waits, nothing depends on threads, and what would wait for ever is told."""

from __future__ import annotations

import asyncio
import time

import pytest

from shirube.simulation.virtual_time import EPOCH, Stalled, VirtualClock, run


def test_a_day_passes_at_once():
    async def main(clock: VirtualClock) -> tuple[float, float]:
        await asyncio.sleep(86_400)
        return clock.monotonic(), clock.now()

    began = time.monotonic()
    monotonic, now = run(main)
    assert monotonic == pytest.approx(86_400, abs=0.001)
    assert now == pytest.approx(EPOCH + 86_400, abs=0.001)
    assert time.monotonic() - began < 60


def test_timers_fire_in_order_and_never_early():
    async def main(clock: VirtualClock) -> list[tuple[str, bool]]:
        fired: list[tuple[str, bool]] = []

        async def wait(name: str, seconds: float) -> None:
            due = clock.monotonic() + seconds
            await asyncio.sleep(seconds)
            fired.append((name, clock.monotonic() >= due))

        await asyncio.gather(wait("c", 3.3), wait("a", 0.1), wait("b", 0.2))
        return fired

    assert run(main) == [("a", True), ("b", True), ("c", True)]


def test_time_stands_still_while_there_is_work():
    async def main(clock: VirtualClock) -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return clock.monotonic()

    assert run(main) == 0.0


def test_work_for_threads_is_done_here():
    async def main(clock: VirtualClock) -> tuple[int, str]:
        value = await asyncio.to_thread(lambda: 42)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return value, f"{clock.monotonic():.6f}"

    assert run(main) == (42, "0.000000")


def test_a_deadlock_is_told():
    async def main(clock: VirtualClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stalled, match="no timer"):
        run(main)
