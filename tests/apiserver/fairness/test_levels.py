"""Seats: who runs, who waits, who is sent away, and what levels lend to one another."""

from __future__ import annotations

import asyncio

import pytest

from shirube.apiserver.fairness import levels
from shirube.apiserver.fairness.levels import Levels, Refused
from shirube.foundation import tasks


def level(name, shares, *, lendable=0, borrowing=None, queues=4, hand=2, length=2, kind="Queue"):
    queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": length}
    response = {"type": "Queue", "queuing": queuing} if kind == "Queue" else {"type": kind}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
    if borrowing is not None:
        limited["borrowingLimitPercent"] = borrowing
    return {"metadata": {"name": name, "uid": name}, "spec": {"type": "Limited", "limited": limited}}


def made(seats, *objects):
    all_levels = Levels(seats)
    all_levels.update(objects)
    return all_levels, *(all_levels.by_name[o["metadata"]["name"]] for o in objects)


def take(all_levels, level, count):
    """How many of so many requests get a seat at once."""
    return sum(all_levels.try_take(level) is not None for _ in range(count))


def test_seats_follow_shares_and_idle_ones_are_lent():
    all_levels, a, b = made(10, level("a", 5), level("b", 5, lendable=60))
    assert (a.nominal, b.nominal, b.lower_limit) == (5, 5, 2)
    assert all_levels.limit(a) == 8
    assert take(all_levels, a, 10) == 8
    # What b has not lent it has still.
    assert take(all_levels, b, 2) == 2


def test_what_may_be_borrowed_is_limited():
    all_levels, a, _ = made(10, level("a", 5, borrowing=20), level("b", 5, lendable=100))
    assert take(all_levels, a, 10) == 6


def test_who_needs_his_seats_gets_them_back():
    all_levels, a, b = made(10, level("a", 5), level("b", 5, lendable=100))
    seated = [all_levels.try_take(a) for _ in range(10)]
    assert all(seated)
    # seats are counted, not owned: b runs with what is its own, a gets no more until it is back below its share
    assert take(all_levels, b, 5) == 5
    for one in seated[:5]:
        all_levels.give_back(one)
    assert take(all_levels, a, 1) == 0
    all_levels.give_back(seated[5])
    assert take(all_levels, a, 1) == 1


async def test_wide_requests_take_several_seats():
    all_levels, a = made(10, level("a", 1))
    assert a.widest == 1
    wide = all_levels.try_take(a, 7)
    assert a.seats == 7 and all_levels.try_take(a, 4) is None
    assert take(all_levels, a, 5) == 3
    all_levels.give_back(wide)
    assert a.seats == 3 and a.running == 3


async def test_one_that_is_wider_than_the_level_runs_alone():
    all_levels, a = made(3, level("a", 1))
    assert all_levels.try_take(a, 9) is not None
    assert take(all_levels, a, 1) == 0


async def test_who_finds_no_seat_waits_its_turn():
    all_levels, a = made(1, level("a", 1))
    first = all_levels.try_take(a)
    order = []

    async def one(flow):
        seated = await all_levels.wait(a, flow)
        order.append(flow)
        all_levels.give_back(seated)

    waiting = [tasks.spawn(one(flow), name=flow) for flow in ("x", "x", "y")]
    while a.waiting < 3:
        await asyncio.sleep(0)
    assert all_levels.try_take(a) is None
    all_levels.give_back(first)
    await asyncio.gather(*waiting)
    assert sorted(order) == ["x", "x", "y"] and a.running == a.seats == a.waiting == len(a.queues) == 0


async def test_full_queues_and_rejecting_levels_send_away():
    all_levels, a, r = made(1, level("a", 1, queues=1, hand=1, length=1), level("r", 0, kind="Reject"))
    held = all_levels.try_take(a)
    first = tasks.spawn(all_levels.wait(a, "x"), name="first")
    await asyncio.sleep(0)
    for one, reason in ((a, "queue-full"), (r, "concurrency-limit")):
        with pytest.raises(Refused, match=reason):
            await all_levels.wait(one, "x")
    await tasks.cancel(first)
    assert a.waiting == 0
    all_levels.give_back(held)
    assert all_levels.try_take(a) is not None


async def test_nobody_waits_for_ever(monkeypatch):
    monkeypatch.setattr(levels, "MAX_WAIT", 0.01)
    all_levels, a = made(1, level("a", 1))
    assert all_levels.try_take(a) is not None
    with pytest.raises(Refused, match="time-out"):
        await all_levels.wait(a, "x")
    assert a.waiting == len(a.queues) == 0


async def test_a_client_that_goes_away_when_its_turn_has_come_leaves_the_seat():
    all_levels, a = made(1, level("a", 1))
    held = all_levels.try_take(a)
    waiting = tasks.spawn(all_levels.wait(a, "x"), name="waiting")
    await asyncio.sleep(0)
    all_levels.give_back(held)  # its turn
    assert a.seats == 1
    await tasks.cancel(waiting)
    assert a.seats == a.running == 0


async def test_seats_that_were_lent_go_back_to_who_waits():
    all_levels, a, b = made(2, level("a", 1), level("b", 1, lendable=100))
    mine, lent = all_levels.try_take(a), all_levels.try_take(a)
    assert lent is not None
    own = all_levels.try_take(b)
    waiting = tasks.spawn(all_levels.wait(b, "x"), name="waiting")
    await asyncio.sleep(0)
    all_levels.give_back(lent)
    all_levels.give_back(own)
    async with asyncio.timeout(60):
        seated = await waiting
    assert (a.seats, b.seats) == (1, 1)
    all_levels.give_back(seated)
    all_levels.give_back(mine)


async def test_a_level_that_is_changed_keeps_who_is_in_it():
    all_levels, a = made(1, level("a", 1))
    held = all_levels.try_take(a)
    waiting = tasks.spawn(all_levels.wait(a, "x"), name="waiting")
    await asyncio.sleep(0)
    all_levels.update([level("a", 1, queues=1, hand=1, length=0)])
    assert all_levels.by_name["a"] is a and a.waiting == 1
    all_levels.give_back(held)
    all_levels.give_back(await waiting)
    assert a.seats == 0
