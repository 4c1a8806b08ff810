"""Work that is left when something else happens: long waits of a pod that is to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from shirube.foundation.tasks import cancel, spawn


class Interrupted(Exception):
    """The pod is to end: what was being done for its running is left."""


async def until(ending: asyncio.Event, work: Awaitable[Any], name: str) -> Any:
    """The result of `work`, or Interrupted (and `work` cancelled) as soon as `ending` is set."""
    if ending.is_set():
        if asyncio.iscoroutine(work):
            work.close()
        raise Interrupted
    task = spawn(_outcome(work), name=name)
    watch = spawn(ending.wait(), name=f"ending {name}")
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Interrupted
        value, error = task.result()
        if error is not None:
            raise error
        return value
    finally:
        await cancel(task, watch)


async def _outcome(work: Awaitable[Any]) -> tuple[Any, Exception | None]:
    """Value and error. (A failure is an answer here, not a background task's that nobody looks at.)"""
    try:
        return await work, None
    except Exception as error:
        return None, error
