"""The frame around a `reconcile(key)`: a work queue, workers, retries.

    class MyController(Controller[str]):
        name = "my-controller"
        async def reconcile(self, key): ...      # returns None, or seconds after which to look again

A reconcile that raises is tried again with the queue's back-off. Conflicts and unreachable servers are the
normal weather of an optimistic, distributed system and are logged quietly; anything else is logged as an
error. A key is never worked on by two workers at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import ClassVar, Generic, TypeVar

from shirube.api.errors import ApiError
from shirube.client.informer import Informer
from shirube.client.work_queue import RateLimiter, ShutDown, WorkQueue
from shirube.foundation import log

K = TypeVar("K", bound=Hashable)


class Controller(Generic[K]):
    """Subclasses set `name`, list the `informers` that must have synced, and write `reconcile`."""

    name: ClassVar[str]
    workers: ClassVar[int] = 2

    def __init__(self, *informers: Informer, limiter: RateLimiter[K] | None = None) -> None:
        self.informers = informers
        self.queue: WorkQueue[K] = WorkQueue(limiter)
        self.log = log.get(self.name)

    async def reconcile(self, key: K) -> float | None:
        """Take the next step for `key`. Returns seconds after which to look again, or None."""
        raise TypeError(f"{type(self).__name__} has no reconcile")

    async def started(self) -> None:
        """Called once all informers have synced, before the first reconcile."""

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            for informer in self.informers:
                await informer.wait_for_cache_sync()
            await self.started()
            async with asyncio.TaskGroup() as group:
                for number in range(self.workers):
                    group.create_task(self._work(), name=f"{self.name}-{number}")
        finally:
            self.queue.shut_down()

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            try:
                await self.process(key)
            finally:
                self.queue.done(key)

    async def process(self, key: K) -> bool:
        """One reconcile with its consequences for the queue. True when it did not fail."""
        try:
            again = await self.reconcile(key)
        except ApiError as error:
            quiet = error.code in (409, 429, 503, 504) or error.reason == "NotFound"
            (self.log.debug if quiet else self.log.warning)(
                "cannot reconcile, trying again",
                key=key,
                error=str(error),
                tries=self.queue.num_requeues(key) + 1,
            )
            self.queue.add_rate_limited(key)
            return False
        except Exception as error:
            self.log.error("cannot reconcile, trying again", key=key, error=repr(error), exc_info=error)
            self.queue.add_rate_limited(key)
            return False
        self.queue.forget(key)
        if again is not None:
            self.queue.add_after(key, again)
        return True
