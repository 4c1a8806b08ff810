"""A store that is written to for ever does not grow for ever, once what was overwritten is compacted."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from shirube.storage import etcd, open_storage, sqlite_checkpoint
from shirube.storage.etcd_client import EtcdClient
from shirube.storage.sqlite import SQLiteStorage
from shirube.storage.types import Delete, Put, Storage, StorageError

from .etcd_process import EtcdProcess

_VALUE = b"v" * 2000


async def _churn(store: Storage, writes: int) -> None:
    """Updates, creates and deletes; at most 40 keys are there."""
    for start in range(0, writes, 100):
        ops = [Delete(f"/k/{n % 40}") if n % 7 == 0 else Put(f"/k/{n % 40}", _VALUE) for n in range(start, start + 100)]
        await asyncio.gather(*(store.commit((), (op,)) for op in ops))


async def test_sqlite_stays_as_large_as_what_it_holds(tmp_path: Path):
    store = await SQLiteStorage.open(tmp_path / "store.db")
    try:
        sizes = []
        for _ in range(8):
            await _churn(store, 1500)
            await store.compact(await store.current_revision())
            sizes.append(sum(f.stat().st_size for f in tmp_path.iterdir() if f.suffix != ".lock"))
        # 12,000 writes of 2 KB: 24 MB of history, of which one round is ever held.
        assert max(sizes[3:]) <= max(sizes[:3]) * 1.1, sizes
        (rows,) = store._inline.execute("SELECT count(*) FROM history").fetchone()
        assert rows <= 40
    finally:
        await store.close()


async def test_the_log_is_carried_over_while_writers_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_checkpoint, "PAGES", 64)
    store = await SQLiteStorage.open(tmp_path / "store.db")
    try:
        await _churn(store, 6000)
        log = (tmp_path / "store.db-wal").stat().st_size
        assert log < 8 << 20, "12 MB went through it"
    finally:
        await store.close()


async def test_a_checkpoint_that_fails_fails_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tried = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fails(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(tried.set)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sqlite_checkpoint, "PAGES", 8)
    monkeypatch.setattr(sqlite_checkpoint, "_carry_over", fails)
    store = await SQLiteStorage.open(tmp_path / "store.db")
    try:
        await _churn(store, 400)
        async with asyncio.timeout(60):
            await tried.wait()
        monkeypatch.undo()
        await _churn(store, 100)
        assert len((await store.range("/k/")).items) > 30
    finally:
        await store.close()


async def _size(url: str) -> tuple[int, int]:
    client = EtcdClient(url)
    try:
        status = await client.call("Status")
        return int(status.dbSize), int(status.dbSizeInUse)
    finally:
        await client.close()


async def test_etcd_stays_as_large_as_what_it_holds(tmp_path: Path):
    process = EtcdProcess(tmp_path / "etcd")
    store = await open_storage(process.url)
    try:
        sizes = []
        for _ in range(15):
            await _churn(store, 600)
            await store.compact(await store.current_revision())
            sizes.append((await _size(process.url))[0])
        # etcd frees pages in the background, so some rounds overlap. 18 MB were written.
        assert max(sizes) < 9_000_000, sizes
    finally:
        await store.close()
        process.remove()


async def test_etcd_at_its_quota_says_so_and_recovers_when_history_was_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(etcd, "_ROOM_SECONDS", 0.0)
    process = EtcdProcess(tmp_path / "etcd", flags=("--quota-backend-bytes=6000000",))
    store = await open_storage(process.url)
    try:
        acknowledged = 0
        with pytest.raises(StorageError, match="it has reached its quota"):
            for n in range(10_000):
                await store.commit((), (Put("/k/same", b"%d:" % n + _VALUE),))
                acknowledged = n
        # Reads go on, what was acknowledged is there, and soon it accepts writes again. The write with which etcd comes
        # to know that its quota is used up may have been applied, although it was refused.
        held = await store.get("/k/same")
        assert held is not None
        assert held.value in [b"%d:" % n + _VALUE for n in (acknowledged, acknowledged + 1)]
        async with asyncio.timeout(60):
            while True:
                try:
                    await store.commit((), (Put("/k/other", _VALUE),))
                    break
                except StorageError as error:
                    assert "quota" in str(error)
                    await asyncio.sleep(0.05)
        assert (await _size(process.url))[0] < 6_000_000
        await _churn(store, 200)
    finally:
        await store.close()
        process.remove()
