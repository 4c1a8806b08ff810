"""Wait on conditions, never on durations.

How long a condition is given is no judgement of how quick it came: that would fail on a machine with much else to do.
`seconds` is what something may need that takes long of itself; everything is given `PATIENCE` at least, which costs
nothing where the condition comes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from shirube.foundation.tasks import cancel, spawn

PATIENCE = 60.0


async def until(condition: Callable[[], Any], seconds: float = PATIENCE, what: str = "") -> Any:
    """What `condition` returns once it is true. It may be async."""
    try:
        async with asyncio.timeout(max(seconds, PATIENCE)):
            while True:
                result = condition()
                if isinstance(result, Awaitable):
                    result = await result
                if result:
                    return result
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"never came: {what or condition}") from None


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE, pause: float = 0.05) -> Any:
    """The same for other processes: blocks, and takes a failed assertion for "not yet"."""
    seconds = max(seconds, PATIENCE)
    deadline = time.monotonic() + seconds
    never = threading.Event()
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = condition()
        except AssertionError as error:
            last = error
        else:
            if last:
                return last
        never.wait(pause)
    raise AssertionError(f"never within {seconds:.0f} s: {what}; last: {last!r}")


@asynccontextmanager
async def running(*work: Any) -> AsyncIterator[None]:
    """Run coroutines in the background of a block."""
    tasks = [spawn(w, name=f"test-{n}") for n, w in enumerate(work)]
    try:
        yield
    finally:
        await cancel(*tasks)
