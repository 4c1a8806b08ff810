"""A queue of keys to reconcile, with client-go's guarantees.

- A key that is added again before it was taken is kept once.
- A key that is added while it is being worked on is handed out again after `done`: never to two workers at a
  time, and no change is ever missed.
- `add_rate_limited` waits 5 ms, doubling with each failure of that key up to 1000 s, and at least as long as
an overall bucket (10 a second, bursts of 100) asks; `forget` resets the key's count.

One timer serves all delayed keys; an idle queue costs nothing.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from shirube.foundation.clock import Clock

K = TypeVar("K", bound=Hashable)

BASE_SECONDS = 0.005
MAX_SECONDS = 1000.0


class ShutDown(Exception):
    """The queue was shut down and is empty."""


class RateLimiter(Generic[K]):
    """How long to wait before a key's next try."""

    def __init__(
        self,
        base: float = BASE_SECONDS,
        maximum: float = MAX_SECONDS,
        *,
        per_second: float = 10.0,
        burst: int = 100,
        clock: Clock | None = None,
    ) -> None:
        """Without a clock the running loop's time counts, as it does for the delays of the queue."""
        self._base, self._maximum = base, maximum
        self._per_second, self._burst = per_second, float(burst)
        self._tokens, self._filled_at = float(burst), 0.0
        self._clock = clock
        self._failures: dict[K, int] = {}

    def when(self, key: K) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # 2**60 is beyond any maximum and keeps the float finite.
        own = min(self._base * 2.0 ** min(failures, 60), self._maximum)
        return max(own, self._reserve())

    def _reserve(self) -> float:
        now = self._clock.monotonic() if self._clock is not None else asyncio.get_running_loop().time()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        self._tokens -= 1
        return 0.0 if self._tokens >= 0 else -self._tokens / self._per_second

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)


class WorkQueue(Generic[K]):
    """For one event loop. `get` waits for a key; whoever got it calls `done`."""

    def __init__(self, limiter: RateLimiter[K] | None = None) -> None:
        self._limiter: RateLimiter[K] = limiter or RateLimiter()
        self._queue: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._shut_down = False
        self._delayed: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Keys ready to be taken."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Nothing is ready and nothing is being worked on (delayed keys may still wait)."""
        return not self._queue and not self._processing

    def add(self, key: K) -> None:
        if self._shut_down or key in self._dirty:
            return
        self._dirty.add(key)
        if key in self._processing:
            return
        self._queue.append(key)
        self._wake_one()

    def add_after(self, key: K, seconds: float) -> None:
        """Add later. Of several delays for one key the earliest counts."""
        if self._shut_down:
            return
        if seconds <= 0:
            self.add(key)
            return
        at = asyncio.get_running_loop().time() + seconds
        if self._due.get(key, at + 1) <= at:
            return
        self._due[key] = at
        self._sequence += 1
        heapq.heappush(self._delayed, (at, self._sequence, key))
        self._arm()

    def add_rate_limited(self, key: K) -> None:
        self.add_after(key, self._limiter.when(key))

    def forget(self, key: K) -> None:
        self._limiter.forget(key)

    def num_requeues(self, key: K) -> int:
        return self._limiter.failures(key)

    async def get(self) -> K:
        """The next key. Raises ShutDown once the queue is shut down and empty."""
        while not self._queue:
            if self._shut_down:
                raise ShutDown
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()
                raise
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        key = self._queue.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        self._processing.discard(key)
        if key in self._dirty:
            self._queue.append(key)
            self._wake_one()

    def shut_down(self) -> None:
        """Take no more keys; what is queued is still handed out, then `get` raises ShutDown."""
        self._shut_down = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._delayed.clear()
        self._due.clear()
        while self._waiters:
            self._wake_one()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm(self) -> None:
        while self._delayed and self._due.get(self._delayed[0][2]) != self._delayed[0][0]:
            heapq.heappop(self._delayed)  # overtaken by an earlier delay of the same key
        if not self._delayed:
            return
        at = self._delayed[0][0]
        if self._timer is not None:
            if self._timer.when() <= at and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        # The loop's clock may be a hair short of the moment that it woke us for.
        now = asyncio.get_running_loop().time() + 1e-3
        while self._delayed and self._delayed[0][0] <= now:
            at, _, key = heapq.heappop(self._delayed)
            if self._due.get(key) == at:
                del self._due[key]
                self.add(key)
        self._arm()
