"""Follows the ConfigMaps, Secrets and trust bundles in the volumes of running pods, so that their files change within
moments.

The node authoriser lets an agent list and watch single objects that its pods name, so each object has a watch of its
own, shared by all pods that use it and ended with the last of them. What is heard goes into `ApiObjects`, which then
answers from it, and wakes the workers of the pods; `news` tells a worker whether there is anything for it. A watch that
fails costs nothing but promptness: volumes are also refreshed from time to time.
Follows https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from shirube.client.informer import Informer
from shirube.client.rest import Client
from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet.api_objects import KINDS, ApiObjects, Reference
from shirube.kubelet.trust_bundles import TrustBundles

TRUST: Reference = ("clustertrustbundles", "")  # all of them

_Key = tuple[str, str, str]  # (plural, namespace, name)


@dataclass(slots=True)
class _Followed:
    task: asyncio.Task[None]
    users: set[str] = field(default_factory=set)  # pod UIDs


class ObjectWatches:
    def __init__(self, client: Client, objects: ApiObjects, trust: TrustBundles, wake: Callable[[str], None]) -> None:
        self._client = client
        self._objects = objects
        self._trust = trust
        self._wake = wake
        self._followed: dict[_Key, _Followed] = {}
        self._wanted: dict[str, set[_Key]] = {}
        self._news: dict[str, int] = {}

    def follow(self, pod_uid: str, namespace: str, references: Iterable[Reference]) -> None:
        """From now on the pod hears of exactly these objects."""
        wanted = {(kind, namespace, name) for kind, name in references}
        for key in wanted - self._wanted.get(pod_uid, set()):
            followed = self._followed.get(key)
            if followed is None:
                task = spawn(self._run(key), name=f"watch {'/'.join(key)}")
                followed = self._followed[key] = _Followed(task)
            followed.users.add(pod_uid)
        for key in self._wanted.get(pod_uid, set()) - wanted:
            self._leave(key, pod_uid)
        self._wanted[pod_uid] = wanted

    def forget(self, pod_uid: str) -> None:
        for key in self._wanted.pop(pod_uid, ()):
            self._leave(key, pod_uid)
        self._news.pop(pod_uid, None)

    def news(self, pod_uid: str) -> int:
        """A number that grows with every change of one of the pod's objects."""
        return self._news.get(pod_uid, 0)

    async def close(self) -> None:
        await cancel(*(followed.task for followed in self._followed.values()))
        self._followed.clear()

    def _leave(self, key: _Key, pod_uid: str) -> None:
        followed = self._followed[key]
        followed.users.discard(pod_uid)
        if not followed.users:
            del self._followed[key]
            followed.task.cancel()
            self._objects.unfollow(key)

    async def _run(self, key: _Key) -> None:
        kind, namespace, name = key
        if kind == TRUST[0]:
            await self._trust.listen(lambda: self._changed(key))
            return
        informer = Informer(self._client, KINDS[kind], namespace, field_selector=f"metadata.name={name}")
        informer.add_handler(
            lambda obj: self._heard(key, obj),
            lambda _, obj: self._heard(key, obj),
            lambda _: self._heard(key, None),
        )
        await informer.run()

    def _heard(self, key: _Key, obj: Any) -> None:
        if key in self._followed and self._objects.heard(key, obj):
            self._changed(key)

    def _changed(self, key: _Key) -> None:
        followed = self._followed.get(key)
        for pod_uid in followed.users if followed is not None else ():
            self._news[pod_uid] = self._news.get(pod_uid, 0) + 1
            self._wake(pod_uid)
