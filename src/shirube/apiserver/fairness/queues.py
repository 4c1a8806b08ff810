"""Fair queues of one priority level: whose turn it is among flows that ask for more than there is. No I/O, no clock.

A flow is dealt a hand of a few queues (shuffle sharding) and joins the shortest, so a flood fills few queues and others
pass it by. Turns follow start-time fair queueing: each queue has a virtual time that moves on by what its requests cost
(seats times seconds), and the one that is furthest behind goes next; a queue that was empty begins at the level's own
time, so nobody saves up turns. A request is charged a guess when it starts and the difference when it ends.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

GUESS = 0.005  # seconds that a request is taken to last until it has


@dataclass(eq=False, slots=True)
class Waiting:
    """A request in a queue."""

    seats: int
    go: Callable[[], bool]  # tells it; False when it has gone away meanwhile
    queue: Queue | None = None


@dataclass(eq=False, slots=True)
class Queue:
    number: int
    requests: deque[Waiting] = field(default_factory=deque)
    seats: int = 0  # of those that wait
    running: int = 0  # requests
    start: float = 0.0  # virtual time at which its next request starts


class Queues:
    def __init__(self, count: int, hand: int, length: int) -> None:
        """`count` 0: nobody waits."""
        self.count, self.hand, self.length = count, hand, length
        self._queues: dict[int, Queue] = {}
        self._time = 0.0
        self.waiting = 0  # requests

    def configure(self, count: int, hand: int, length: int) -> None:
        """Those that wait in queues which are no more keep their turn."""
        self.count, self.hand, self.length = count, hand, length

    def place(self, flow: str) -> Queue | None:
        """The queue that a request of a flow may join; None when all of its hand are full."""
        if not self.count:
            return None
        best: Queue | None = None
        load = 0
        for number in hand_of(flow, self.count, self.hand):
            queue = self._queues.get(number)
            here = len(queue.requests) + queue.running if queue is not None else 0
            if queue is not None and len(queue.requests) >= self.length:
                continue
            if best is None or here < load:
                best, load = queue if queue is not None else Queue(number), here
        return best

    def join(self, queue: Queue, request: Waiting) -> None:
        known = self._queues.setdefault(queue.number, queue)
        if not known.requests and not known.running:
            known.start = max(known.start, self._time)
        request.queue = known
        known.requests.append(request)
        known.seats += request.seats
        self.waiting += 1

    def begin(self, queue: Queue, seats: int) -> None:
        """A request runs at once, without waiting: its flow's queue is charged all the same."""
        known = self._queues.setdefault(queue.number, queue)
        if not known.requests and not known.running:
            known.start = max(known.start, self._time)
        self._charge(known, seats)

    def head(self) -> Waiting | None:
        """Whose turn it is."""
        best: Queue | None = None
        for queue in self._queues.values():
            if queue.requests and (best is None or queue.start < best.start):
                best = queue
        return best.requests[0] if best is not None else None

    def take(self, request: Waiting) -> None:
        """It runs now."""
        queue = request.queue
        assert queue is not None
        queue.requests.remove(request)
        queue.seats -= request.seats
        self.waiting -= 1
        self._time = max(self._time, queue.start)
        self._charge(queue, request.seats)

    def _charge(self, queue: Queue, seats: int) -> None:
        queue.start += seats * GUESS
        queue.running += 1

    def finished(self, queue: Queue, seats: int, seconds: float) -> None:
        queue.running -= 1
        queue.start += seats * (seconds - GUESS)
        self._drop(queue)

    def leave(self, request: Waiting) -> None:
        """It no longer waits."""
        queue = request.queue
        if queue is not None and request in queue.requests:
            queue.requests.remove(request)
            queue.seats -= request.seats
            self.waiting -= 1
            self._drop(queue)

    def _drop(self, queue: Queue) -> None:
        # What it owes is remembered as long as it is ahead of the others.
        if not queue.requests and not queue.running and queue.start <= self._time:
            self._queues.pop(queue.number, None)
        elif not self.waiting and not any(q.running for q in self._queues.values()):
            self._queues.clear()
            self._time = 0.0

    def __len__(self) -> int:
        """Queues that are in use."""
        return len(self._queues)


def hand_of(flow: str, queues: int, size: int) -> list[int]:
    """The queues that a flow is dealt: the same for the same flow, all different."""
    number = int.from_bytes(hashlib.sha256(flow.encode()).digest()[:16], "big")
    cards: list[int] = []
    for left in range(queues, queues - min(size, queues), -1):
        number, card = divmod(number, left)
        for dealt in sorted(cards):
            card += dealt <= card
        cards.append(card)
    return cards
