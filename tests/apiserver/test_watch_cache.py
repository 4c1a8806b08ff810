from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.api.selectors import parse_field_selector, parse_label_selector
from shirube.apiserver import watch_cache, watcher
from shirube.apiserver.cache_entry import bookmark, event_line
from shirube.apiserver.watch_cache import Encodings, WatchCache
from shirube.apiserver.watcher import WatchEnded
from shirube.foundation.clock import ManualClock
from shirube.storage import open_storage
from shirube.storage.sqlite import SQLiteStorage
from shirube.storage.types import Compacted, Delete, Put, Storage, StorageUnavailable

PREFIX = "/registry/core/pods/"


def extract(data: bytes) -> tuple[dict[str, str], dict[str, str]]:
    obj = orjson.loads(data)
    meta = obj["metadata"]
    fields = {"metadata.name": meta["name"], "spec.nodeName": obj.get("spec", {}).get("nodeName", "")}
    return meta.get("labels", {}), fields


def pod(name: str, node: str = "", **labels: str) -> bytes:
    meta: dict[str, Any] = {"name": name, "labels": labels} if labels else {"name": name}
    return orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"nodeName": node}})


def key(name: str) -> str:
    return f"{PREFIX}{name}" if "/" in name else f"{PREFIX}default/{name}"


def names(found: watch_cache.Listing) -> list[str]:
    return [entry.key.removeprefix(PREFIX) for entry in found.entries]


class World:
    """A store with one cache on it."""

    def __init__(self, store: Storage, cache: WatchCache) -> None:
        self.store = store
        self.cache = cache

    async def put(self, name: str, node: str = "", **labels: str) -> int:
        return await self.store.commit([], [Put(key(name), pod(name.split("/")[-1], node, **labels))])

    async def delete(self, name: str) -> int:
        return await self.store.commit([], [Delete(key(name))])


@asynccontextmanager
async def world(path: Path, **options: Any):
    store = await open_storage(str(path))
    cache = WatchCache(store, PREFIX, extract, **options)
    try:
        await cache.start()
        yield World(store, cache)
    finally:
        await cache.close()
        await store.close()


@pytest.fixture
async def w(tmp_path: Path):
    async with world(tmp_path / "state.db") as w:
        yield w


def shown(events: list) -> list[tuple[str, str, int]]:
    return [(type, entry.fields.get("metadata.name", ""), entry.revision) for type, entry in events]


async def drain(watch: watcher.Watcher, count: int) -> list:
    events: list = []
    async with asyncio.timeout(60):
        while len(events) < count:
            events += await watch.next_batch()
    return events


async def test_a_store_that_is_away_while_the_cache_reads_anew_is_asked_again(w, monkeypatch):
    monkeypatch.setattr(watch_cache, "_RETRY_SECONDS", 0.0)
    real, away = w.store.range, [StorageUnavailable("away")] * 3

    async def range_or_away(*args: Any, **asked: Any) -> Any:
        if away:
            raise away.pop()
        return await real(*args, **asked)

    monkeypatch.setattr(w.store, "range", range_or_away)
    await w.put("a")
    w.cache._source.end(Compacted(2))  # it fell behind, and then nobody answers
    revision = await w.put("b")
    async with asyncio.timeout(60):
        while w.cache.revision < revision or w.cache.count() < 2:
            await asyncio.sleep(0)
    assert not away


async def test_what_is_acknowledged_is_in_the_cache(w: World):
    for i in range(20):
        revision = await w.put("a", number=str(i))
        assert w.cache.revision >= revision
        entry = w.cache.get(key("a"))
        assert entry is not None
        assert (entry.revision, entry.labels["number"]) == (revision, str(i))
        assert orjson.loads(entry.data)["metadata"]["resourceVersion"] == str(revision)
    await w.delete("a")
    assert w.cache.get(key("a")) is None


async def test_the_cache_follows_the_counter_without_events_of_its_own(w: World):
    changed = w.cache.changed
    revision = await w.store.commit([], [Put("/registry/core/nodes/x", b"{}")])
    await w.cache.wait_for(revision, 5)
    assert w.cache.revision == revision
    assert w.cache.changed == changed


async def test_waiting_for_a_revision_that_does_not_come(w: World):
    with pytest.raises(TimeoutError):
        await w.cache.wait_for(w.cache.revision + 5, 0.05)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(w.cache.wait_for(w.cache.revision + 2, 5))
        await w.put("a")
        assert not waiting.done()
        await w.put("b")


async def test_a_filled_cache_has_all_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watch_cache, "_PAGE", 7)
    store = await open_storage(str(tmp_path / "state.db"))
    for i in range(30):
        await store.commit([], [Put(key(f"p{i:02}"), pod(f"p{i:02}"))])
    await store.close()
    async with world(tmp_path / "state.db") as w:
        assert w.cache.count() == 30
        assert [e.fields["metadata.name"] for e in w.cache.entries()] == [f"p{i:02}" for i in range(30)]
        assert w.cache.revision == 31


async def test_lists_with_selectors_and_in_chunks(w: World):
    for i in range(10):
        await w.put(f"default/p{i}", "n1" if i % 2 else "n2", app="web" if i < 6 else "db")
    await w.put("other/p0", "n1", app="web")
    every = w.cache.list(PREFIX)
    assert (len(every.entries), every.more, every.remaining, every.revision) == (11, False, 0, w.cache.revision)
    first = w.cache.list(PREFIX + "default/", limit=4)
    assert (len(first.entries), first.more, first.remaining) == (4, True, 6)
    rest = w.cache.list(PREFIX + "default/", start_after=first.entries[-1].key)
    assert [e.fields["metadata.name"] for e in rest.entries] == [f"p{i}" for i in range(4, 10)]
    labels, fields = parse_label_selector("app=web"), parse_field_selector("spec.nodeName=n1")
    assert [e.key for e in w.cache.list(PREFIX, labels, fields).entries] == [
        key(n) for n in ("default/p1", "default/p3", "default/p5", "other/p0")
    ]
    page = w.cache.list(PREFIX, labels, fields, limit=3)
    assert (len(page.entries), page.more, page.remaining) == (3, True, None)
    assert w.cache.list(PREFIX, labels, fields, start_after=page.entries[-1].key, limit=3).more is False
    assert w.cache.count(PREFIX + "other/") == 1


async def test_large_lists_of_one_moment_are_one(w: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watch_cache, "_SHARED", 2)
    for name in ("a/1", "a/2", "b/1"):
        await w.put(name)
    first = w.cache.list()
    assert w.cache.list().entries is first.entries
    assert names(w.cache.list(f"{PREFIX}a/")) == ["a/1", "a/2"]
    assert names(w.cache.list(f"{PREFIX}b/")) == ["b/1"]
    revision = await w.put("a/1", "node")
    assert max(e.revision for e in w.cache.list().entries) == revision
    await w.delete("a/2")
    assert names(w.cache.list()) == ["a/1", "b/1"]
    assert names(first) == ["a/1", "a/2", "b/1"]
    assert max(e.revision for e in first.entries) < revision


async def test_a_watch_of_everything(w: World):
    watch = w.cache.watch(PREFIX, after_revision=w.cache.revision)
    start = w.cache.revision
    await w.put("a")
    await w.put("a", x="y")
    await w.delete("a")
    events = await drain(watch, 3)
    assert shown(events) == [("ADDED", "a", start + 1), ("MODIFIED", "a", start + 2), ("DELETED", "a", start + 3)]
    last = orjson.loads(events[2][1].data)["metadata"]
    assert (last["resourceVersion"], last["labels"]) == (str(start + 3), {"x": "y"})
    watch.close()
    assert w.cache.watchers == 0


async def test_entering_and_leaving_a_selection(w: World):
    labels = parse_label_selector("app=web")
    watch = w.cache.watch(PREFIX, labels, after_revision=w.cache.revision)
    start = w.cache.revision
    await w.put("a", app="db")
    await w.put("a", app="web", v="1")
    await w.put("a", app="web", v="2")
    await w.put("a", app="db", v="3")
    await w.delete("a")
    await w.put("b", app="web")
    events = await drain(watch, 4)
    assert shown(events) == [
        ("ADDED", "a", start + 2),
        ("MODIFIED", "a", start + 3),
        ("DELETED", "a", start + 4),
        ("ADDED", "b", start + 6),
    ]
    gone = orjson.loads(events[2][1].data)["metadata"]
    assert (gone["labels"], gone["resourceVersion"]) == ({"app": "web", "v": "2"}, str(start + 4))
    # The same object at the same revision is alive for everybody else: encodings must not mix.
    alive = w.cache.watch(PREFIX, after_revision=start + 3)
    entry = (await alive.next_batch())[0][1]
    assert entry.revision == start + 4
    media = "application/test"
    assert events[2][1].encoding(media, lambda e: e.data) != entry.encoding(media, lambda e: e.data)
    watch.close()
    alive.close()


async def test_watchers_by_node_hear_only_of_theirs(w: World):
    one = w.cache.watch(PREFIX, fields=parse_field_selector("spec.nodeName=n1"), after_revision=w.cache.revision)
    two = w.cache.watch(PREFIX, fields=parse_field_selector("spec.nodeName=n2"), after_revision=w.cache.revision)
    none = w.cache.watch(PREFIX, fields=parse_field_selector("spec.nodeName="), after_revision=w.cache.revision)
    assert w.cache.watchers == 3
    await w.put("a")
    await w.put("a", "n1")
    await w.put("a", "n2")
    await w.delete("a")
    assert [e[0] for e in await drain(none, 2)] == ["ADDED", "DELETED"]
    assert [e[0] for e in await drain(one, 2)] == ["ADDED", "DELETED"]
    assert [e[0] for e in await drain(two, 2)] == ["ADDED", "DELETED"]
    for watch in (one, two, none):
        watch.close()
    assert w.cache.watchers == 0


async def test_initial_events_end_with_a_marker(w: World):
    await w.put("a", app="web")
    await w.put("b")
    labels = parse_label_selector("app=web")
    watch = w.cache.watch(PREFIX, labels, bookmarks=True, initial_events_end=True)
    revision = w.cache.revision
    events = await drain(watch, 2)
    assert shown(events) == [("ADDED", "a", 2), (watcher.INITIAL_EVENTS_END, "", revision)]
    await w.put("c", app="web")
    assert shown(await drain(watch, 1)) == [("ADDED", "c", revision + 1)]
    watch.close()
    obj = orjson.loads(bookmark("v1", "Pod", 7, initial_events_end=True))
    assert obj["metadata"] == {
        "resourceVersion": "7",
        "creationTimestamp": None,
        "annotations": {"k8s.io/initial-events-end": "true"},
    }


async def test_bookmarks_tell_of_progress_elsewhere(w: World):
    watch = w.cache.watch(PREFIX, after_revision=w.cache.revision, bookmarks=True, bookmark_interval=0.01)
    revision = await w.store.commit([], [Put("/registry/core/nodes/x", b"{}")])
    async with asyncio.timeout(60):
        ((type, entry),) = await watch.next_batch()
    assert (type, entry.revision) == (watcher.BOOKMARK, revision)
    watch.close()


async def test_a_watch_resumes_from_the_window_and_expires_outside(w: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watch_cache, "WINDOW_MIN", 100)
    monkeypatch.setattr(watch_cache, "WINDOW_MAX", 100)
    start = w.cache.revision
    for i in range(150):
        await w.put("a", i=str(i))
    watch = w.cache.watch(PREFIX, after_revision=start + 20)
    events = await drain(watch, 130)
    assert [e.revision for _, e in events] == list(range(start + 21, start + 151))
    watch.close()
    for i in range(100):
        await w.put("a", i=str(i))
    assert w.cache.oldest > start + 20
    with pytest.raises(ApiError) as expired:
        w.cache.watch(PREFIX, after_revision=start + 20)
    assert (expired.value.code, expired.value.reason) == (410, "Expired")
    assert expired.value.message == f"too old resource version: {start + 20} ({w.cache.oldest})"


async def test_the_window_is_bounded_by_age_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watch_cache, "WINDOW_MIN", 50)
    clock = ManualClock()
    async with world(tmp_path / "state.db", clock=clock) as w:
        for i in range(200):
            await w.put("a", i=str(i))
        assert len(w.cache._window) == 200
        clock.advance(400)
        await w.put("a")
        assert 50 <= len(w.cache._window) <= 115
        monkeypatch.setattr(watch_cache, "WINDOW_BYTES", 400)
        monkeypatch.setattr(watch_cache, "WINDOW_BYTES_HARD", 500)
        for i in range(100):
            await w.put("a", i=str(i))
        assert len(w.cache._window) < 70
        assert w.cache._window_bytes == sum(len(c.entry.data) for c in w.cache._window)


async def test_a_slow_watcher_is_ended_and_the_others_go_on(w: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watcher, "MAX_QUEUED", 10)
    slow = w.cache.watch(PREFIX, after_revision=w.cache.revision)
    quick = w.cache.watch(PREFIX, after_revision=w.cache.revision)
    for _ in range(30):
        await w.put("a")
        await quick.next_batch()
    with pytest.raises(WatchEnded, match="too slow"):
        await slow.next_batch()
    assert w.cache.watchers == 1
    quick.close()


async def test_one_wake_per_commit_group(w: World):
    watch = w.cache.watch(PREFIX, after_revision=w.cache.revision)
    await asyncio.gather(*(w.put(f"p{i}") for i in range(50)))
    batches = 0
    seen = 0
    while seen < 50:
        seen += len(await watch.next_batch())
        batches += 1
    assert batches < 25
    watch.close()


async def test_hints_spare_the_parse_and_wrong_ones_are_not_believed(tmp_path: Path):
    parsed = []

    def counting(data: bytes):
        parsed.append(data)
        return extract(data)

    store = await open_storage(str(tmp_path / "state.db"))
    cache = WatchCache(store, PREFIX, counting)
    await cache.start()
    value = pod("a", app="web")
    cache.hint(key("a"), value, {"app": "web"}, {"metadata.name": "a", "spec.nodeName": ""})
    await store.commit([], [Put(key("a"), value)])
    assert parsed == []
    cache.hint(key("a"), pod("a", app="lost"), {"app": "lost"}, {})
    await store.commit([], [Put(key("a"), pod("a", app="won"))])
    assert cache.get(key("a")).labels == {"app": "won"}  # type: ignore[union-attr]
    assert len(parsed) == 1
    await cache.close()
    await store.close()


async def test_an_object_that_cannot_be_read_does_not_stop_the_others(w: World):
    await w.store.commit([], [Put(key("bad"), b'{"metadata":{"x":1')])
    await w.put("good")
    assert w.cache.count() == 2


async def test_encodings_are_made_once_and_bounded(w: World):
    await w.put("a")
    entry = w.cache.get(key("a"))
    assert entry is not None
    made = []
    for _ in range(3):
        entry.encoding("m", lambda e: made.append(e) or b"x")
    assert len(made) == 1
    assert event_line("ADDED", entry) is event_line("ADDED", entry)
    assert orjson.loads(event_line("ADDED", entry)) == {"type": "ADDED", "object": orjson.loads(entry.data)}
    cache = Encodings(1000)
    for i in range(50):
        cache.get(("k", i, False, "m"), lambda: b"x" * 100)
    assert len(cache._made) == 10


async def test_closing_ends_watchers(tmp_path: Path):
    async with world(tmp_path / "state.db") as w:
        watch = w.cache.watch(PREFIX, after_revision=w.cache.revision)
        other = w.cache.watch(PREFIX, after_revision=w.cache.revision)
        await w.store.close()
        with pytest.raises(WatchEnded):
            await watch.next_batch()
    with pytest.raises(WatchEnded):
        await other.next_batch()


async def test_a_cache_left_behind_by_compaction_fills_itself_anew(w: World):
    await w.put("gone")
    watch = w.cache.watch(PREFIX, after_revision=w.cache.revision)
    assert isinstance(w.store, SQLiteStorage)
    source = w.cache._source
    source._live = False  # as when its queue overflowed  # type: ignore[union-attr]
    await w.delete("gone")
    await w.put("new")
    await w.store.compact(await w.store.current_revision())
    await w.cache.wait_for(await w.store.current_revision(), 5)
    assert [e.fields["metadata.name"] for e in w.cache.entries()] == ["new"]
    with pytest.raises(WatchEnded):
        await drain(watch, 99)


STEP = st.tuples(
    st.sampled_from(["a", "b", "c"]), st.sampled_from(["put", "put", "put", "delete"]), st.sampled_from(["web", "db"])
)


@given(
    steps=st.lists(STEP, max_size=40), late=st.integers(0, 40), selector=st.sampled_from(["app=web", "", "app!=web"])
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_watch_rebuilds_the_selected_world(tmp_path_factory, steps, late: int, selector: str):
    """Whatever happens, from whichever revision: applying the events to the state there gives the state now,
    with each type saying the truth about what was known before."""

    async def run() -> None:
        async with world(tmp_path_factory.mktemp("w") / "state.db") as w:
            labels = parse_label_selector(selector)
            known: dict[str, bytes] = {}
            start = w.cache.revision
            for i, (name, what, app) in enumerate(steps):
                if i == late:
                    listing = w.cache.list(PREFIX, labels)
                    known, start = {e.key: e.data for e in listing.entries}, listing.revision
                await (w.delete(name) if what == "delete" else w.put(name, app=app))
            watch = w.cache.watch(PREFIX, labels, after_revision=start)
            await w.put("end", app="web" if labels.matches({"app": "web"}) else "db")
            done = False
            while not done:
                for type, entry in await watch.next_batch():
                    assert (entry.key in known) == (type != "ADDED")
                    if type == "DELETED":
                        del known[entry.key]
                    else:
                        known[entry.key] = entry.data
                    done = done or entry.key == key("end")
            watch.close()
            assert known == {e.key: e.data for e in w.cache.list(PREFIX, labels).entries}

    with asyncio.Runner() as runner:
        runner.run(run())
