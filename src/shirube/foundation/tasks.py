"""The one way to start a background task: named, referenced until done, its failure logged.

Structured code uses `asyncio.TaskGroup`; `spawn` is for tasks that outlive the function that starts them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from shirube.foundation import log

_logger = log.get("tasks")
_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Run `work` in the background. An exception that nobody awaits is logged, never lost."""
    task = asyncio.create_task(work, name=name)  # noqa: TID251 - the one place
    _running.add(task)
    task.add_done_callback(_done)
    return task


def _done(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _logger.error("background task failed", task=task.get_name(), error=repr(error), exc_info=error)


async def signalled(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for the event, at most so long (None: as long as it takes); whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have cleaned up. `None`s are passed over."""
    live = [t for t in tasks if t is not None]
    for task in live:
        task.cancel()
    await asyncio.gather(*live, return_exceptions=True)
