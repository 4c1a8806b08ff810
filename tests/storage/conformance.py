"""What every backend must pass. A backend's test module subclasses `StorageConformance` and overrides the fixture
`opener` with a function that opens (or reopens) a store on the same data, and `fresh` with one that makes openers of
empty stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from shirube.storage.types import (
    FIRST_REVISION,
    Compacted,
    Compare,
    CompareFailed,
    Delete,
    Event,
    FutureRevision,
    KeyValue,
    Put,
    Storage,
    StorageUnavailable,
    Watch,
)

from .machine import StoreMachine

Opener = Callable[[], Awaitable[Storage]]


async def take(watch: Watch, count: int) -> list[Event]:
    """The next `count` events, however they are batched."""
    events: list[Event] = []
    async with asyncio.timeout(60):
        while len(events) < count:
            events += await anext(watch)
    return events


class StorageConformance:
    ordered = True  # concurrent commits take effect in the order in which they were begun

    @pytest.fixture
    async def store(self, opener: Opener):
        store = await opener()
        yield store
        await store.close()

    async def test_an_empty_store_is_at_the_first_revision(self, store: Storage):
        assert await store.current_revision() == FIRST_REVISION
        assert await store.get("/a") is None
        assert await store.range("/", count=True) == ([], FIRST_REVISION, False, 0)

    async def test_revisions_follow_each_other_and_keys_remember_theirs(self, store: Storage):
        first = await store.commit([Compare("/a", 0)], [Put("/a", b"1")])
        second = await store.commit([Compare("/a", first)], [Put("/a", b"2")])
        assert (first, second) == (FIRST_REVISION + 1, FIRST_REVISION + 2)
        assert await store.get("/a") == KeyValue("/a", b"2", first, second)
        assert await store.current_revision() == second

    async def test_a_key_made_again_has_a_new_create_revision(self, store: Storage):
        await store.commit([], [Put("/a", b"1")])
        await store.commit([], [Delete("/a")])
        assert await store.get("/a") is None
        again = await store.commit([Compare("/a", 0)], [Put("/a", b"2")])
        assert await store.get("/a") == KeyValue("/a", b"2", again, again)

    async def test_a_failed_compare_tells_the_current_state_and_writes_nothing(self, store: Storage):
        first = await store.commit([], [Put("/a", b"1")])
        for compare in (Compare("/a", 0), Compare("/a", first + 5)):
            with pytest.raises(CompareFailed) as failed:
                await store.commit([compare], [Put("/a", b"x")])
            assert failed.value.current == KeyValue("/a", b"1", first, first)
        with pytest.raises(CompareFailed) as failed:
            await store.commit([Compare("/b", first)], [Put("/b", b"x")])
        assert (failed.value.key, failed.value.current) == ("/b", None)
        assert await store.current_revision() == first

    async def test_deleting_what_is_not_there_changes_nothing(self, store: Storage):
        assert await store.commit([], [Delete("/a")]) == FIRST_REVISION
        first = await store.commit([], [Put("/a", b"1")])
        assert await store.commit([], [Delete("/b")]) == first

    async def test_compare_on_one_key_and_write_another(self, store: Storage):
        lease = await store.commit([], [Put("/lease", b"me")])
        await store.commit([Compare("/lease", lease)], [Put("/a", b"1")])
        with pytest.raises(CompareFailed):
            await store.commit([Compare("/lease", lease - 1)], [Put("/a", b"2")])
        held = await store.get("/a")
        assert held is not None
        assert held.value == b"1"

    async def test_any_bytes_and_characters(self, store: Storage):
        for key, value in (("/標/é", b"\0\xff" * 9), ("/empty", b""), ("/big", b"x" * 1_400_000)):
            revision = await store.commit([Compare(key, 0)], [Put(key, value)])
            assert await store.get(key) == KeyValue(key, value, revision, revision)

    async def test_pages_of_a_range_make_the_whole_at_one_revision(self, store: Storage):
        names = [f"/r/pods/ns/{i:03}" for i in range(25)]
        for name in names:
            await store.commit([], [Put(name, name.encode())])
        await store.commit([], [Put("/r/pods2/x", b"")])
        await store.commit([], [Put("/r/pod", b"")])
        first = await store.range("/r/pods/", limit=10, count=True)
        assert (len(first.items), first.more, first.count) == (10, True, 25)
        # Writes between pages do not show in a later page of the same revision.
        await store.commit([], [Delete(names[12])])
        await store.commit([], [Put("/r/pods/ns/015a", b"new")])
        await store.commit([], [Put(names[20], b"changed")])
        seen = list(first.items)
        while True:
            page = await store.range(
                "/r/pods/", start_after=seen[-1].key, limit=10, revision=first.revision, count=True
            )
            assert page.count == 25 - len(seen)
            assert page.revision == first.revision
            seen += page.items
            if not page.more:
                break
        assert [(kv.key, kv.value) for kv in seen] == [(n, n.encode()) for n in names]
        now = await store.range("/r/pods/")
        assert len(now.items) == 25
        assert "/r/pods/ns/015a" in [kv.key for kv in now.items]

    async def test_a_limit_that_fits_exactly_has_no_more(self, store: Storage):
        for i in range(4):
            await store.commit([], [Put(f"/a/{i}", b"")])
        page = await store.range("/a/", limit=4)
        assert (len(page.items), page.more) == (4, False)
        page = await store.range("/a/", start_after="/a/3", limit=4)
        assert (page.items, page.more) == ([], False)

    async def test_old_states_stay_readable(self, store: Storage):
        first = await store.commit([], [Put("/a", b"1")])
        second = await store.commit([], [Put("/a", b"2")])
        third = await store.commit([], [Delete("/a")])
        assert await store.get("/a", first) == KeyValue("/a", b"1", first, first)
        assert await store.get("/a", second) == KeyValue("/a", b"2", first, second)
        assert await store.get("/a", third) is None
        assert [kv.value for kv in (await store.range("/", revision=second)).items] == [b"2"]
        assert (await store.range("/", revision=third)).items == []

    async def test_the_future_is_refused(self, store: Storage):
        for ask in (store.get("/a", 99), store.range("/", revision=99), store.compact(99)):
            with pytest.raises(FutureRevision):
                await ask

    async def test_compaction_forgets_what_was_and_keeps_what_is(self, store: Storage):
        for value in (b"1", b"2", b"3"):
            last = await store.commit([], [Put("/a", value)])
        await store.commit([], [Put("/b", b"1")])
        gone = await store.commit([], [Delete("/b")])
        await store.compact(last)
        assert await store.get("/a", last) == KeyValue("/a", b"3", last - 2, last)
        with pytest.raises(Compacted) as compacted:
            await store.get("/a", last - 1)
        assert compacted.value.compact_revision == last
        with pytest.raises(Compacted):
            await store.range("/", revision=last - 1)
        with pytest.raises(Compacted):
            async with store.watch("/", last - 1) as watch:
                await anext(watch)
        async with store.watch("/", last) as watch:
            assert [e.kind for e in await take(watch, 2)] == ["PUT", "DELETE"]
        await store.compact(gone)
        await store.compact(first := 1)
        assert first < gone
        assert (await store.range("/")).items == [KeyValue("/a", b"3", last - 2, last)]
        assert await store.current_revision() == gone

    async def test_the_counter_survives_compaction_and_restart(self, opener: Opener):
        store = await opener()
        await store.commit([], [Put("/a", b"1")])
        gone = await store.commit([], [Delete("/a")])
        await store.compact(gone)
        await store.close()
        store = await opener()
        try:
            assert await store.current_revision() == gone
            assert await store.commit([], [Put("/a", b"1")]) == gone + 1
        finally:
            await store.close()

    async def test_a_watch_begins_with_history_and_goes_on_live(self, store: Storage):
        first = await store.commit([], [Put("/w/a", b"1")])
        await store.commit([], [Put("/w/a", b"2")])
        await store.commit([], [Put("/other", b"")])
        async with store.watch("/w/", first) as watch:
            (event,) = await take(watch, 1)
            assert event == Event("PUT", "/w/a", b"2", first + 1, first, None)
            await store.commit([], [Put("/x", b"")])
            gone = await store.commit([Compare("/w/a", first + 1)], [Delete("/w/a")])
            (event,) = await take(watch, 1)
            assert event == Event("DELETE", "/w/a", b"", gone, first, b"2")

    async def test_a_watch_from_a_future_revision_begins_there(self, store: Storage):
        now = await store.current_revision()
        async with store.watch("/", now + 2) as watch:
            for i in range(4):
                await store.commit([], [Put(f"/{i}", b"")])
            assert [e.key for e in await take(watch, 2)] == ["/2", "/3"]

    async def test_progress_is_reported_when_asked_for(self, store: Storage):
        async with store.watch("/quiet/", await store.current_revision()) as watch:
            revision = await store.commit([], [Put("/loud", b"")])
            watch.request_progress()
            async with asyncio.timeout(60):
                while (batch := await anext(watch)).revision < revision:
                    pass
            assert batch == []
            assert watch.revision >= revision

    async def test_many_writers_of_one_key_lose_no_update(self, store: Storage):
        await store.commit([], [Put("/counter", b"0")])

        async def add(times: int) -> None:
            for _ in range(times):
                while True:
                    held = await store.get("/counter")
                    assert held is not None
                    new = str(int(held.value) + 1).encode()
                    try:
                        await store.commit([Compare("/counter", held.mod_revision)], [Put("/counter", new)])
                        break
                    except CompareFailed as failed:
                        assert failed.current is not None
                        assert failed.current.mod_revision > held.mod_revision

        await asyncio.gather(*(add(10) for _ in range(8)))
        held = await store.get("/counter")
        assert held is not None
        assert held.value == b"80"

    async def test_only_one_of_many_creates_a_key(self, store: Storage):
        async def create(i: int) -> bool:
            try:
                await store.commit([Compare("/one", 0)], [Put("/one", str(i).encode())])
            except CompareFailed as failed:
                assert failed.current is not None
                return False
            return True

        assert sum(await asyncio.gather(*(create(i) for i in range(20)))) == 1

    async def test_watchers_see_all_of_concurrent_writers_in_order(self, store: Storage):
        async def write(i: int) -> None:
            for n in range(40):
                await store.commit([], [Put(f"/c/{i}", str(n).encode())])

        start = await store.current_revision()
        async with store.watch("/c/", start) as one, store.watch("/", start) as other, asyncio.TaskGroup() as group:
            takes = [group.create_task(take(w, 320)) for w in (one, other)]
            for i in range(8):
                group.create_task(write(i))
        events, same = (t.result() for t in takes)
        assert events == same
        assert [e.revision for e in events] == list(range(start + 1, start + 321))
        for i in range(8):
            assert [e.value for e in events if e.key == f"/c/{i}"] == [str(n).encode() for n in range(40)]
        async with store.watch("/c/", start) as late:
            assert await take(late, 320) == events

    async def test_what_was_written_is_there_after_reopening(self, opener: Opener):
        store = await opener()
        revisions = {f"/k/{i}": await store.commit([], [Put(f"/k/{i}", b"v")]) for i in range(5)}
        await store.commit([], [Delete("/k/3")])
        await store.close()
        store = await opener()
        try:
            found = (await store.range("/k/")).items
            assert {kv.key: kv.mod_revision for kv in found} == {k: r for k, r in revisions.items() if k != "/k/3"}
            async with store.watch("/k/", FIRST_REVISION) as watch:
                assert len(await take(watch, 6)) == 6
        finally:
            await store.close()

    async def test_closing_ends_watches_and_refuses_calls(self, opener: Opener):
        store = await opener()
        async with store.watch("/", await store.current_revision()) as watch:
            await store.close()
            with pytest.raises(StorageUnavailable):
                await anext(watch)
        with pytest.raises(StorageUnavailable):
            await store.commit([], [Put("/a", b"")])
        with pytest.raises(StorageUnavailable):
            await store.get("/a")
        await store.close()

    def test_any_history_agrees_with_the_model(self, fresh: Callable[[], Opener]):
        machine = type("Machine", (StoreMachine,), {"fresh": staticmethod(fresh), "ordered": self.ordered})
        checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
        budget = settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=checks)
        run_state_machine_as_test(machine, settings=budget)
