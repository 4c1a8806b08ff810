"""Backup and restore of a whole store, from either backend into either.

A backup is the state at one revision, taken beside a running server. A restore writes it into an empty store (or, when
told so, over what is there), and goes on counting far above every revision that a client can have seen: whoever holds
an old one is told that it is too old (410) and lists anew, instead of waiting for it or mistaking new for old.

SQLite: the new file is made beside the old one and takes its place in one step; the old one stays as
`*.before-restore`. etcd: a mark keeps servers from opening a store that is half restored, and `shifted` moves its
revisions up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from shirube.storage import backup_file, sqlite_reader
from shirube.storage.backup_file import Contents
from shirube.storage.etcd import EtcdStorage
from shirube.storage.sqlite_file import OP_BITS, FileLock, connect, explain, make_directory, open_writer
from shirube.storage.types import KeyValue, Put, Storage, StorageError

# More than a store can write between a backup and its loss: a day and a half at 8,000 commits a second.
HEADROOM = 1_000_000_000
PREFIX = "/registry/"  # in an etcd, there may be others' keys beside ours
_PAGE = 500
_AT_ONCE = 64


def is_etcd(url: str) -> bool:
    return url.startswith(("etcd://", "etcds://"))


def back_up(url: str, file: Path) -> Contents:
    """From the store at `url` (as `open_storage` takes it) into `file`. Blocks. Raises StorageError."""
    if is_etcd(url):
        return asyncio.run(_back_up_etcd(url, file))
    return _back_up_sqlite(_path(url), file)


def restore(url: str, file: Path, *, overwrite: bool = False) -> Contents:
    """From `file` into the store at `url`, which nobody may be using. Blocks. Raises StorageError."""
    contents = backup_file.check(file)
    if is_etcd(url):
        asyncio.run(_restore_etcd(url, file, contents, overwrite))
    else:
        _restore_sqlite(_path(url), file, contents, overwrite)
    return contents


def _path(url: str) -> Path:
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "sqlite":
        raise StorageError(f"cannot back up or restore {url!r}: use a path, or the URL of an etcd")
    return Path(rest if separator else url)


# SQLite


def _back_up_sqlite(path: Path, file: Path) -> Contents:
    if not path.is_file():
        raise StorageError(f"cannot back up {path}: there is no such store")
    try:
        with contextlib.closing(connect(path)) as connection:
            connection.execute("BEGIN")  # one state, whatever the server writes meanwhile
            compacted, newest, keys = sqlite_reader.load(connection)
            return backup_file.write(file, max(compacted, newest, 1), _rows(connection, keys))
    except sqlite3.Error as error:
        raise explain(error, path, "back up") from error


def _rows(connection: sqlite3.Connection, keys: list[tuple[str, tuple[int, int]]]) -> Iterator[KeyValue]:
    for start in range(0, len(keys), _PAGE):
        page = keys[start : start + _PAGE]
        values = sqlite_reader.values(connection, [id for _, (_, id) in page])
        for key, (create, id) in page:
            yield KeyValue(key, values[id], create, id >> OP_BITS)


def _restore_sqlite(path: Path, file: Path, contents: Contents, overwrite: bool) -> None:
    make_directory(path.parent)
    lock = FileLock(path)
    try:
        base = max(contents.revision, _held_by(path, overwrite)) + HEADROOM
        part = path.with_name(path.name + ".restoring")
        _remove(part)
        _fill(part, file, base)
        if path.exists():
            before = path.with_name(path.name + ".before-restore")
            before.unlink(missing_ok=True)
            os.link(path, before)
        os.replace(part, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StorageError(f"cannot restore into {path}: {error.strerror or error}") from error
    finally:
        lock.release()


def _held_by(path: Path, overwrite: bool) -> int:
    """The revision of what is there; afterwards its file is all of it. Raises StorageError when it may not go."""
    if not path.exists():
        return 0
    try:
        with contextlib.closing(open_writer(path)) as connection:
            compacted, newest, keys = sqlite_reader.load(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except (sqlite3.Error, StorageError):
        if not overwrite:
            raise
        _remove(path.with_name(path.name), only_logs=True)
        return 0  # it is damaged: that may be why somebody restores
    if keys and not overwrite:
        raise _not_empty(str(path), len(keys))
    return max(compacted, newest)


def _fill(path: Path, file: Path, base: int) -> None:
    """A store at `path` with one revision for each key, all above `base`."""
    try:
        with contextlib.closing(open_writer(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            revision = base
            for revision, item in enumerate(backup_file.read(file), base + 1):
                row = (revision << OP_BITS, item.key, revision, 0, item.value)
                connection.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?)", row)
            connection.execute("UPDATE meta SET value = ? WHERE name = 'compact_revision'", (revision,))
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except BaseException as error:
        _remove(path)
        if isinstance(error, sqlite3.Error):
            raise explain(error, path, "restore into") from error
        raise


def _remove(path: Path, *, only_logs: bool = False) -> None:
    for end in ("-wal", "-shm") if only_logs else ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)


def _not_empty(what: str, keys: int) -> StorageError:
    return StorageError(
        f"cannot restore into {what}: it holds {keys} keys; say --overwrite to replace them, or take an empty store"
    )


# etcd


async def _back_up_etcd(url: str, file: Path) -> Contents:
    store = await EtcdStorage.open(url)
    try:
        revision = await store.current_revision()
        items = [item async for item in _pages(store, revision)]
    finally:
        await store.close()
    return await asyncio.to_thread(backup_file.write, file, revision, items)


async def _pages(store: Storage, revision: int) -> AsyncIterator[KeyValue]:
    after = ""
    while True:
        page = await store.range(PREFIX, start_after=after, limit=_PAGE, revision=revision)
        for item in page.items:
            yield item
        if not page.more:
            return
        after = page.items[-1].key


async def _restore_etcd(url: str, file: Path, contents: Contents, overwrite: bool) -> None:
    store = await EtcdStorage.connect(url)
    try:
        held = await store.range(PREFIX, limit=1, count=True)
        if held.count and not overwrite:
            raise _not_empty(url.partition("?")[0], held.count)
        before = await store.offset()
        await store.clear(PREFIX)  # marks it as half restored, too
        await _put_all(store, file)
        seen = await store.current_revision() + before
        await store.finish_restore(max(contents.revision, seen) + HEADROOM)
    finally:
        await store.close()


async def _put_all(store: EtcdStorage, file: Path) -> None:
    """Commits of one key each: every object has a revision of its own."""
    items = backup_file.read(file)
    async with asyncio.TaskGroup() as group:

        async def work() -> None:
            for item in items:
                await store.commit((), (Put(item.key, item.value),))

        for n in range(_AT_ONCE):
            group.create_task(work(), name=f"restore-{n}")
