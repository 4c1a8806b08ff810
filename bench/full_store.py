"""A server over a store of 100,000 objects of 2 KB: how soon it is ready, what it needs.

The objects are written by the storage room itself, a thousand a commit, before the server starts.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import orjson

from bench.figure import Figure
from bench.load import in_process
from bench.processes import pss
from bench.server import Server
from bench.sharing import Shared

OBJECTS = 100_000
COMMIT = 1000
_TEXT = "x" * 1700


def run(shared: Shared) -> list[Figure]:
    data = Path(tempfile.mkdtemp(prefix="shirube-bench-"))
    in_process(fill, str(data))
    server = Server(data)
    try:
        memory = pss(server.process.pid)
    finally:
        server.close()
    what, command = f"{OBJECTS:,} stored objects of 2 KB", "python -m bench full_store"
    return [
        Figure(f"{what}: exec to /readyz", f"{server.ready_after:.1f} s", "≤ 5 s", command),
        Figure(f"{what}: memory (PSS)", f"{memory / 1e6:.0f} MB", "≤ 600 MB", command),
    ]


def fill(folder: str) -> None:
    from shirube.storage import open_storage
    from shirube.storage.types import Put

    def value(n: int) -> bytes:
        meta = {
            "name": f"object-{n:06}",
            "namespace": "bench",
            "uid": f"00000000-0000-4000-8000-{n:012}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "bench", "shard": str(n % 100)},
        }
        return orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"text": _TEXT}})

    async def write() -> None:
        store = await open_storage(f"{folder}/store.db")
        for start in range(0, OBJECTS, COMMIT):
            puts = [
                Put(f"/registry/core/configmaps/bench/object-{n:06}", value(n)) for n in range(start, start + COMMIT)
            ]
            await store.commit((), puts)
        await store.close()

    asyncio.run(write())
