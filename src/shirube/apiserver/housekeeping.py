"""What a server does beside its requests: old events go, old history is compacted.

Events are kept for `event_ttl` after their last change (upstream attaches an etcd lease; here a lazy sweep deletes
them, compare-and-commit, so that a server that shares the store does no harm). When an event was last changed is
not read from it: the sweep remembers when it first saw each revision, so a restart begins the time anew.

History is compacted every `compaction_interval` up to what was current at least `history` ago: with the defaults
(5 and 10 minutes) the last 10 to 15 minutes can be looked back at.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from shirube.api import gvr
from shirube.foundation import log
from shirube.storage.types import Compare, CompareFailed, Delete, StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

_logger = log.get("housekeeping")

SWEEP_INTERVAL = 60.0
DELETES_AT_ONCE = 64


class EventSweeper:
    """Which events are due; remembers when it first saw them as they are."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._seen: dict[str, tuple[int, float]] = {}

    def due(self, events: list[tuple[str, int]], now: float) -> list[tuple[str, int]]:
        """Of all (key, revision) pairs those whose time is over."""
        seen: dict[str, tuple[int, float]] = {}
        over = []
        for key, revision in events:
            known = self._seen.get(key)
            since = known[1] if known is not None and known[0] == revision else now
            seen[key] = (revision, since)
            if now - since >= self._ttl:
                over.append((key, revision))
        self._seen = seen
        return over


async def sweep_events(server: ServerContext) -> None:
    """Runs until cancelled."""
    sweeper = EventSweeper(server.options.event_ttl)
    interval = min(SWEEP_INTERVAL, max(1.0, server.options.event_ttl / 4))
    resource = server.table.by_gvr(gvr.EVENTS)
    assert resource is not None
    while True:
        await asyncio.sleep(interval)
        cache = server.caches.of(resource)
        events = [(e.key, e.revision) for e in cache.entries()]
        over = sweeper.due(events, server.clock.monotonic())
        for at in range(0, len(over), DELETES_AT_ONCE):
            part = over[at : at + DELETES_AT_ONCE]
            outcomes = await asyncio.gather(
                *(server.storage.commit((Compare(key, revision),), (Delete(key),)) for key, revision in part),
                return_exceptions=True,
            )
            for outcome in outcomes:
                if isinstance(outcome, StorageError):
                    _logger.warning("cannot delete an expired event", error=str(outcome))
                elif isinstance(outcome, BaseException) and not isinstance(outcome, CompareFailed):
                    raise outcome


async def compact_history(server: ServerContext) -> None:
    """Runs until cancelled."""
    options = server.options
    past: deque[tuple[float, int]] = deque()
    while True:
        try:
            past.append((server.clock.monotonic(), await server.storage.current_revision()))
            horizon = server.clock.monotonic() - options.history
            revision = 0
            while past and past[0][0] <= horizon:
                revision = past.popleft()[1]
            if revision:
                await server.storage.compact(revision)
                _logger.debug("compacted history", revision=revision)
        except StorageError as error:
            _logger.warning("cannot compact history, trying again later", error=str(error))
        await asyncio.sleep(options.compaction_interval)
