"""Namespace: when one is deleted, everything in it goes first.

Upstream: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/ and KEP-5080 (ordered
deletion). Discovery says what can be in a namespace. Pods go first; while any is left nothing else is
touched, as policies and secrets may protect them until their end. Then every other resource is emptied. What
is left, what has finalizers and what failed is told in the namespace's conditions. Once nothing is left the
`kubernetes` finalizer is taken off through the finalize subresource, and the API server lets the namespace
go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from shirube.api.errors import ApiError
from shirube.api.gvr import NAMESPACES, PODS
from shirube.client.controller import Controller
from shirube.client.discovery import Served, ServedResource, discover
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.client.work_queue import RateLimiter
from shirube.controllers.context import Context
from shirube.foundation.clock import rfc3339

_ACCOUNT = "namespace-controller"
_FINALIZER = "kubernetes"
_AT_ONCE = 8
_LOOK_AGAIN = 1.0
_LOOK_AGAIN_PODS = 5.0  # pods wake us when they go


@dataclass(slots=True)
class Remains:
    """What one pass has found."""

    counts: dict[str, int] = field(default_factory=dict)  # "pods." / "deployments.apps" -> how many are left
    finalizers: dict[str, int] = field(default_factory=dict)  # finalizer -> on how many objects
    failures: list[str] = field(default_factory=list)
    discovery_failures: list[str] = field(default_factory=list)  # group versions whose server does not answer

    @property
    def nothing(self) -> bool:
        return not (self.counts or self.failures or self.discovery_failures)


def _verdicts(found: Remains) -> list[tuple[str, bool, str, str]]:
    """(type, bad, reason, message) of each condition, in upstream's words."""
    left = ", ".join(f"{name} has {n} resource instances" for name, n in sorted(found.counts.items()))
    holding = ", ".join(f"{name} in {n} resource instances" for name, n in sorted(found.finalizers.items()))
    broken = "; ".join(found.failures)
    undiscovered = ", ".join(f"{gv}: stale GroupVersion discovery: {gv}" for gv in found.discovery_failures)
    return [
        (
            "NamespaceDeletionDiscoveryFailure",
            bool(undiscovered),
            "DiscoveryFailed" if undiscovered else "ResourcesDiscovered",
            f"Discovery failed for some groups, {len(found.discovery_failures)} failing: "
            f"unable to retrieve the complete list of server APIs: {undiscovered}"
            if undiscovered
            else "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            bool(broken),
            "ContentDeletionFailed" if broken else "ContentDeleted",
            f"Failed to delete all resource types, {len(found.failures)} remaining: {broken}"
            if broken
            else "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            bool(left),
            "SomeResourcesRemain" if left else "ContentRemoved",
            f"Some resources are remaining: {left}" if left else "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            bool(holding),
            "SomeFinalizersRemain" if holding else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {holding}"
            if holding
            else "All content-preserving finalizers finished",
        ),
    ]


def conditions_of(old: Iterable[Object], found: Remains, now: float) -> list[Object]:
    """The namespace's conditions; those that say nothing new keep their time."""
    known = {c["type"]: c for c in old}
    for kind, bad, reason, message in _verdicts(found):
        status = "True" if bad else "False"
        before = known.get(kind)
        if before is not None and (before["status"], before.get("reason"), before.get("message")) == (
            status,
            reason,
            message,
        ):
            continue
        since = before.get("lastTransitionTime") if before and before["status"] == status else None
        known[kind] = {
            "type": kind,
            "status": status,
            "lastTransitionTime": since or rfc3339(now),
            "reason": reason,
            "message": message,
        }
    return list(known.values())


class NamespaceController(Controller[str]):
    name = "namespace-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._namespaces = context.informer(NAMESPACES)
        self._pods = context.informer(PODS)
        super().__init__(self._namespaces, self._pods, limiter=RateLimiter(0.1, 60.0, clock=context.clock))
        self._client = context.client_of(_ACCOUNT)
        self._clock = context.clock
        self._namespaces.add_handler(self._enqueue, lambda _, new: self._enqueue(new))
        self._pods.add_handler(on_delete=self._pod_deleted)

    def _enqueue(self, namespace: Object) -> None:
        if namespace["metadata"].get("deletionTimestamp"):
            self.queue.add(key_of(namespace))

    def _pod_deleted(self, pod: Object) -> None:
        namespace = self._namespaces.store.get(None, pod["metadata"]["namespace"])
        if namespace is not None:
            self._enqueue(namespace)

    async def reconcile(self, key: str) -> float | None:
        if self._namespaces.store.get(None, key) is None:
            return None
        try:
            namespace = await self._client.get(NAMESPACES, key)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        if not namespace["metadata"].get("deletionTimestamp"):
            return None
        finalizers = (namespace.get("spec") or {}).get("finalizers") or []
        if not finalizers:
            await self._remove(namespace)
        if _FINALIZER not in finalizers:
            return None
        found = await self._empty(key)
        namespace = await self._report(namespace, found)
        if found.nothing:
            kept = [f for f in finalizers if f != _FINALIZER]
            spec = {**(namespace.get("spec") or {}), "finalizers": kept}
            await self._client.update(NAMESPACES, {**namespace, "spec": spec}, "finalize")
            return None
        if found.failures or found.discovery_failures:
            undiscovered = [f"cannot tell what is in {gv}" for gv in found.discovery_failures]
            raise ApiError(500, "InternalError", "; ".join(found.failures + undiscovered))
        return _LOOK_AGAIN_PODS if list(found.counts) == ["pods."] else _LOOK_AGAIN

    async def _remove(self, namespace: Object) -> None:
        """A finalized namespace that the server has kept all the same (an older store, a crash in between)."""
        metadata = namespace["metadata"]
        if metadata.get("finalizers"):
            return
        try:
            await self._client.delete(NAMESPACES, metadata["name"], preconditions={"uid": metadata["uid"]})
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def _empty(self, namespace: str) -> Remains:
        found = Remains()
        served: Served = await discover(self._client)
        found.discovery_failures = list(served.failed)
        deletable = [r for r in served.resources if r.namespaced and {"list", "delete"} <= r.verbs]
        for first in [r for r in deletable if r.gvr == PODS]:
            await self._empty_resource(namespace, first, found)
        if found.counts or found.failures:
            return found  # pods that cannot be deleted or counted may still be there
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(resource: ServedResource) -> None:
            async with limit:
                await self._empty_resource(namespace, resource, found)

        await asyncio.gather(*(one(r) for r in deletable if r.gvr != PODS))
        return found

    async def _empty_resource(self, namespace: str, resource: ServedResource, found: Remains) -> None:
        gvr = resource.gvr
        try:
            left = await self._left(namespace, resource)
            if not left:
                return
            fresh = [o for o in left if not o["metadata"].get("deletionTimestamp")]
            if fresh and "deletecollection" in resource.verbs:
                await self._client.delete_collection(gvr, namespace, propagation_policy="Background")
            elif fresh:
                for obj in fresh:
                    await self._client.delete(gvr, obj["metadata"]["name"], namespace, propagation_policy="Background")
            left = await self._left(namespace, resource)
        except ApiError as error:
            if error.code in (404, 405):
                return  # the resource itself has gone, or cannot be listed after all
            found.failures.append(f"{gvr.resource}.{gvr.group}: {error.message}")
            return
        if left:
            found.counts[f"{gvr.resource}.{gvr.group}"] = len(left)
        for obj in left:
            for finalizer in obj["metadata"].get("finalizers") or ():
                found.finalizers[finalizer] = found.finalizers.get(finalizer, 0) + 1

    async def _left(self, namespace: str, resource: ServedResource) -> list[Object]:
        page = await self._client.list(resource.gvr, namespace, metadata_only=True)
        return list(page.get("items") or ())

    async def _report(self, namespace: Object, found: Remains) -> Object:
        status = namespace.get("status") or {}
        old = list(status.get("conditions") or ())
        conditions = conditions_of(old, found, self._clock.now())
        if conditions == old or (not old and found.nothing):
            return namespace  # gone at the first pass: nobody would read it
        return await self._client.update_status(
            NAMESPACES, {**namespace, "status": {**status, "conditions": conditions}}
        )
