"""Wait on conditions, never on durations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from shirube.foundation.tasks import cancel, spawn


async def until(condition: Callable[[], Any], seconds: float = 5.0, what: str = "") -> Any:
    """What `condition` returns once it is true. It may be async."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                result = condition()
                if isinstance(result, Awaitable):
                    result = await result
                if result:
                    return result
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"never came: {what or condition}") from None


@asynccontextmanager
async def running(*work: Any) -> AsyncIterator[None]:
    """Run coroutines in the background of a block."""
    tasks = [spawn(w, name=f"test-{n}") for n, w in enumerate(work)]
    try:
        yield
    finally:
        await cancel(*tasks)
