"""Seats and queues: who runs, who waits, who is sent away."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.apiserver.fairness import levels
from shirube.apiserver.fairness.levels import Levels, hand_of
from shirube.foundation import tasks


def level(name, shares, *, lendable=0, queues=4, hand=2, length=2, kind="Queue"):
    queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": length}
    response = {"type": "Queue", "queuing": queuing} if kind == "Queue" else {"type": kind}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
    return {"metadata": {"name": name, "uid": name}, "spec": {"type": "Limited", "limited": limited}}


@given(st.text(), st.integers(1, 200), st.integers(1, 12))
def test_a_hand_is_of_different_queues_and_always_the_same(flow, queues, size):
    hand = hand_of(flow, queues, size)
    assert hand == hand_of(flow, queues, size)
    assert len(set(hand)) == len(hand) == min(size, queues)
    assert all(0 <= n < queues for n in hand)


def test_seats_follow_shares_and_idle_ones_are_lent():
    all_levels = Levels(10)
    all_levels.update([level("a", 5), level("b", 5, lendable=60)])
    a, b = all_levels.by_name["a"], all_levels.by_name["b"]
    assert (a.nominal, b.nominal) == (5, 5)
    assert [all_levels.try_take(a) for _ in range(9)] == [True] * 8 + [False]
    # What b has not lent it has still.
    assert [all_levels.try_take(b) for _ in range(2)] == [True, True]


async def test_who_finds_no_seat_waits_its_turn():
    all_levels = Levels(1)
    all_levels.update([level("a", 1)])
    a = all_levels.by_name["a"]
    assert all_levels.try_take(a)
    order = []

    async def one(flow):
        await all_levels.wait(a, flow)
        order.append(flow)
        all_levels.give_back(a)

    waiting = [tasks.spawn(one(flow), name=flow) for flow in ("x", "x", "y")]
    while a.waiting < 3:
        await asyncio.sleep(0)
    assert not all_levels.try_take(a)
    all_levels.give_back(a)
    await asyncio.gather(*waiting)
    assert sorted(order) == ["x", "x", "y"] and a.running == a.waiting == 0 and not a.queues


async def test_full_queues_and_rejecting_levels_answer_429():
    all_levels = Levels(1)
    all_levels.update([level("a", 1, queues=1, hand=1, length=1), level("r", 0, kind="Reject")])
    a = all_levels.by_name["a"]
    assert all_levels.try_take(a)
    first = tasks.spawn(all_levels.wait(a, "x"), name="first")
    await asyncio.sleep(0)
    for name in ("a", "r"):
        with pytest.raises(ApiError) as refused:
            await all_levels.wait(all_levels.by_name[name], "x")
        assert refused.value.code == 429 and refused.value.headers == {"Retry-After": "1"}
    await tasks.cancel(first)
    assert a.waiting == 0
    all_levels.give_back(a)
    assert all_levels.try_take(a)


async def test_nobody_waits_for_ever(monkeypatch):
    monkeypatch.setattr(levels, "MAX_WAIT", 0.01)
    all_levels = Levels(1)
    all_levels.update([level("a", 1)])
    a = all_levels.by_name["a"]
    assert all_levels.try_take(a)
    with pytest.raises(ApiError):
        await all_levels.wait(a, "x")
    assert (a.waiting, a.rejected) == (0, 1)
