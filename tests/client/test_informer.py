from __future__ import annotations

from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.waiting import running, until

from shirube.api import errors
from shirube.api.gvr import CONFIGMAPS, PODS
from shirube.client import informer as informers
from shirube.client.informer import Informer, InformerFactory, key_of, split_key
from shirube.client.rest import Client


def config_map(name: str, namespace: str = "default", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "labels": {"app": name}}, "data": data}


class Recording:
    def __init__(self, informer: Informer) -> None:
        self.seen: list[tuple[str, str]] = []
        informer.add_handler(
            lambda o: self.seen.append(("add", key_of(o))),
            lambda _, o: self.seen.append(("update", key_of(o))),
            lambda o: self.seen.append(("delete", key_of(o))),
        )


async def test_lists_then_follows(api: MemoryApi, client: Client):
    await client.create(CONFIGMAPS, config_map("a"))
    informer = Informer(client, CONFIGMAPS)
    recording = Recording(informer)
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        assert informer.store.get("default", "a")["kind"] == "ConfigMap"
        await client.create(CONFIGMAPS, config_map("b"))
        await client.patch(CONFIGMAPS, "a", {"data": {"x": "1"}}, "default")
        await client.delete(CONFIGMAPS, "b", "default")
        await until(lambda: ("delete", "default/b") in recording.seen)
    assert recording.seen == [
        ("add", "default/a"),
        ("add", "default/b"),
        ("update", "default/a"),
        ("delete", "default/b"),
    ]
    assert informer.store.get("default", "a")["data"] == {"x": "1"}


async def test_a_watch_that_ends_is_resumed_without_a_new_list(api: MemoryApi, client: Client):
    informer = Informer(client, CONFIGMAPS)
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        await client.create(CONFIGMAPS, config_map("a"))
        await until(lambda: len(informer.store) == 1)
        lists_before = len(api.requests)
        api.drop_watches()
        await client.create(CONFIGMAPS, config_map("b"))
        await until(lambda: len(informer.store) == 2)
        assert api.requests[lists_before:].count(("GET", "/api/v1/configmaps")) == 1, "one watch, no list"


async def test_410_lists_again_and_hands_over_the_difference(api: MemoryApi, client: Client):
    await client.create(CONFIGMAPS, config_map("gone"))
    await client.create(CONFIGMAPS, config_map("kept"))
    informer = Informer(client, CONFIGMAPS)
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        recording = Recording(informer)
        await until(lambda: api.watches)
        api.drop_watches()
        await client.delete(CONFIGMAPS, "gone", "default")
        await client.create(CONFIGMAPS, config_map("new"))
        api.compact()
        await until(lambda: len(recording.seen) >= 4)
    assert recording.seen == [
        ("add", "default/gone"),
        ("add", "default/kept"),
        ("delete", "default/gone"),
        ("add", "default/new"),
    ]


async def test_an_object_made_again_is_a_delete_and_an_add(api: MemoryApi, client: Client):
    await client.create(CONFIGMAPS, config_map("a"))
    informer = Informer(client, CONFIGMAPS)
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        recording = Recording(informer)
        await until(lambda: api.watches)
        api.drop_watches()
        await client.delete(CONFIGMAPS, "a", "default")
        await client.create(CONFIGMAPS, config_map("a"))
        api.compact()
        await until(lambda: len(recording.seen) == 3)
    assert recording.seen[1:] == [("delete", "default/a"), ("add", "default/a")]


async def test_survives_a_server_that_fails(api: MemoryApi, client: Client):
    failures = iter(range(2))

    def fault(method: str, path: str) -> None:
        if next(failures, None) is not None:
            raise errors.internal_error("boom")

    api.fault = fault
    informer = Informer(client, CONFIGMAPS)
    async with running(informer.run()):
        await until(lambda: informer.synced)


async def test_indexes_follow_changes(api: MemoryApi, client: Client):
    informer = Informer(client, PODS)
    informer.add_index("node", lambda pod: [pod["spec"].get("nodeName", "")])
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {}}
        await client.create(PODS, pod)
        await until(lambda: informer.store.by_index("node", ""))
        await client.patch(PODS, "p", {"spec": {"nodeName": "n1"}}, "default")
        await until(lambda: informer.store.by_index("node", "n1"))
        assert informer.store.by_index("node", "") == []
        await client.delete(PODS, "p", "default")
        await until(lambda: not informer.store.by_index("node", "n1"))
        assert list(informer.store.index_values("node")) == []


async def test_selectors_make_objects_come_and_go(api: MemoryApi, client: Client):
    informer = Informer(client, CONFIGMAPS, label_selector="app=a")
    recording = Recording(informer)
    await client.create(CONFIGMAPS, config_map("b"))
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        await client.create(CONFIGMAPS, config_map("a"))
        await client.patch(CONFIGMAPS, "a", {"metadata": {"labels": {"app": "z"}}}, "default")
        await until(lambda: len(recording.seen) == 2)
    assert recording.seen == [("add", "default/a"), ("delete", "default/a")]


async def test_large_collections_are_listed_in_pages(api: MemoryApi, client: Client):
    for n in range(1201):
        await client.create(CONFIGMAPS, config_map(f"c{n:04d}"))
    api.requests.clear()
    informer = Informer(client, CONFIGMAPS)
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        assert len(informer.store) == 1201
        assert len(informer.store.list("default")) == 1201


async def test_managed_fields_are_dropped_and_projections_applied(api: MemoryApi, client: Client):
    obj = config_map("a", secret="x")
    obj["metadata"]["managedFields"] = [{"manager": "m"}]
    await client.create(CONFIGMAPS, obj)
    informer = Informer(client, CONFIGMAPS, projection=lambda o: {"metadata": o["metadata"]})
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        assert "managedFields" not in informer.store.get("default", "a")["metadata"]
        assert "data" not in informer.store.get("default", "a")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Informers that try again at once."""
    monkeypatch.setattr(informers, "_BACKOFF_FIRST", 0.001)
    monkeypatch.setattr(informers, "_BACKOFF_MOST", 0.001)


@pytest.mark.usefixtures("hasty")
async def test_what_is_not_served_counts_as_empty_until_it_is(api: MemoryApi, client: Client):
    away = True

    def absent(method: str, path: str) -> None:
        if away:
            raise errors.path_not_found()

    api.fault = absent
    informer = Informer(client, CONFIGMAPS)
    recording = Recording(informer)
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        assert len(informer.store) == 0
        away = False
        await client.create(CONFIGMAPS, config_map("a"))
        await until(lambda: recording.seen == [("add", "default/a")])


@pytest.mark.usefixtures("hasty")
async def test_a_server_that_is_late_does_not_count_as_one_that_serves_nothing(api: MemoryApi, client: Client):
    """Nobody goes on without a collection because of an answer or two, or of any other failure."""
    answers = iter([404, 404, 503, 404, 404])

    def failing(method: str, path: str) -> None:
        code = next(answers, None)
        if code is not None:
            raise errors.path_not_found() if code == 404 else errors.service_unavailable("starting")

    await client.create(CONFIGMAPS, config_map("a"))
    api.fault = failing
    informer = Informer(client, CONFIGMAPS)
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        assert len(informer.store) == 1


async def test_a_handler_that_fails_stops_nobody(api: MemoryApi, client: Client):
    informer = Informer(client, CONFIGMAPS)
    informer.add_handler(on_add=lambda o: 1 / 0)
    recording = Recording(informer)
    async with running(informer.run()):
        await informer.wait_for_cache_sync()
        await client.create(CONFIGMAPS, config_map("a"))
        await until(lambda: recording.seen)


async def test_the_factory_shares_informers_and_starts_late_ones(client: Client):
    factory = InformerFactory(client)
    first = factory.informer(CONFIGMAPS)
    assert factory.informer(CONFIGMAPS) is first
    async with running(factory.run()):
        await factory.wait_for_cache_sync()
        late = factory.informer(PODS)
        await late.wait_for_cache_sync()
        await factory.stop(late)
        assert factory.find(PODS) is None


@pytest.mark.parametrize("key,parts", [("ns/name", ("ns", "name")), ("name", ("", "name"))])
def test_keys(key: str, parts: tuple[str, str]):
    assert split_key(key) == parts
