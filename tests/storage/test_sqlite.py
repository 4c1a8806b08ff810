"""What only the SQLite backend promises: durability on this disk, its own failures in words."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from shirube.storage import live_watch, open_storage, sqlite
from shirube.storage.sqlite import SQLiteStorage
from shirube.storage.types import Compare, CompareFailed, Delete, Event, Put, StorageError, StorageUnavailable


@pytest.fixture
async def store(tmp_path: Path):
    store = await SQLiteStorage.open(tmp_path / "state.db")
    yield store
    await store.close()


async def _limit_pages(store: SQLiteStorage, extra: int) -> None:
    """Let the file grow by `extra` pages at most: what a full disk looks like to SQLite."""

    def limit(connection: sqlite3.Connection) -> None:
        (now,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {now + extra}")

    await store._writer.run(limit)


async def test_a_commit_of_many_keys_is_one_revision(store: SQLiteStorage):
    await store.commit([], [Put("/a", b"1")])
    revision = await store.commit([Compare("/a", 2)], [Delete("/a"), Put("/b", b"2"), Delete("/none")])
    assert [kv.mod_revision for kv in (await store.range("/")).items] == [revision]
    async with store.watch("/", 2) as watch:
        batch = await anext(watch)
    assert batch == [
        Event("DELETE", "/a", b"", revision, 2, b"1"),
        Event("PUT", "/b", b"2", revision, revision, None),
    ]
    with pytest.raises(ValueError, match="on a key of its own"):
        await store.commit([], [Put("/a", b""), Delete("/a")])


async def test_a_full_disk_fails_the_write_and_what_was_built_on_it(store: SQLiteStorage):
    first = await store.commit([], [Put("/a", b"1")])
    await _limit_pages(store, 4)
    big = asyncio.ensure_future(store.commit([], [Put("/a", b"x" * 100_000)]))  # noqa: TID251
    await asyncio.sleep(0)
    # Checked against the pending head: fits only if the big write happens.
    built = asyncio.ensure_future(store.commit([Compare("/a", first + 1)], [Put("/a", b"3")]))  # noqa: TID251
    stale = asyncio.ensure_future(store.commit([Compare("/a", first)], [Put("/a", b"4")]))  # noqa: TID251
    results = await asyncio.gather(big, built, stale, return_exceptions=True)
    assert all(isinstance(r, StorageError) for r in results)
    assert "disk is full; free some space" in str(results[0])
    assert await store.current_revision() == first
    # It goes on: small writes fit, and big ones when there is room again.
    assert await store.commit([Compare("/a", first)], [Put("/a", b"2")]) == first + 1
    await _limit_pages(store, 1000)
    assert await store.commit([Compare("/a", first + 1)], [Put("/a", b"x" * 100_000)]) == first + 2


async def test_a_failed_compare_waits_for_the_pending_write(store: SQLiteStorage):
    async def write(value: bytes) -> int:
        return await store.commit([Compare("/a", 0)], [Put("/a", value)])

    won, lost = await asyncio.gather(write(b"1"), write(b"2"), return_exceptions=True)
    assert won == 2
    assert isinstance(lost, CompareFailed)
    assert lost.current is not None
    assert lost.current.value == b"1"


async def test_a_cancelled_writer_harms_nobody(store: SQLiteStorage):
    task = asyncio.ensure_future(store.commit([], [Put("/a", b"1")]))  # noqa: TID251
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.commit([], [Put("/b", b"1")]) == 3
    assert len((await store.range("/")).items) == 2


async def test_a_key_that_is_no_text_fails_its_writer_alone(store: SQLiteStorage):
    good = asyncio.ensure_future(store.commit([], [Put("/a", b"1")]))  # noqa: TID251
    with pytest.raises(ValueError, match="surrogates not allowed"):
        await store.commit([], [Put("/\ud800", b"")])
    assert await good == 2


async def test_compaction_of_much_history(store: SQLiteStorage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite, "_COMPACT_SCAN", 50)
    monkeypatch.setattr(sqlite, "_COMPACT_SLICE", 7)
    await asyncio.gather(*(store.commit([], [Put(f"/{i % 10}", b"v" * 100)]) for i in range(500)))
    await asyncio.gather(*(store.commit([], [Delete(f"/{i}")]) for i in range(3)))
    await store.compact(await store.current_revision())
    (rows,) = store._inline.execute("SELECT count(*) FROM history").fetchone()
    assert rows == len((await store.range("/")).items) == 7


async def test_groups_larger_than_one_statement(store: SQLiteStorage):
    count = 700
    revisions = await asyncio.gather(*(store.commit([], [Put(f"/{i:03}", b"v")]) for i in range(count)))
    assert revisions == list(range(2, count + 2))
    assert len((await store.range("/")).items) == count


async def test_a_slow_watcher_reads_again_instead_of_growing(store: SQLiteStorage):
    watch = live_watch.LiveWatch(store, "/", await store.current_revision(), max_queued=10)
    store._watches.add(watch)
    for i in range(50):
        await store.commit([], [Put("/a", str(i).encode())])
        assert watch._queued <= 10
    seen: list[bytes] = []
    while len(seen) < 50:
        seen += [e.value for e in await anext(watch)]
    assert seen == [str(i).encode() for i in range(50)]
    await store.commit([], [Put("/a", b"live")])
    assert [e.value for e in await anext(watch)] == [b"live"]


async def test_history_comes_in_slices_that_end_between_commits(store: SQLiteStorage):
    for n in range(4):
        await store.commit([], [Put(f"/{i:03}", str(n).encode()) for i in range(400)])
    async with store.watch("/", 1) as watch:
        sizes = [len(await anext(watch)) for _ in range(2)]
    assert sizes == [1200, 400]


async def test_a_second_opener_is_told_who_has_it(store: SQLiteStorage, tmp_path: Path):
    with pytest.raises(StorageUnavailable, match=f"process {os.getpid()} has it open; stop that one first"):
        await SQLiteStorage.open(tmp_path / "state.db")


async def test_a_file_that_is_no_database(tmp_path: Path):
    (tmp_path / "x.db").write_bytes(b"not a database at all, but long enough to be looked at" * 30)
    with pytest.raises(StorageError, match=r"damaged.*restore a backup"):
        await SQLiteStorage.open(tmp_path / "x.db")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (a)").connection.close()
    with pytest.raises(StorageError, match="not one of ours"):
        await SQLiteStorage.open(tmp_path / "other.db")


async def test_a_damaged_page(tmp_path: Path):
    path = tmp_path / "state.db"
    store = await SQLiteStorage.open(path)
    for i in range(50):
        await store.commit([], [Put(f"/{i}", b"x" * 5000)])
    await store.close()
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 8192 * 20)
    with pytest.raises(StorageError, match="damaged"):
        store = await SQLiteStorage.open(path)


async def test_urls_and_paths_that_cannot_be_opened(tmp_path: Path):
    with pytest.raises(StorageError, match="not a known kind of store"):
        await open_storage("mysql://x")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot create"):
        await open_storage(f"{tmp_path}/file/state.db")


_WRITER = """
import asyncio, sys
from shirube.storage import open_storage
from shirube.storage.types import Put

async def main():
    store = await open_storage(sys.argv[1])
    async def write(w):
        for n in range(100_000):
            revision = await store.commit([], [Put(f"/{w}/{n}", f"{w}-{n}".encode() * 300)])
            print(w, n, revision, flush=True)
    await asyncio.gather(*(write(w) for w in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 60, 900])
async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, acknowledged: int):
    path = tmp_path / "state.db"
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    store = await SQLiteStorage.open(path)
    try:
        held = {kv.key: kv for kv in (await store.range("/")).items}
        complete = [line.split() for line in lines if line.endswith("\n")]
        assert len(complete) >= acknowledged
        for writer, number, revision in complete:
            kv = held[f"/{writer}/{number}"]
            assert (kv.value, kv.mod_revision) == (f"{writer}-{number}".encode() * 300, int(revision))
        assert sorted(kv.mod_revision for kv in held.values()) == list(range(2, len(held) + 2))
    finally:
        await store.close()
