"""Pods that nobody else will clean up: on nodes that are gone or out of service, never scheduled but deleted,
finished long ago. Their phase becomes Failed first: somebody may hold them by a finalizer until they have ended.

A sweep of the cache every 20 s, as upstream. A node that is missing is asked for directly after 40 s of
absence before its pods are given up: the cache may be late.
"""

from __future__ import annotations

import asyncio

from shirube.api.errors import ApiError
from shirube.api.gvr import NODES, PODS
from shirube.client.controller import Controller
from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting
from shirube.foundation.clock import rfc3339

_ACCOUNT = "pod-garbage-collector"
_SWEEP_SECONDS = 20.0
_QUARANTINE_SECONDS = 40.0
_FINISHED_KEPT = 12_500


def held_by_finalizers(pod: Object) -> bool:
    """Nothing is left to do for it: its end is known and it is to go at once, but somebody holds it."""
    metadata = pod["metadata"]
    going = deleting(pod) and metadata.get("deletionGracePeriodSeconds") == 0
    return going and bool(metadata.get("finalizers")) and of_pods.finished(pod)


def excess_finished(pods: list[Object], kept: int = _FINISHED_KEPT) -> list[Object]:
    """Finished pods beyond the threshold: evicted ones first, which no history needs, then the oldest. Those that
    somebody holds count, others go in their place."""
    done = [p for p in pods if of_pods.finished(p)]
    if len(done) <= kept:
        return []

    def rank(pod: Object) -> tuple[bool, float, str]:
        evicted = of_pods.phase(pod) == "Failed" and pod["status"].get("reason") == "Evicted"
        return not evicted, of_pods.created(pod), pod["metadata"]["name"]

    return sorted((p for p in done if not held_by_finalizers(p)), key=rank)[: len(done) - kept]


def never_scheduled(pods: list[Object]) -> list[Object]:
    return [p for p in pods if p["metadata"].get("deletionTimestamp") and not p["spec"].get("nodeName")]


class PodGCController(Controller[str]):
    name = "pod-garbage-collector-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._pods = context.informer(PODS)
        self._nodes = context.informer(NODES)
        super().__init__(self._pods, self._nodes)
        self._pods.add_index("node", lambda pod: [pod["spec"].get("nodeName") or ""])
        self._client = context.client_of(_ACCOUNT)
        self._clock = context.clock
        self._missing_since: dict[str, float] = {}

    async def started(self) -> None:
        self.queue.add("sweep")

    async def reconcile(self, key: str) -> float | None:
        store = self._pods.store
        found = [(p, "") for p in excess_finished(store.list())]
        found += [(p, "") for p in never_scheduled(store.by_index("node", ""))]
        found += await self._orphaned()
        work = [self._fail_and_delete(p, reason) for p, reason in found if not held_by_finalizers(p)]
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, ApiError):
                self.log.warning("cannot collect a pod", error=str(result))
            elif isinstance(result, BaseException):
                raise result
        return _SWEEP_SECONDS

    async def _orphaned(self) -> list[tuple[Object, str]]:
        out: list[tuple[Object, str]] = []
        now, store = self._clock.monotonic(), self._pods.store
        named = [name for name in store.index_values("node") if name]
        missing = {name: self._missing_since.get(name, now) for name in named if name not in self._nodes.store}
        self._missing_since = missing
        for name in named:
            node = self._nodes.store.get(None, name)
            if node is not None:
                if of_pods.out_of_service(node) and not of_pods.ready(node):
                    out += [(p, "") for p in store.by_index("node", name) if deleting(p)]
                continue
            if now - missing.setdefault(name, now) < _QUARANTINE_SECONDS:
                continue
            if await self._gone(name):
                out += [(p, "node no longer exists") for p in store.by_index("node", name)]
        return out

    async def _gone(self, name: str) -> bool:
        try:
            await self._client.get(NODES, name)
        except ApiError as error:
            return error.code == 404
        return False

    async def _fail_and_delete(self, pod: Object, reason: str = "") -> None:
        """`reason` is told in the pod's DisruptionTarget condition: it did not ask to go."""
        if not of_pods.finished(pod):
            metadata = pod["metadata"]
            status: Object = {"phase": "Failed"}
            if reason:
                condition = {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": f"PodGC: {reason}",
                    "lastTransitionTime": rfc3339(self._clock.now()),
                }
                status["conditions"] = [condition]
            try:
                await self._client.patch(
                    PODS,
                    metadata["name"],
                    {"metadata": {"uid": metadata["uid"]}, "status": status},
                    metadata["namespace"],
                    type="strategic",
                    subresource="status",
                )
            except ApiError as error:
                if error.code != 404:
                    raise
        await self._force_delete(pod)

    async def _force_delete(self, pod: Object) -> None:
        metadata = pod["metadata"]
        try:
            await self._client.delete(
                PODS,
                metadata["name"],
                metadata["namespace"],
                grace_period_seconds=0,
                preconditions={"uid": metadata["uid"]},
            )
        except ApiError as error:
            if error.code != 404:
                raise
