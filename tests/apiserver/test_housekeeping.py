"""Events expire, history is compacted, on a clock of the test's own."""

from __future__ import annotations

import asyncio

from tests.waiting import until

from shirube.apiserver import housekeeping
from shirube.apiserver.housekeeping import EventSweeper
from shirube.foundation import tasks
from shirube.foundation.clock import ManualClock
from shirube.storage.types import Compacted

EVENTS = "/api/v1/namespaces/default/events"


def test_an_event_is_due_when_it_has_not_changed_for_its_time():
    sweeper = EventSweeper(100)
    assert sweeper.due([("a", 1), ("b", 2)], 0) == []
    assert sweeper.due([("a", 1), ("b", 3)], 60) == []
    assert sweeper.due([("a", 1), ("b", 3)], 100) == [("a", 1)]
    assert sweeper.due([("b", 3)], 160) == [("b", 3)]


async def test_old_events_go(api, monkeypatch):
    clock = ManualClock()
    api.context.clock = clock
    api.context.options.event_ttl = 0.0
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    await api.ok("POST", EVENTS, {"metadata": {"name": "e"}, "involvedObject": about})
    task = tasks.spawn(housekeeping.sweep_events(api.context), name="sweep")

    async def gone() -> bool:
        return (await api.get(f"{EVENTS}/e")).status == 404

    await until(gone)
    await tasks.cancel(task)


async def test_history_is_compacted_up_to_what_is_old_enough(api):
    clock = ManualClock()
    api.context.clock = clock
    options = api.context.options
    options.compaction_interval, options.history = 0.01, 600.0
    before = await api.context.storage.current_revision()
    for i in range(3):
        await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": f"n{i}"}})
    task = tasks.spawn(housekeeping.compact_history(api.context), name="compact")
    await asyncio.sleep(0.05)
    await api.context.storage.get("/registry/core/namespaces/n0", before)  # still held
    clock.advance(601)

    async def compacted() -> bool:
        try:
            await api.context.storage.get("/registry/core/namespaces/n0", before)
        except Compacted:
            return True
        return False

    await until(compacted)
    await tasks.cancel(task)
