from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import PODS
from shirube.client.controller import Controller
from shirube.client.rest import Client
from shirube.controllers.context import Context
from shirube.controllers.daemon_set_plan import node_of
from shirube.foundation.clock import SYSTEM, rfc3339
from shirube.foundation.tasks import cancel, spawn


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
def client(api: MemoryApi) -> Client:
    return Client(api, "test")


class House:
    """Controllers at work on an API in memory."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def context(self, **options: Any) -> Context:
        return Context(self.client, lambda _: self.client, **options)

    @asynccontextmanager
    async def running(
        self, *factories: Callable[[Context], Controller[Any]], context: Context | None = None
    ) -> AsyncIterator[list[Controller[Any]]]:
        context = context or self.context()
        controllers = [factory(context) for factory in factories]
        tasks = [spawn(context.factory.run(), name="informers")]
        tasks += [spawn(c.run(), name=c.name) for c in controllers]
        try:
            await context.factory.wait_for_cache_sync()
            yield controllers
            for task in tasks:
                assert not task.done(), task
        finally:
            await cancel(*tasks)
            await context.close()

    async def settle(self, controllers: Iterable[Controller[Any]], quiet: int = 30) -> None:
        """Until no controller has anything to do."""
        controllers = list(controllers)
        still = 0
        async with asyncio.timeout(60):
            while still < quiet:
                await asyncio.sleep(0.001)
                still = still + 1 if all(c.queue.idle for c in controllers) else 0


@pytest.fixture
def house(client: Client) -> House:
    return House(client)


async def make_ready(client: Client, pod: dict[str, Any], ip: str = "10.0.0.1", node: str = "n1") -> None:
    """What a kubelet would report of a pod that runs."""
    metadata = pod["metadata"]
    if not pod["spec"].get("nodeName"):
        await client.create(PODS, {"target": {"name": node}}, metadata["namespace"], "binding", metadata["name"])
    status = {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(SYSTEM.now())}],
    }
    await client.patch(PODS, metadata["name"], {"status": status}, metadata["namespace"], subresource="status")


@asynccontextmanager
async def kubelet(client: Client, *, ends: bool = False, starts: bool = True) -> AsyncIterator[None]:
    """Makes every pod ready as soon as it is seen (not without `starts`); with `ends` confirms the end of those
    that are deleted."""

    async def follow() -> None:
        async for event in client.watch(PODS, resource_version="0"):
            pod = event["object"]
            if ends and event["type"] == "MODIFIED" and pod["metadata"].get("deletionTimestamp"):
                metadata = pod["metadata"]
                with contextlib.suppress(ApiError):
                    await client.delete(PODS, metadata["name"], metadata["namespace"], grace_period_seconds=0)
            if starts and event["type"] == "ADDED" and not pod["metadata"].get("deletionTimestamp"):
                with contextlib.suppress(ApiError):  # gone meanwhile
                    await make_ready(client, pod, node=node_of(pod) or "n1")

    task = spawn(follow(), name="kubelet")
    try:
        yield
    finally:
        await cancel(task)


async def absent(client: Client, gvr: Any, name: str, namespace: str | None = None) -> bool:
    try:
        await client.get(gvr, name, namespace)
    except ApiError as error:
        return error.code == 404
    return False


async def gone(client: Client, gvr: Any, name: str, namespace: str | None = None) -> None:
    """Wait until there is none of that name."""
    await until(lambda: absent(client, gvr, name, namespace), 30, f"{name} gone")


async def items(client: Client, gvr: Any, namespace: str = "default") -> list[dict[str, Any]]:
    return (await client.list(gvr, namespace))["items"]
