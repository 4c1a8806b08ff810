"""Backups: what is written comes back, from either backend into either, and nothing that is not whole is used."""

from __future__ import annotations

import asyncio
import gzip
import stat
from pathlib import Path

import pytest

from shirube.storage import backup, open_storage
from shirube.storage.types import Compacted, Compare, CompareFailed, Delete, FutureRevision, Put, StorageError

from .conformance import take
from .etcd_process import EtcdProcess

OBJECTS = {f"/registry/core/configmaps/default/{n:04}": f"value {n}".encode() * (n % 50) for n in range(1200)}
KEY = "/registry/core/configmaps/default/0007"


@pytest.fixture
def etcd(tmp_path: Path):
    process = EtcdProcess(tmp_path / "etcd")
    yield process
    process.remove()


@pytest.fixture
def places(tmp_path: Path, etcd: EtcdProcess) -> dict[str, str]:
    return {"sqlite": f"sqlite://{tmp_path}/one/store.db", "etcd": etcd.url}


async def _fill(url: str) -> int:
    store = await open_storage(url)
    try:
        await asyncio.gather(*(store.commit((), (Put(key, value),)) for key, value in OBJECTS.items()))
        await store.commit((), (Put("/registry/gone", b"x"),))
        return await store.commit((), (Delete("/registry/gone"),))
    finally:
        await store.close()


async def _held(url: str) -> dict[str, bytes]:
    store = await open_storage(url)
    try:
        return {kv.key: kv.value for kv in (await store.range("/registry/")).items}
    finally:
        await store.close()


@pytest.mark.parametrize("source", ["sqlite", "etcd"])
@pytest.mark.parametrize("target", ["sqlite", "etcd"])
async def test_from_either_backend_into_either(source: str, target: str, places: dict[str, str], tmp_path: Path):
    file = tmp_path / "backup"
    newest = await _fill(places[source])
    contents = await asyncio.to_thread(backup.back_up, places[source], file)
    assert contents == (newest, len(OBJECTS))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    again = f"{tmp_path}/two/store.db" if target == "sqlite" else places["etcd"]
    overwrite = source == target == "etcd"
    if overwrite:
        with pytest.raises(StorageError, match=r"it holds 1200 keys; say --overwrite"):
            await asyncio.to_thread(backup.restore, again, file)
    await asyncio.to_thread(lambda: backup.restore(again, file, overwrite=overwrite))
    assert await _held(again) == OBJECTS
    await _clients_of_before_are_told(again, newest)
    # And once more from there: it is a store like any other.
    second = await asyncio.to_thread(backup.back_up, again, tmp_path / "second")
    assert second.keys == len(OBJECTS)
    assert second.revision > newest + backup.HEADROOM


async def _clients_of_before_are_told(url: str, newest: int) -> None:
    store = await open_storage(url)
    try:
        now = await store.current_revision()
        held = await store.get(KEY)
        assert held is not None
        assert newest + backup.HEADROOM < held.create_revision == held.mod_revision <= now
        assert len({kv.mod_revision for kv in (await store.range("/registry/")).items}) == len(OBJECTS)
        for old in (2, newest, newest + 5):
            with pytest.raises(Compacted):
                await store.range("/registry/", revision=old)
            async with store.watch("/registry/", old) as watch:
                with pytest.raises(Compacted):
                    await anext(watch)
            with pytest.raises(CompareFailed) as failed:
                await store.commit((Compare(KEY, old),), (Put(KEY, b"stale"),))
            assert failed.value.current == held
        with pytest.raises(FutureRevision):
            await store.get(KEY, now + 100)
        async with store.watch("/registry/", now) as watch:
            written = await store.commit((Compare(KEY, held.mod_revision),), (Put(KEY, b"new"),))
            assert written > now
            (event,) = await take(watch, 1)
            assert (event.revision, event.create_revision) == (written, held.create_revision)
            watch.request_progress()
            async with asyncio.timeout(60):
                while watch.revision < written:
                    await anext(watch)
        assert await store.get(KEY, now) == held
        await store.compact(written)
        with pytest.raises(Compacted):
            await store.get(KEY, now)
        gone = await store.commit((Compare(KEY, written),), (Delete(KEY),))
        assert gone > written
        assert await store.commit((Compare(KEY, 0),), (Put(KEY, OBJECTS[KEY]),)) > gone
    finally:
        await store.close()


async def test_a_running_sqlite_store_is_backed_up_as_of_one_moment(tmp_path: Path):
    path = tmp_path / "store.db"
    store = await open_storage(str(path))

    async def write() -> None:
        n = 0
        while True:
            n += 1  # both always hold the same number
            await store.commit((), (Put("/registry/a", b"%d" % n), Put("/registry/b", b"%d" % n)))

    writing = asyncio.ensure_future(write())  # noqa: TID251
    try:
        await store.commit((), (Put("/registry/c", b""),))
        for n in range(5):
            contents = await asyncio.to_thread(backup.back_up, str(path), tmp_path / "backup")
            restored = f"{tmp_path}/{n}.db"
            await asyncio.to_thread(backup.restore, restored, tmp_path / "backup")
            held = await _held(restored)
            assert held["/registry/a"] == held["/registry/b"]
            assert contents.revision >= 2
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await store.close()


async def test_sqlite_keeps_what_it_replaces_and_counts_above_it(tmp_path: Path):
    path, file = tmp_path / "store.db", tmp_path / "backup"
    newest = await _fill(str(path))
    backup.back_up(str(path), file)
    store = await open_storage(str(path))
    with pytest.raises(StorageError, match="has it open"):
        backup.restore(str(path), file, overwrite=True)
    later = await store.commit((), (Put("/registry/later", b"x"),))
    await store.close()
    with pytest.raises(StorageError, match="--overwrite"):
        backup.restore(str(path), file)
    assert (await _held(str(path)))["/registry/later"] == b"x"
    backup.restore(str(path), file, overwrite=True)
    assert await _held(str(path)) == OBJECTS
    assert later > newest
    assert (await _held(f"{path}.before-restore"))["/registry/later"] == b"x"
    # A damaged store may be why somebody restores.
    with path.open("r+b") as damaged:
        damaged.write(b"\xff" * 4096)
    with pytest.raises(StorageError, match="damaged"):
        backup.restore(str(path), file)
    backup.restore(str(path), file, overwrite=True)
    assert await _held(str(path)) == OBJECTS


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    await _fill(str(tmp_path / "source.db"))
    backup.back_up(str(tmp_path / "source.db"), tmp_path / "backup")
    return tmp_path / "backup"


def _refused(file: Path, said: str) -> None:
    target = file.parent / "target" / "store.db"
    with pytest.raises(StorageError, match=said):
        backup.restore(str(target), file)
    assert not target.exists(), "nothing may be written from a file that is not whole"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
async def test_a_file_that_was_cut_short(file: Path, share: float):
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    _refused(file, "it is cut short|is not a backup")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.95, 0.9999])
async def test_a_file_that_was_changed(file: Path, share: float):
    data = bytearray(file.read_bytes())
    data[int(len(data) * share)] ^= 0x10
    file.write_bytes(data)
    _refused(file, "it is damaged|is cut short|is not a backup")


async def test_content_that_was_changed_and_packed_again(file: Path):
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[len(content) // 2] ^= 1
    file.write_bytes(gzip.compress(bytes(content)))
    _refused(file, "checksum does not fit|damaged|cut short")


async def test_files_that_are_no_backups(tmp_path: Path):
    (tmp_path / "text").write_text("hello")
    (tmp_path / "packed").write_bytes(gzip.compress(b"hello"))
    for name, said in {"text": "is not a backup", "packed": "is not a backup", "none": "No such file"}.items():
        _refused(tmp_path / name, said)
    with pytest.raises(StorageError, match="there is no such store"):
        backup.back_up(str(tmp_path / "none.db"), tmp_path / "backup")


async def test_a_half_restored_etcd_is_not_served(etcd: EtcdProcess, file: Path, monkeypatch: pytest.MonkeyPatch):
    async def fails(*_: object) -> None:
        raise StorageError("the machine went away")

    with monkeypatch.context() as context:
        context.setattr(backup, "_put_all", fails)
        with pytest.raises(StorageError, match="went away"):
            await asyncio.to_thread(backup.restore, etcd.url, file)
    with pytest.raises(StorageError, match=r"did not finish; run `shirube restore` again, with --overwrite"):
        await open_storage(etcd.url)
    await asyncio.to_thread(lambda: backup.restore(etcd.url, file, overwrite=True))
    assert await _held(etcd.url) == OBJECTS
