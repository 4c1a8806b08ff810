"""Whose turn it is: hands of queues, and turns in proportion to what was used."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shirube.apiserver.fairness.queues import Queues, Waiting, hand_of


@given(st.text(), st.integers(1, 200), st.integers(1, 12))
def test_a_hand_is_of_different_queues_and_always_the_same(flow, queues, size):
    hand = hand_of(flow, queues, size)
    assert hand == hand_of(flow, queues, size)
    assert len(set(hand)) == len(hand) == min(size, queues)
    assert all(0 <= n < queues for n in hand)


def test_hands_are_dealt_evenly():
    dealt = Counter(n for flow in range(2000) for n in hand_of(f"flow{flow}", 64, 6))
    assert len(dealt) == 64
    assert max(dealt.values()) < 2 * min(dealt.values())


class Line:
    """Requests of flows, served one at a time."""

    def __init__(self, count=64, hand=8, length=50):
        self.queues = Queues(count, hand, length)
        self.flows = {}

    def join(self, flow, seats=1, times=1):
        joined = []
        for _ in range(times):
            queue = self.queues.place(flow)
            if queue is None:
                break
            request = Waiting(seats, lambda: True)
            self.flows[id(request)] = (flow, request)
            self.queues.join(queue, request)
            joined.append(request)
        return len(joined)

    def serve(self, times, seconds=0.01):
        served = []
        for _ in range(times):
            request = self.queues.head()
            self.queues.take(request)
            self.queues.finished(request.queue, request.seats, seconds)
            served.append(self.flows[id(request)][0])
        return Counter(served)


def test_a_flood_fills_only_its_own_queues():
    queue = Line(length=5)
    assert queue.join("flood", times=1000) == 8 * 5
    # of the others most find a queue that the flood is not in
    found = sum(queue.join(f"other{n}") for n in range(100))
    assert found == 100


def test_flows_take_turns_whatever_the_length_of_their_queues():
    queue = Line(count=2, hand=1, length=1000)
    a, b = _apart()
    queue.join(a, times=500)
    queue.join(b, times=20)
    served = queue.serve(40)
    assert abs(served[a] - served[b]) <= 2


def test_wide_requests_use_up_their_turns():
    queue = Line(count=2, hand=1, length=1000)
    a, b = _apart()
    queue.join(a, seats=4, times=100)
    queue.join(b, seats=1, times=100)
    served = queue.serve(50)
    assert 3 <= served[b] / served[a] <= 5


def test_a_flow_that_was_away_has_saved_up_nothing():
    queue = Line(count=2, hand=1, length=1000)
    a, b = _apart()
    queue.join(a, times=200)
    queue.serve(100)
    queue.join(b, times=100)
    served = queue.serve(40)
    assert abs(served[a] - served[b]) <= 2


def _apart():
    """Two flows that are dealt different queues of two."""
    first = "a"
    return first, next(f"b{n}" for n in range(100) if hand_of(f"b{n}", 2, 1) != hand_of(first, 2, 1))


def test_a_queue_is_left():
    queues = Queues(4, 2, 10)
    request = Waiting(1, lambda: True)
    queues.join(queues.place("x"), request)
    assert (queues.waiting, queues.head()) == (1, request)
    queues.leave(request)
    assert (queues.waiting, len(queues), queues.head()) == (0, 0, None)
    queues.leave(request)  # once is enough
    assert queues.waiting == 0


def test_levels_that_do_not_queue_have_no_place():
    assert Queues(0, 0, 0).place("x") is None
