"""Virtual time: an event loop that never waits, and the clock that goes with it.

When nothing is ready the loop does not sleep until its next timer: it moves its time there. Between two such jumps time
stands still, however long the work takes, so what happens depends on the program and its seed alone. Work for other
threads is done at once and here (`run_in_executor`), as a thread's end has no place in virtual time. A loop without
timers and without anything ready would wait for ever, one whose time does not move on turns for ever: both are errors,
told as such (`Stalled`).
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z: when every simulation begins


# Timers fire a hair late, never early: who waits until a moment finds it passed.
_LATE = 1e-6
_MOST_TURNS = 3_000_000  # of the loop at one moment


class Stalled(Exception):
    """Everybody waits for something that can never happen, or is busy without end."""


class _Jump(selectors.SelectSelector):
    """Asked to wait, it moves the loop's time instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stalled("nothing is ready and no timer is set")
        self.loop.advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = 0.0
        self._turns = 0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual

    def advance(self, seconds: float) -> None:
        if seconds > 0:
            self._virtual += seconds + _LATE
            self._turns = 0
            return
        self._turns += 1
        if self._turns > _MOST_TURNS:
            raise Stalled(f"time stands still at {self._virtual:.6f} s: somebody is busy without end")

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class VirtualClock:
    """Implements `foundation.clock.Clock` on a loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, epoch: float = EPOCH) -> None:
        self._loop, self._epoch = loop, epoch

    def now(self) -> float:
        return self._epoch + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()


def run(main: Callable[[VirtualClock], Awaitable[T]]) -> T:
    """Run `main(clock)` on virtual time from its beginning."""

    async def start() -> T:
        return await main(VirtualClock(asyncio.get_running_loop()))

    thresholds = gc.get_threshold()
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(start())
    finally:
        # Components freeze what they hold when they have started: one world's must not outlive it in the next.
        gc.unfreeze()
        gc.set_threshold(*thresholds)
