"""Words to tell stories with: what people do in a step of a `Scenario`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import GVR
from shirube.client.rest import Object
from shirube.simulation.cluster import Cluster
from shirube.simulation.crash import Step

Action = Callable[[Cluster], Awaitable[Any]]


def step(*actions: Action) -> Step:
    async def act(cluster: Cluster) -> None:
        for action in actions:
            await action(cluster)

    return act


def create(gvr: GVR, obj: Object, namespace: str | None = "default") -> Action:
    async def act(cluster: Cluster) -> None:
        while True:
            try:
                await cluster.admin.create(gvr, obj, namespace)
                return
            except ApiError as error:
                # The namespace's service account is made by a controller, which may just have died.
                if error.code != 403 or "serviceaccount" not in error.message.lower():
                    raise
            await asyncio.sleep(0.5)

    return act


def patch(gvr: GVR, name: str, change: Object, namespace: str | None = "default", **more: Any) -> Action:
    return lambda cluster: cluster.admin.patch(gvr, name, change, namespace, **more)


def delete(gvr: GVR, name: str, namespace: str | None = "default", **more: Any) -> Action:
    return lambda cluster: cluster.admin.delete(gvr, name, namespace, **more)


def wait(seconds: float) -> Action:
    return lambda cluster: asyncio.sleep(seconds)


def new_template(version: str) -> Object:
    return {"spec": {"template": {"metadata": {"annotations": {"version": version}}}}}


def scaled(replicas: int) -> Object:
    return {"spec": {"replicas": replicas}}
