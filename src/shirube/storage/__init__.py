"""Keys, bytes and revisions: what keeps the cluster's objects. `types` is the interface, `open_storage` the door.

Imports nothing of the other rooms but `foundation`. Knows nothing of kinds, JSON or HTTP.
"""

from __future__ import annotations

from shirube.foundation.clock import SYSTEM, Clock
from shirube.storage.types import Storage, StorageError


async def open_storage(url: str, clock: Clock = SYSTEM) -> Storage:
    """The store at `url`: `sqlite:///absolute/path` or a plain path. Raises StorageError."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "sqlite", url
    if scheme == "sqlite" and rest:
        from shirube.storage.sqlite import SQLiteStorage

        return await SQLiteStorage.open(rest, clock)
    raise StorageError(f"cannot open {url!r}: not a known kind of store; use sqlite:///PATH or a path")
