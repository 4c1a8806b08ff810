"""The store in memory keeps the same contract as those on disk, for as long as its process lives."""

from __future__ import annotations

import pytest

from shirube.storage import open_storage
from shirube.storage.memory import MemoryStorage
from shirube.storage.types import Delete, Event, Put

from .conformance import StorageConformance


def opener_of_one():
    """Opens one store again and again."""
    store = MemoryStorage()

    async def opener() -> MemoryStorage:
        return store.reopen()

    return opener


class TestMemory(StorageConformance):
    @pytest.fixture
    def opener(self):
        return opener_of_one()

    @pytest.fixture
    def fresh(self):
        return lambda: opener_of_one()


async def test_who_listens_to_commits_hears_of_each_once():
    heard: list[Event] = []
    store = MemoryStorage(heard.extend)
    await store.commit([], [Put("/a", b"1"), Put("/b", b"2")])
    await store.commit([], [Delete("/none")])
    await store.commit([], [Delete("/a")])
    assert [(e.kind, e.key, e.revision) for e in heard] == [("PUT", "/a", 2), ("PUT", "/b", 2), ("DELETE", "/a", 3)]
    await store.close()


async def test_it_has_a_url():
    store = await open_storage("memory:")
    assert await store.commit([], [Put("/a", b"1")]) == 2
    await store.close()
