"""Keys, bytes and revisions: what keeps the cluster's objects. `types` is the interface, `open_storage` the door.

Imports nothing of the other rooms but `foundation`. Knows nothing of kinds, JSON or HTTP.
"""

from __future__ import annotations

from shirube.foundation.clock import SYSTEM, Clock
from shirube.storage.types import Storage, StorageError


async def open_storage(url: str, clock: Clock = SYSTEM) -> Storage:
    """The store at `url`: `sqlite:///absolute/path`, a plain path, `etcd://HOST:PORT` (`etcds://` with TLS; see
    `etcd_client`), or `memory:`, which is lost with its process. Raises StorageError."""
    if url == "memory:":
        from shirube.storage.memory import MemoryStorage

        return MemoryStorage()
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "sqlite", url
    if scheme == "sqlite" and rest:
        from shirube.storage.sqlite import SQLiteStorage

        return await SQLiteStorage.open(rest, clock)
    if scheme in ("etcd", "etcds") and rest:
        from shirube.storage.etcd import EtcdStorage

        return await EtcdStorage.open(url)
    raise StorageError(
        f"cannot open {url!r}: not a known kind of store; use sqlite:///PATH, a path, or etcd://HOST:PORT"
    )
