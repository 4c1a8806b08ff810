"""Priority levels: seats, who holds them, and who waits for them.

A level has seats in proportion to its shares; of these it lends what it does not use and may lend (`lendablePercent`),
and it borrows from others when it is full (up to `borrowingLimitPercent`). A request takes as many seats as it is
expected to cost (`work`). What finds no seats waits in the level's `queues`. Who finds its queues full, or has waited
too long, is sent away with 429. A level that is no longer configured keeps those who are in it until they are done.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from shirube.api import errors
from shirube.apiserver.fairness.queues import Queue, Queues, Waiting, hand_of

__all__ = ["MAX_WAIT", "MESSAGE", "Level", "Levels", "Seated", "hand_of"]

Json = dict[str, Any]

MAX_WAIT = 15.0  # seconds, a quarter of a request's time as upstream
MESSAGE = "Too many requests, please try again later."
MAX_SEATS = 10  # that one request may take, as upstream
SHARE = 0.15  # of a level's seats that one request may take
QUEUE_FULL, TIME_OUT, NO_QUEUE, CANCELLED = "queue-full", "time-out", "concurrency-limit", "cancelled"


class Refused(Exception):
    """No seat; the text is upstream's reason."""


@dataclass(eq=False, slots=True)
class Level:
    name: str
    uid: str = ""
    exempt: bool = False
    shares: int = 0
    lendable_percent: int = 0
    borrowing_percent: int | None = None
    nominal: int = 0
    seats: int = 0  # in use
    running: int = 0  # requests
    queues: Queues = field(default_factory=lambda: Queues(0, 0, 0))

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
        count = queuing.get("queues", 64) if response.get("type") == "Queue" else 0
        self.queues.configure(count, queuing.get("handSize", 8), queuing.get("queueLengthLimit", 50))

    @property
    def waiting(self) -> int:
        return self.queues.waiting

    @property
    def lower_limit(self) -> int:
        """Seats that it has even when it lends all that it may."""
        return self.nominal - self.nominal * self.lendable_percent // 100

    @property
    def most_borrowed(self) -> int | None:
        return None if self.borrowing_percent is None else self.nominal * self.borrowing_percent // 100

    @property
    def lendable(self) -> int:
        """Seats that others may use now."""
        return max(0, self.nominal - max(self.seats, self.lower_limit))

    @property
    def borrowed(self) -> int:
        return max(0, self.seats - self.nominal)

    @property
    def widest(self) -> int:
        """Seats that one request may take."""
        return max(1, min(MAX_SEATS, int(self.nominal * SHARE)))


@dataclass(eq=False, slots=True)
class Seated:
    """Seats that are held."""

    level: Level
    seats: int
    queue: Queue | None
    since: float


class Levels:
    def __init__(self, seats: int) -> None:
        self.total = seats
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
            level.nominal = math.ceil(self.total * level.shares / total)
        for level in found.values():
            self._dispatch(level)

    def try_take(self, level: Level, seats: int = 1, flow: str = "") -> Seated | None:
        """Seats at once, if nobody waits before."""
        if level.queues.waiting or not self._free(level, seats):
            return None
        queue = None
        if seats > 1 and level.queues.count:  # only what is dear is worth remembering for its flow's next turn
            queue = level.queues.place(flow)
            if queue is not None:
                level.queues.begin(queue, seats)
        return self._seat(level, seats, queue)

    def _seat(self, level: Level, seats: int, queue: Queue | None) -> Seated:
        level.seats += seats
        level.running += 1
        return Seated(level, seats, queue, asyncio.get_running_loop().time() if queue is not None else 0.0)

    def _free(self, level: Level, seats: int) -> bool:
        wanted = level.seats + seats
        if wanted <= level.nominal:
            # What others have borrowed of it is missing: seats are counted, not owned.
            return True
        if not level.seats and level.nominal:
            return True  # wider than the whole level, and alone
        extra = wanted - level.nominal
        most = level.most_borrowed
        if most is not None and extra > most:
            return False
        lendable = borrowed = 0
        for other in self.by_name.values():
            if other is not level and not other.exempt:
                lendable += other.lendable
                borrowed += other.borrowed
        return borrowed + extra <= lendable

    def limit(self, level: Level) -> int:
        """Seats that the level could have in use now."""
        others = [other for other in self.by_name.values() if other is not level and not other.exempt]
        more = max(0, sum(o.lendable for o in others) - sum(o.borrowed for o in others))
        most = level.most_borrowed
        return level.nominal + (more if most is None else min(more, most))

    async def wait(self, level: Level, flow: str, seats: int = 1) -> Seated:
        """Seats in turn. Raises Refused when there is no place to wait, or it takes too long."""
        queue = level.queues.place(flow)
        if queue is None:
            raise Refused(QUEUE_FULL if level.queues.count else NO_QUEUE)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def go() -> bool:
            if turn.done():
                return False
            turn.set_result(None)
            return True

        request = Waiting(seats, go)
        level.queues.join(queue, request)
        # Seats may be free although others wait, for whoever is before us may be too wide for what is left.
        self._dispatch(level)
        try:
            async with asyncio.timeout(MAX_WAIT):
                await turn
        except TimeoutError:
            if not turn.done() or turn.cancelled():
                level.queues.leave(request)
                raise Refused(TIME_OUT) from None
            # our turn came with the last tick
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(Seated(level, seats, request.queue, asyncio.get_running_loop().time()))
            else:
                level.queues.leave(request)
            raise
        return Seated(level, seats, request.queue, asyncio.get_running_loop().time())

    def give_back(self, seated: Seated) -> None:
        level = seated.level
        level.seats -= seated.seats
        level.running -= 1
        if seated.queue is not None:
            level.queues.finished(seated.queue, seated.seats, asyncio.get_running_loop().time() - seated.since)
        self._pass_on(level)

    def give_back_one(self, level: Level) -> None:
        """A seat that was taken without more ado."""
        level.seats -= 1
        level.running -= 1
        self._pass_on(level)

    def _pass_on(self, level: Level) -> None:
        """Seats of the level, or lent to it, may go to somebody who waits."""
        if level.queues.waiting:
            self._dispatch(level)
        if not level.queues.waiting:
            for other in self.by_name.values():  # a seat that was lent may go to somebody else
                if other.queues.waiting:
                    self._dispatch(other)

    def _dispatch(self, level: Level) -> None:
        while (request := level.queues.head()) is not None and self._free(level, request.seats):
            if request.go():
                level.queues.take(request)
                level.seats += request.seats
                level.running += 1
            else:
                level.queues.leave(request)


def too_many_requests(retry_after: int = 1) -> errors.ApiError:
    return errors.too_many_requests(MESSAGE, retry_after)
