"""Virtual time: an event loop that never waits, and the clock that goes with it.

When nothing is ready the loop does not sleep until its next timer: it moves its time there. Between two such jumps time
stands still, however long the work takes, so what happens depends on the program and its seed alone. Work for other
threads is done at once and here (`run_in_executor`), as a thread's end has no place in virtual time. A loop without
timers and without anything ready would wait for ever, one whose time does not move on turns for ever: both are errors,
told as such (`Stalled`).

There are no sockets here, so nothing is ever polled, and the loop's turn is written anew: a simulated hour takes a
hundred million of its steps. Timers of the same moment fire in the order in which they were set.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextvars import Context, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z: when every simulation begins


# Timers fire a hair late, never early: who waits until a moment finds it passed.
_LATE = 1e-6
_MOST_TURNS = 3_000_000  # of the loop at one moment
_MOST_CANCELLED = 1000  # timers that stay in the queue although nobody waits for them, at least


class Stalled(Exception):
    """Everybody waits for something that can never happen, or is busy without end."""


class _Handle:
    """What `call_soon` answers: see `asyncio.Handle`."""

    __slots__ = ("arguments", "callback", "context", "is_cancelled")

    def __init__(self, callback: Callable[..., Any], arguments: tuple[Any, ...], context: Context | None) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.arguments = arguments
        self.context = copy_context() if context is None else context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.callback, self.arguments = None, ()

    def cancelled(self) -> bool:
        return self.is_cancelled


class _Timer(_Handle):
    """What `call_at` answers: see `asyncio.TimerHandle`."""

    __slots__ = ("_loop", "_when", "queued")

    def __init__(
        self,
        loop: VirtualLoop,
        when: float,
        callback: Callable[..., Any],
        arguments: tuple[Any, ...],
        context: Context | None,
    ) -> None:
        self.callback = callback
        self.arguments = arguments
        self.context = copy_context() if context is None else context
        self.is_cancelled = False
        self._loop, self._when = loop, when
        self.queued = True

    def cancel(self) -> None:
        if not self.is_cancelled:
            self.is_cancelled = True
            self.callback, self.arguments = None, ()
            if self.queued:
                self._loop.timer_cancelled()

    def when(self) -> float:
        return self._when


class VirtualLoop(asyncio.BaseEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = 0
        self._soon: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._sequence = 0
        self._cancelled = 0  # timers among them

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    # What is to be called

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context)
        self._soon.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> _Timer:
        timer = _Timer(self, when, callback, args, context)
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> _Timer:
        return self.call_at(self._now + delay, callback, *args, context=context)

    @property
    def timers(self) -> int:
        """How many are kept, those that were cancelled included."""
        return len(self._timers)

    def timer_cancelled(self) -> None:
        """Most timers are time limits of what takes no time: now and then those that were cancelled are taken out."""
        self._cancelled += 1
        if self._cancelled > _MOST_CANCELLED and self._cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].is_cancelled]
            heapq.heapify(self._timers)
            self._cancelled = 0

    # One turn

    def _run_once(self) -> None:
        """In the place of `BaseEventLoop._run_once`: everything that is ready now, or is when time has moved on."""
        soon = self._soon
        if soon or self._stopping:  # type: ignore[attr-defined]
            self._turns += 1
            if self._turns > _MOST_TURNS:
                self._turns = 0  # whoever is told has as many to end what runs
                raise Stalled(f"time stands still at {self._now:.6f} s: somebody is busy without end")
        else:
            self._advance()
        timers, now = self._timers, self._now
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            timer.queued = False
            if timer.is_cancelled:
                self._cancelled -= 1
            else:
                soon.append(timer)
        for _ in range(len(soon)):
            handle = soon.popleft()
            if handle.is_cancelled:
                continue
            try:
                handle.context.run(handle.callback, *handle.arguments)  # type: ignore[arg-type]
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                message = f"Exception in callback {handle.callback!r}"
                self.call_exception_handler({"message": message, "exception": error})
        handle = None  # type: ignore[assignment]  # or it would keep what it called alive until the next turn

    def _advance(self) -> None:
        """To the next timer that somebody waits for."""
        timers = self._timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
            self._cancelled -= 1
        if not timers:
            raise Stalled("nothing is ready and no timer is set")
        self._now = max(self._now, timers[0][0] + _LATE)
        self._turns = 0

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
