"""Priority levels: seats, queues and whose turn it is.

A level has seats in proportion to its shares; of these it lends what it does not use and may lend (`lendablePercent`),
and it borrows from others when it is full. What finds no seat waits in one of the level's queues: a flow is dealt a
hand of a few queues (shuffle sharding) and takes the shortest, so that a flood fills few queues and others pass it
by. Queues take turns. Who finds its queue full, or has waited too long, is sent away with 429.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from shirube.api import errors

Json = dict[str, Any]

MAX_WAIT = 15.0  # seconds, a quarter of a request's time as upstream
MESSAGE = "Too many requests, please try again later."


@dataclass(eq=False, slots=True)
class Level:
    name: str
    uid: str = ""
    exempt: bool = False
    shares: int = 0
    lendable_percent: int = 0
    borrowing_percent: int | None = None
    queue_count: int = 0  # 0: nobody waits
    hand: int = 0
    queue_length: int = 0
    nominal: int = 0
    running: int = 0
    waiting: int = 0
    dispatched: int = 0
    rejected: int = 0
    queues: dict[int, deque[asyncio.Future[None]]] = field(default_factory=dict)
    turns: deque[int] = field(default_factory=deque)  # queues with somebody in them, in order of their turn

    def configure(self, obj: Json) -> None:
        spec = obj.get("spec") or {}
        self.uid = obj["metadata"].get("uid", "")
        self.exempt = spec.get("type") == "Exempt"
        part = spec.get("exempt" if self.exempt else "limited") or {}
        self.shares = part.get("nominalConcurrencyShares", 0 if self.exempt else 30)
        self.lendable_percent = part.get("lendablePercent") or 0
        self.borrowing_percent = part.get("borrowingLimitPercent")
        response = part.get("limitResponse") or {}
        queuing = (response.get("queuing") or {}) if response.get("type") == "Queue" else {}
        self.queue_count = queuing.get("queues", 64) if response.get("type") == "Queue" else 0
        self.hand = queuing.get("handSize", 8)
        self.queue_length = queuing.get("queueLengthLimit", 50)

    @property
    def lendable(self) -> int:
        """Seats that others may use now."""
        kept = self.nominal - self.nominal * self.lendable_percent // 100
        return max(0, self.nominal - max(self.running, kept))

    @property
    def borrowed(self) -> int:
        return max(0, self.running - self.nominal)


class Levels:
    def __init__(self, seats: int) -> None:
        self._seats = seats
        self.by_name: dict[str, Level] = {}

    def update(self, objects: Iterable[Json]) -> None:
        """Follow the stored levels; those that stay keep who runs and waits in them."""
        found = {}
        for obj in objects:
            name = obj["metadata"]["name"]
            level = found[name] = self.by_name.get(name) or Level(name)
            level.configure(obj)
        self.by_name = found
        total = sum(level.shares for level in found.values()) or 1
        for level in found.values():
            level.nominal = math.ceil(self._seats * level.shares / total)
        for level in found.values():
            self._dispatch(level)

    def try_take(self, level: Level) -> bool:
        """A seat at once, if nobody waits before."""
        if level.waiting or not self._free(level):
            return False
        level.running += 1
        level.dispatched += 1
        return True

    def _free(self, level: Level) -> bool:
        if level.running < level.nominal:
            # What others have borrowed of it is missing: seats are counted, not owned.
            return True
        limit = level.borrowing_percent
        if limit is not None and level.borrowed >= level.nominal * limit // 100:
            return False
        others = [other for other in self.by_name.values() if other is not level and not other.exempt]
        return sum(other.lendable for other in others) > sum(other.borrowed for other in self.by_name.values())

    async def wait(self, level: Level, flow: str) -> None:
        """A seat in turn. Raises ApiError 429 when there is no place to wait, or it takes too long."""
        number = _shortest(level, flow) if level.queue_count else -1
        if number < 0:
            raise self._sent_away(level)
        queue = level.queues.setdefault(number, deque())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        if len(queue) == 1:
            level.turns.append(number)
        level.waiting += 1
        try:
            async with asyncio.timeout(MAX_WAIT):
                await turn
        except TimeoutError:
            if turn.done() and not turn.cancelled():
                return  # our turn came with the last tick
            raise self._sent_away(level) from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(level)  # it was our turn when the client went away
            raise
        finally:
            if not turn.done() or turn.cancelled():
                self._forget(level, number, turn)

    def _sent_away(self, level: Level) -> errors.ApiError:
        level.rejected += 1
        return errors.too_many_requests(MESSAGE, 1)

    def _forget(self, level: Level, number: int, turn: asyncio.Future[None]) -> None:
        queue = level.queues.get(number)
        if queue is not None and turn in queue:
            queue.remove(turn)
            level.waiting -= 1
            if not queue:
                del level.queues[number]
                level.turns.remove(number)

    def give_back(self, level: Level) -> None:
        level.running -= 1
        self._dispatch(level)
        if not level.waiting:
            for other in self.by_name.values():  # a seat that was lent may go to somebody else
                if other.waiting:
                    self._dispatch(other)

    def _dispatch(self, level: Level) -> None:
        while level.waiting and self._free(level):
            number = level.turns.popleft()
            queue = level.queues[number]
            turn = queue.popleft()
            level.waiting -= 1
            if queue:
                level.turns.append(number)
            else:
                del level.queues[number]
            if not turn.done():
                level.running += 1
                level.dispatched += 1
                turn.set_result(None)


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


def _shortest(level: Level, flow: str) -> int:
    """The shortest queue of the flow's hand; -1 when all are full."""
    hand = hand_of(flow, level.queue_count, level.hand)
    best = min(hand, key=lambda n: len(level.queues.get(n, ())))
    return best if len(level.queues.get(best, ())) < level.queue_length else -1
