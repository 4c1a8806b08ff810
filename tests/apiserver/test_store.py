"""The server's own reads and writes."""

from __future__ import annotations

import asyncio

import pytest

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, SERVICES
from shirube.apiserver.write import Preconditions


def configmap(name: str, **data: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }


async def test_create_get_list_update_delete(api):
    store = api.context.store
    made = await store.create(CONFIGMAPS, configmap("a", x="1"))
    assert made["metadata"]["managedFields"][0]["manager"] == "kube-apiserver"
    assert await store.get(CONFIGMAPS, "default", "a") == made
    assert await store.list(CONFIGMAPS, "default") == [made]
    made["data"] = {"x": "2"}
    put = await store.update(CONFIGMAPS, made)
    assert put["data"] == {"x": "2"}
    with pytest.raises(ApiError) as stale:
        await store.update(CONFIGMAPS, made | {"data": {"x": "3"}})
    assert stale.value.code == 409
    with pytest.raises(ApiError) as other:
        await store.delete(CONFIGMAPS, "default", "a", preconditions=Preconditions(uid="other"))
    assert other.value.code == 409
    assert (await store.delete(CONFIGMAPS, "default", "a")).gone
    with pytest.raises(ApiError) as gone:
        await store.get(CONFIGMAPS, "default", "a")
    assert gone.value.code == 404


async def test_what_is_returned_is_the_callers_own(api):
    store = api.context.store
    await store.create(CONFIGMAPS, configmap("a", x="1"))
    (await store.get(CONFIGMAPS, "default", "a"))["data"]["x"] = "changed"
    assert (await store.get(CONFIGMAPS, "default", "a"))["data"] == {"x": "1"}


async def test_guaranteed_updates_lose_nothing(api):
    store = api.context.store
    await store.create(CONFIGMAPS, configmap("a", n="0"))

    def add_one(obj: dict) -> dict:
        obj["data"]["n"] = str(int(obj["data"]["n"]) + 1)
        return obj

    await asyncio.gather(*(store.guaranteed_update(CONFIGMAPS, "default", "a", add_one) for _ in range(20)))
    assert (await store.get(CONFIGMAPS, "default", "a"))["data"] == {"n": "20"}
    same = await store.guaranteed_update(CONFIGMAPS, "default", "a", lambda obj: None)
    assert same["data"] == {"n": "20"}


async def test_writes_are_validated(api):
    with pytest.raises(ApiError) as invalid:
        await api.context.store.create(CONFIGMAPS, configmap("Not Valid"))
    assert invalid.value.code == 422
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "default"},
        "spec": {"ports": [{"port": 80}]},
    }
    assert (await api.context.store.create(SERVICES, service))["spec"]["clusterIP"].startswith("10.")
