from __future__ import annotations

import asyncio

import pytest

from shirube.client.work_queue import RateLimiter, ShutDown, WorkQueue
from shirube.foundation.clock import ManualClock
from shirube.foundation.tasks import spawn


async def test_a_key_added_twice_is_taken_once():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_comes_back_after_done():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    assert len(queue) == 0, "never to two workers at a time"
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert queue.idle


async def test_delayed_keys_come_in_order_and_the_earliest_delay_counts():
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("late", 0.06)
    queue.add_after("soon", 0.02)
    queue.add_after("late", 0.5)
    queue.add_after("moved", 5.0)
    queue.add_after("moved", 0.04)
    async with asyncio.timeout(60):
        assert [await queue.get() for _ in range(3)] == ["soon", "moved", "late"]
    queue.shut_down()


async def test_a_cancelled_getter_passes_its_wake_up_on():
    queue: WorkQueue[str] = WorkQueue()
    first = spawn(queue.get(), name="first")
    second = spawn(queue.get(), name="second")
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    async with asyncio.timeout(60):
        assert await second == "a"
    assert first.cancelled()


async def test_shut_down_hands_out_what_is_left():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add_after("b", 10)
    queue.shut_down()
    queue.add("c")
    assert await queue.get() == "a"
    with pytest.raises(ShutDown):
        await queue.get()


def test_failures_double_the_wait_up_to_the_maximum():
    limiter: RateLimiter[str] = RateLimiter(clock=ManualClock())
    waits = [limiter.when("a") for _ in range(20)]
    assert waits[:4] == [0.005, 0.01, 0.02, 0.04]
    assert waits[-1] == 1000.0
    limiter.forget("a")
    assert limiter.when("a") == 0.005


def test_the_overall_bucket_slows_a_storm_of_keys():
    clock = ManualClock()
    limiter: RateLimiter[int] = RateLimiter(clock=clock)
    waits = [limiter.when(n) for n in range(120)]
    assert waits[:100] == [0.005] * 100
    assert waits[119] == pytest.approx(2.0)
    clock.advance(60)
    assert limiter.when(999) == 0.005
