from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, GVR, PODS
from shirube.api.resources import BUILTIN, Resource
from shirube.apiserver import reader as reader_module
from shirube.apiserver.reader import Reader
from shirube.apiserver.watch_cache import WatchCache
from shirube.storage import open_storage
from shirube.storage.types import Delete, Put


class Caches:
    def __init__(self, store: Any) -> None:
        self.store = store
        self.made: dict[str, WatchCache] = {}

    def of(self, resource: Resource) -> WatchCache:
        prefix = resource.prefix()
        if prefix not in self.made:
            self.made[prefix] = WatchCache(self.store, prefix, lambda data: ({}, {}))
        return self.made[prefix]


def config_map(name: str, size: int = 0) -> bytes:
    return orjson.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": "y" * size}}
    )


@pytest.fixture
async def place(tmp_path: Path):
    store = await open_storage(str(tmp_path / "state.db"))
    caches = Caches(store)
    resource = BUILTIN.by_gvr(CONFIGMAPS)
    await caches.of(resource).start()
    yield store, caches, resource
    for cache in caches.made.values():
        await cache.close()
    await store.close()


async def test_objects_are_decoded_once_per_revision(place):
    store, caches, resource = place
    reader = Reader(BUILTIN, caches)
    assert reader.get(CONFIGMAPS, "ns", "a") is None
    before = reader.revision(CONFIGMAPS)
    revision = await store.commit([], [Put(resource.key("ns", "a"), config_map("a"))])
    found = reader.get(CONFIGMAPS, "ns", "a")
    assert found is not None
    assert found["metadata"] == {"resourceVersion": str(revision), "name": "a"}
    assert reader.get(CONFIGMAPS, "ns", "a") is found
    assert reader.revision(CONFIGMAPS) == revision > before
    await store.commit([], [Put(resource.key("ns", "a"), config_map("a", 3))])
    assert reader.get(CONFIGMAPS, "ns", "a")["data"] == {"x": "yyy"}
    await store.commit([], [Put(resource.key("other", "b"), config_map("b"))])
    assert [o["metadata"]["name"] for o in reader.list(CONFIGMAPS)] == ["a", "b"]
    assert [o["metadata"]["name"] for o in reader.list(CONFIGMAPS, "other")] == ["b"]
    await store.commit([], [Delete(resource.key("ns", "a"))])
    assert reader.get(CONFIGMAPS, "ns", "a") is None


async def test_few_are_kept_decoded(place, monkeypatch: pytest.MonkeyPatch):
    store, caches, resource = place
    monkeypatch.setattr(reader_module, "_MAX_BYTES", 10_000)
    reader = Reader(BUILTIN, caches)
    for i in range(20):
        await store.commit([], [Put(resource.key("ns", f"c{i}"), config_map(f"c{i}", 1000))])
    assert len(reader.list(CONFIGMAPS)) == 20
    assert len(reader._decoded) < 10


async def test_what_cannot_be_read(place):
    _, caches, _ = place
    reader = Reader(BUILTIN, caches)
    with pytest.raises(ApiError) as error:
        reader.get(PODS, "ns", "a")
    assert error.value.code == 503
    with pytest.raises(ApiError) as error:
        reader.get(GVR("x", "v1", "ys"), "ns", "a")
    assert error.value.code == 404


async def test_short_lists_are_kept_until_something_changes(place):
    store, caches, resource = place
    reader = Reader(BUILTIN, caches)
    assert reader.list(CONFIGMAPS, "ns") == []
    await store.commit([], [Put(resource.key("ns", "a"), config_map("a"))])
    first = reader.list(CONFIGMAPS, "ns")
    assert [o["metadata"]["name"] for o in first] == ["a"]
    first.clear()  # a list is its caller's
    assert [o["metadata"]["name"] for o in reader.list(CONFIGMAPS, "ns")] == ["a"]
    await store.commit([], [Put(resource.key("ns", "a"), config_map("a", 3))])
    assert reader.list(CONFIGMAPS, "ns")[0]["data"] == {"x": "yyy"}
    for i in range(40):
        await store.commit([], [Put(resource.key("ns", f"c{i}"), config_map(f"c{i}"))])
    assert len(reader.list(CONFIGMAPS, "ns")) == 41
    await store.commit([], [Delete(resource.key("ns", "a"))])
    assert len(reader.list(CONFIGMAPS, "ns")) == 40
