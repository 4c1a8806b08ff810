"""Virtual time: nobody waits, nothing depends on threads, and what would wait for ever is told."""

from __future__ import annotations

import asyncio
import time

import pytest

from shirube.simulation.virtual_time import EPOCH, Stalled, VirtualClock, VirtualLoop, run


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


def test_timers_of_one_moment_fire_in_the_order_in_which_they_were_set():
    async def main(clock: VirtualClock) -> list[int]:
        fired: list[int] = []
        loop = asyncio.get_running_loop()
        timers = [loop.call_at(5.0, fired.append, n) for n in range(50)]
        for timer in timers[::3]:
            timer.cancel()
        await asyncio.sleep(6)
        return fired

    assert run(main) == [n for n in range(50) if n % 3]


def test_time_limits_that_nobody_needed_take_no_room():
    async def main(clock: VirtualClock) -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        most = 0
        for _ in range(20_000):
            async with asyncio.timeout(60):
                await asyncio.sleep(0.0001)
            most = max(most, loop.timers)
        return most

    assert run(main) < 3000


def test_a_callback_that_fails_is_told_and_the_others_go_on():
    async def main(clock: VirtualClock) -> tuple[list[str], list[str]]:
        told: list[str] = []
        done: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(repr(context["exception"])))
        loop.call_soon(lambda: 1 // 0)
        loop.call_soon(done.append, "next")
        loop.call_soon(done.append, "cancelled").cancel()
        await asyncio.sleep(1)
        return told, done

    told, done = run(main)
    assert done == ["next"] and len(told) == 1 and "ZeroDivisionError" in told[0]


def test_who_is_busy_without_end_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shirube.simulation.virtual_time._MOST_TURNS", 1000)

    async def main(clock: VirtualClock) -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stalled, match="time stands still"):
        run(main)


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
