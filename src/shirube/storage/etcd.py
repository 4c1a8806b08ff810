"""The store on etcd v3 (3.4 and later): any number of API servers share it.

One commit is one transaction; its revision is the transaction's. One stream watches the whole key space and feeds
every `watch` of this process (`etcd_watch`): each revision of etcd is an event there, so a server knows exactly how
far it has come without progress notifications, which are wrong before 3.4.31. A read that must be current joins those
that wait for the same linearizable Range.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from shirube.foundation import log
from shirube.foundation.tasks import cancel, spawn
from shirube.storage.etcd_client import EtcdClient, NoSpace, RevisionCompacted, RevisionInFuture
from shirube.storage.etcd_watch import EtcdWatch, WatchHub
from shirube.storage.shifted import ShiftedStorage
from shirube.storage.types import (
    Compacted,
    Compare,
    CompareFailed,
    Delete,
    FutureRevision,
    KeyValue,
    Op,
    Put,
    Range,
    Storage,
    StorageError,
    StorageUnavailable,
    Watch,
)

# Beside the objects: what a restore adds to every revision (see `shifted`), and the mark of one that is not done.
OFFSET_KEY = "/shirube/revision-offset"
RESTORING_KEY = "/shirube/restoring"
_ROOM_SECONDS = 60.0  # at most once in so long
_DEFRAGMENT_SECONDS = 60.0
_logger = log.get("etcd")
_NOTHING = b"\x00"  # a key that nobody uses: reading it tells the current revision


class EtcdStorage:
    def __init__(self, client: EtcdClient) -> None:
        self._client = client
        self._hub: WatchHub | None = None
        self._reading: asyncio.Task[int | StorageError] | None = None
        self._next_reading: asyncio.Task[int | StorageError] | None = None
        self._closed = False
        self._making_room: asyncio.Task[None] | None = None
        self._made_room_at = float("-inf")

    @classmethod
    async def connect(cls, url: str) -> EtcdStorage:
        """Connect, and fail with a clear error when nobody is there. Revisions are etcd's own."""
        client = EtcdClient(url)
        store = cls(client)
        try:
            store._hub = WatchHub(client, await store._read_revision(), store.current_revision)
        except BaseException:
            await client.close()
            raise
        return store

    @classmethod
    async def open(cls, url: str) -> Storage:
        """Connect as a server does: with the revisions that clients know, and not to what is half restored."""
        store = await cls.connect(url)
        try:
            if await store.get(RESTORING_KEY) is not None:
                raise StorageError(
                    f"cannot use {url.partition('?')[0]}: a restore into it did not finish; "
                    "run `shirube restore` again, with --overwrite"
                )
            offset = await store.offset()
        except BaseException:
            await store.close()
            raise
        return ShiftedStorage(store, offset) if offset else store

    async def offset(self) -> int:
        """What an earlier restore added to the revisions."""
        held = await self.get(OFFSET_KEY)
        return int(held.value) if held is not None else 0

    async def clear(self, prefix: str) -> None:
        """Begin a restore: no keys below `prefix`, and no server opens this until `finish_restore`."""
        await self._client.call(
            "Txn",
            writes=True,
            success=[
                _operation(Put(RESTORING_KEY, b"")),
                {"request_delete_range": {"key": prefix.encode(), "range_end": prefix_end(prefix)}},
            ],
        )

    async def finish_restore(self, offset: int) -> None:
        """From now on servers may open it; what was before is history that nobody can ask for."""
        done = await self.commit((), (Put(OFFSET_KEY, str(offset).encode()), Delete(RESTORING_KEY)))
        await self.compact(done)

    async def commit(self, compares: Sequence[Compare], ops: Sequence[Op]) -> int:
        self._check_open()
        try:
            answer = await self._transaction(compares, ops)
        except NoSpace:
            self._make_room()
            raise
        if answer.succeeded:
            return int(answer.header.revision)
        raise _failed(compares, answer)

    async def _transaction(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Any:
        return await self._client.call(
            "Txn",
            writes=True,
            compare=[
                {"result": "EQUAL", "target": "MOD", "key": c.key.encode(), "mod_revision": c.mod_revision}
                for c in compares
            ],
            success=[_operation(op) for op in ops],
            failure=[{"request_range": {"key": c.key.encode()}} for c in compares],
        )

    def _make_room(self) -> None:
        """In the background, once a while: etcd is at its quota, and stays so until somebody does this."""
        now = asyncio.get_running_loop().time()
        if (self._making_room is None or self._making_room.done()) and now - self._made_room_at >= _ROOM_SECONDS:
            self._made_room_at = now
            self._making_room = spawn(self._forget_and_shrink(), name="etcd-make-room")

    async def _forget_and_shrink(self) -> None:
        """Without history and gaps, the file may be under its quota again; else the alarm comes back by itself."""
        try:
            await self.compact(await self.current_revision())
            await self._client.call("Defragment", within=_DEFRAGMENT_SECONDS)
            raised = await self._client.call("Alarm", action="GET")
            for alarm in raised.alarms:
                await self._client.call("Alarm", action="DEACTIVATE", memberID=alarm.memberID, alarm=alarm.alarm)
            _logger.warning("etcd was at its quota: forgot old history and shrank its file")
        except (StorageError, FutureRevision) as error:
            _logger.error("cannot make room in etcd", error=str(error))

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        answer = await self._range(revision, key=key.encode())
        return _key_value(answer.kvs[0]) if answer.kvs else None

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0, count: bool = False
    ) -> Range:
        first = max(prefix.encode(), start_after.encode() + b"\x00" if start_after else b"")
        answer = await self._range(revision, key=first, range_end=prefix_end(prefix), limit=limit)
        items = [_key_value(kv) for kv in answer.kvs]
        at = revision or int(answer.header.revision)
        return Range(items, at, bool(answer.more), int(answer.count) if count else len(items))

    async def current_revision(self) -> int:
        """Linearizable. Whoever asks while one question is under way shares the next one: that began after both."""
        self._check_open()
        if self._reading is None or self._reading.done():
            self._reading = spawn(self._ask(None), name="etcd-revision")
            found = await asyncio.shield(self._reading)
        else:
            if self._next_reading is None or self._next_reading.done():
                self._next_reading = spawn(self._ask(self._reading), name="etcd-next-revision")
            found = await asyncio.shield(self._next_reading)
        if isinstance(found, StorageError):
            raise type(found)(*found.args)  # many may wait for the same answer
        return found

    async def _ask(self, earlier: asyncio.Task[int | StorageError] | None) -> int | StorageError:
        """The revision, or why it cannot be told, for everybody who waits; after `earlier`."""
        if earlier is not None:
            await asyncio.wait([earlier])
            self._reading, self._next_reading = self._next_reading, None
        try:
            return await self._read_revision()
        except StorageError as error:
            return error

    @asynccontextmanager
    async def _watching(self, prefix: str, after_revision: int) -> AsyncIterator[Watch]:
        self._check_open()
        assert self._hub is not None
        watch = EtcdWatch(self._hub, prefix, after_revision)
        try:
            yield watch
        finally:
            await watch.close()

    def watch(self, prefix: str, after_revision: int) -> Any:
        return self._watching(prefix, after_revision)

    async def compact(self, revision: int) -> None:
        self._check_open()
        try:
            await self._client.call("Compact", revision=revision)
        except RevisionCompacted:
            return  # done before, by us or by another server
        except RevisionInFuture as error:
            raise FutureRevision(revision, await self.current_revision()) from error
        assert self._hub is not None
        self._hub.compacted(revision)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._hub is not None:
            await self._hub.close()
        await cancel(self._reading, self._next_reading, self._making_room)
        await self._client.close()

    async def _read_revision(self) -> int:
        return int((await self._client.call("Range", key=_NOTHING, count_only=True)).header.revision)

    async def _range(self, revision: int, **fields: Any) -> Any:
        self._check_open()
        try:
            return await self._client.call("Range", revision=revision, **fields)
        except RevisionCompacted as error:
            assert self._hub is not None
            raise Compacted(await self._hub.oldest_held()) from error
        except RevisionInFuture as error:
            raise FutureRevision(revision, await self.current_revision()) from error

    def _check_open(self) -> None:
        if self._closed:
            raise StorageUnavailable("the store is closed")


def prefix_end(prefix: str) -> bytes:
    """The first key after every key that begins with `prefix`; one zero byte (no end) for the empty prefix."""
    data = bytearray(prefix.encode())
    while data and data[-1] == 0xFF:
        data.pop()
    if not data:
        return b"\x00"
    data[-1] += 1
    return bytes(data)


def _operation(op: Op) -> dict[str, Any]:
    if isinstance(op, Put):
        return {"request_put": {"key": op.key.encode(), "value": op.value}}
    return {"request_delete_range": {"key": op.key.encode()}}


def _failed(compares: Sequence[Compare], answer: Any) -> CompareFailed:
    """The first compare that did not hold, from the state that the transaction read instead of writing."""
    for compare, response in zip(compares, answer.responses, strict=True):
        kvs = response.response_range.kvs
        current = _key_value(kvs[0]) if kvs else None
        if (current.mod_revision if current else 0) != compare.mod_revision:
            return CompareFailed(compare.key, current)
    raise AssertionError("etcd failed a transaction whose compares all hold")


def _key_value(kv: Any) -> KeyValue:
    return KeyValue(kv.key.decode(), kv.value, kv.create_revision, kv.mod_revision)
