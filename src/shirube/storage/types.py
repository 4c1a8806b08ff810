"""Keys, bytes and revisions: the whole interface between the API server and what keeps its objects.

The model is etcd's. Every commit that changes anything gets the next revision of one counter; a key remembers
the revision that created it and the one that last changed it; history stays readable until it is compacted.

- A commit is compare-and-write: all of its `Compare`s hold and all of its operations happen, or nothing does.
  Its revision is known only once it is durable. One key appears at most once in a commit; a backend may allow
  only one operation (etcd: one object per transaction), so callers that can do with one use one.
- `current_revision` is linearizable: it is at least the revision of every commit acknowledged before, by any
  server that shares the store.
- A watch delivers, for its prefix, every event after a revision, in order, without gaps or repetition, and never
  before the commit is durable. It keeps up or reads history again: it never makes a writer wait.
- Revisions begin at 1 (an empty store); the first commit is 2. 0 stands for "none" and "the newest".

Backends: `sqlite` (one process, embedded), `etcd` (any number of servers). `tests/storage/conformance.py` is what a
backend must pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, NamedTuple, Protocol, TypeAlias

from shirube.foundation.process import CannotRun

FIRST_REVISION = 1


class KeyValue(NamedTuple):
    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Event(NamedTuple):
    """One change of one key. `prev_value` is the last value for DELETE (whose `value` is empty), else None:
    who needs the state before a PUT holds it already."""

    kind: Literal["PUT", "DELETE"]
    key: str
    value: bytes
    revision: int
    create_revision: int
    prev_value: bytes | None


class Batch(list[Event]):
    """Events of one commit group (or one slice of history). Nothing up to `revision` is still to come.

    An empty batch only reports progress.
    """

    __slots__ = ("revision",)

    def __init__(self, events: Iterable[Event] = (), revision: int = 0) -> None:
        super().__init__(events)
        self.revision = revision


class Put(NamedTuple):
    key: str
    value: bytes


class Delete(NamedTuple):
    key: str


class Compare(NamedTuple):
    """The key's newest revision must be this; 0: the key must not exist."""

    key: str
    mod_revision: int


Op: TypeAlias = Put | Delete


class Range(NamedTuple):
    """Keys in byte order at one revision. `count` is the number of keys in the whole range (after `start_after`)
    when it was asked for, else the number of items."""

    items: list[KeyValue]
    revision: int
    more: bool
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here


class Compacted(Exception):
    """The revision asked for is no longer held; everything from `compact_revision` on is."""

    def __init__(self, compact_revision: int) -> None:
        super().__init__(f"the required revision has been compacted (oldest held: {compact_revision})")
        self.compact_revision = compact_revision


class FutureRevision(Exception):
    """The revision asked for has not happened yet."""

    def __init__(self, revision: int, current: int) -> None:
        super().__init__(f"revision {revision} is in the future (current: {current})")
        self.revision = revision
        self.current = current


class CompareFailed(Exception):
    """A compare did not hold; nothing was written. `current` is the key as it is now."""

    def __init__(self, key: str, current: KeyValue | None) -> None:
        super().__init__(f"{key} has changed (revision {current.mod_revision if current else 0})")
        self.key = key
        self.current = current


class StorageError(CannotRun):
    """The store could not do it. After a failed commit the write has not happened, unless the message says that
    its outcome is unknown. Later calls may succeed."""


class StorageUnavailable(StorageError):
    """The store is closed, locked by another process, or cannot be reached."""


class Watch(Protocol):
    """What `Storage.watch` yields: an async iterator of batches.

    `revision`: everything up to it has been taken out of the iterator. A backend in this process advances
    it with every commit, events or none; others when they hear of progress, which `request_progress` asks for:
    a (possibly empty) batch with at least the revision that is current now will follow.
    """

    @property
    def revision(self) -> int: ...

    def request_progress(self) -> None: ...

    def __aiter__(self) -> AsyncIterator[Batch]: ...

    async def __anext__(self) -> Batch: ...


class Storage(Protocol):
    async def commit(self, compares: Sequence[Compare], ops: Sequence[Op]) -> int:
        """The commit's revision, durable. A commit that changes nothing (deletes of absent keys) uses no revision
        and returns the current one. Raises CompareFailed, StorageError, StorageUnavailable."""
        ...

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        """The key now, or as it was at `revision`. Raises Compacted, FutureRevision."""
        ...

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0, count: bool = False
    ) -> Range:
        """Keys that begin with `prefix` and sort after `start_after`. Raises Compacted, FutureRevision."""
        ...

    async def current_revision(self) -> int: ...

    def watch(self, prefix: str, after_revision: int) -> AbstractAsyncContextManager[Watch]:
        """Iterating raises Compacted when `after_revision` is no longer held, StorageUnavailable when the store
        goes away."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget what was overwritten or deleted at or before `revision`; a smaller one than before is a no-op.
        Raises FutureRevision."""
        ...

    async def close(self) -> None:
        """Finish what was begun, then end all watches. Idempotent."""
        ...
