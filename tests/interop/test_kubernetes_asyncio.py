"""The asyncio edition of the official client: many requests at once, watches, dynamic objects, leading by Lease."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubernetes_asyncio import client, dynamic, watch
from kubernetes_asyncio import config as loading
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.leaderelection import electionconfig, leaderelection
from kubernetes_asyncio.leaderelection.resourcelock.leaselock import LeaseLock
from tests.interop.conftest import definition
from tests.waiting import until

from shirube.foundation import tasks


def sockets() -> int:
    """How many this process has open."""
    return sum("socket:" in os.path.realpath(file) for file in Path("/proc/self/fd").iterdir())


@pytest.fixture
async def api(config) -> AsyncIterator[client.ApiClient]:
    before = sockets()
    made = await loading.new_client_from_config(str(config))
    async with made:
        yield made
    # A connection whose request was given up is still saying goodbye; the loop must not end before it.
    await until(lambda: sockets() <= before, what="the client's connections are closed")


async def test_many_requests_at_once(api, namespace):
    core = client.CoreV1Api(api)
    wanted = [f"c{n:02}" for n in range(40)]
    await asyncio.gather(
        *(core.create_namespaced_config_map(namespace, {"metadata": {"name": name}}) for name in wanted)
    )
    found = await core.list_namespaced_config_map(namespace)
    assert [o.metadata.name for o in found.items] == wanted
    deleted = await core.delete_collection_namespaced_config_map(namespace, field_selector="metadata.name!=c07")
    assert deleted.status in (None, "Success")
    assert [o.metadata.name for o in (await core.list_namespaced_config_map(namespace)).items] == ["c07"]


async def test_a_watch_runs_while_others_write(api, namespace):
    core = client.CoreV1Api(api)
    seen = []

    async def look() -> None:
        async with watch.Watch().stream(core.list_namespaced_secret, namespace, timeout_seconds=10) as events:
            async for event in events:
                seen.append((event["type"], event["object"].metadata.name))
                if event["type"] == "DELETED":
                    return

    looking = tasks.spawn(look(), name="look")
    await core.create_namespaced_secret(namespace, {"metadata": {"name": "s"}, "stringData": {"a": "1"}})
    change = [{"op": "add", "path": "/data/b", "value": "Mg=="}]
    made = await core.patch_namespaced_secret("s", namespace, change, _content_type="application/json-patch+json")
    assert made.data == {"a": "MQ==", "b": "Mg=="}
    await core.delete_namespaced_secret("s", namespace)
    await looking
    assert seen[-1] == ("DELETED", "s")


async def test_a_conflict_is_an_error(api, namespace):
    apps = client.AppsV1Api(api)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    made = await apps.create_namespaced_deployment(namespace, body)
    made.spec.replicas = 2
    await apps.replace_namespaced_deployment("d", namespace, made)
    with pytest.raises(ApiException) as stale:
        await apps.replace_namespaced_deployment("d", namespace, made)
    assert stale.value.status == 409
    made.metadata.resource_version = None
    made.spec.selector.match_labels = {"a": "c"}
    with pytest.raises(ApiException) as invalid:
        await apps.replace_namespaced_deployment("d", namespace, made)
    assert invalid.value.status == 422 and "field is immutable" in invalid.value.body


async def test_dynamic_objects(api, namespace):
    await client.ApiextensionsV1Api(api).create_custom_resource_definition(definition("wheels", "Wheel"))
    async with asyncio.timeout(60):
        kind = None
        while kind is None:
            found = await dynamic.DynamicClient(api)
            with contextlib.suppress(dynamic.exceptions.ResourceNotFoundError):
                kind = await found.resources.get(api_version="interop.example.com/v1", kind="Wheel")
    body = {"apiVersion": "interop.example.com/v1", "kind": "Wheel", "metadata": {"name": "w"}, "spec": {"size": 1}}
    made = await kind.create(body=body, namespace=namespace)
    assert made.spec.color == "red"
    assert [i.metadata.name for i in (await kind.get(namespace=namespace)).items] == ["w"]


async def test_leader_election_by_lease(api, namespace):
    led, over = asyncio.Event(), asyncio.Event()

    async def lead() -> None:
        led.set()
        await over.wait()

    settings = electionconfig.Config(
        LeaseLock("leader", namespace, "me", api),
        lease_duration=4,
        renew_deadline=2,
        retry_period=1,
        onstarted_leading=lead,
        onstopped_leading=None,
    )
    running = tasks.spawn(leaderelection.LeaderElection(settings).run(), name="candidate")
    try:
        async with asyncio.timeout(60):
            await led.wait()
        lease = await client.CoordinationV1Api(api).read_namespaced_lease("leader", namespace)
        assert lease.spec.holder_identity == "me" and lease.spec.lease_duration_seconds == 4
    finally:
        over.set()
        await tasks.cancel(running)
