"""Garbage collector: objects whose owners are gone go, too; foreground and orphan deletion.

Upstream: https://kubernetes.io/docs/concepts/architecture/garbage-collection/. Every deletable resource,
custom ones too, is followed (metadata only, unless another controller follows it already) into an
`OwnerGraph`. Two kinds of work:

- *attempt to delete* looks at one object. All owners gone: it is deleted. Some gone: those references are
taken off. Owners in foreground deletion: it is deleted in the foreground, too. In foreground deletion
itself: once nothing blocks it any more its finalizer is taken off.
- *attempt to orphan* takes an owner's reference off all dependents, then its `orphan` finalizer.

An owner in another namespace is no owner, which an event tells; a cluster-scoped object that names an owner of a
namespaced kind is left alone, as nothing can be said about such an owner.

Nothing is deleted on the graph's word alone: the object is read from the server first, and deleted with its
uid and resourceVersion as precondition; an owner that was never seen is asked for. Resources are discovered
again when a CustomResourceDefinition or APIService changes, and every five minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

from shirube.api.errors import ApiError
from shirube.api.gvr import APISERVICES, CUSTOMRESOURCEDEFINITIONS, GVR
from shirube.client.controller import Controller
from shirube.client.discovery import Served, ServedResource, discover
from shirube.client.events import WARNING
from shirube.client.informer import Handler, Informer
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.owner_graph import FOREGROUND, ORPHAN, Node, OwnerGraph, Work, refers_to

_ACCOUNT = "generic-garbage-collector"
_IGNORED = {("", "events"), ("events.k8s.io", "events")}
_REDISCOVER_SECONDS = 300.0
_SETTLE_SECONDS = 1.0  # between a change of the served resources and asking for them
_ABSENT_KEPT = 500


class Named(NamedTuple):
    """An owner as a reference names it: proof that it is absent says nothing of the same uid under another name."""

    uid: str
    namespace: str
    api_version: str
    kind: str
    name: str


class Monitor(NamedTuple):
    informer: Informer
    handler: Handler
    own: bool  # nobody else follows it
    custom: bool  # of a CustomResourceDefinition


class Task(NamedTuple):
    verb: str  # "delete" or "orphan"
    uid: str


class _NoSuchPlace(Exception):
    """An object outside namespaces names an owner of a kind that lives in them: nobody can say whether it is there."""


def _same(one: GVR, other: GVR) -> bool:
    """The same resource, perhaps in another version."""
    return (one.group, one.resource) == (other.group, other.resource)


class GarbageCollector(Controller[Task]):
    name = "garbage-collector-controller"
    workers = 20

    def __init__(self, context: Context) -> None:
        self._context = context
        self._crds = context.informer(CUSTOMRESOURCEDEFINITIONS, metadata_only=True)
        self._services = context.informer(APISERVICES, metadata_only=True)
        super().__init__(self._crds, self._services)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._reader = context.reader
        self.graph = OwnerGraph()
        self._served = Served()
        self._monitors: dict[GVR, Monitor] = {}
        self._absent: dict[Named, None] = {}
        self._changed = asyncio.Event()
        for informer in (self._crds, self._services):
            informer.add_handler(
                lambda _: self._changed.set(),
                lambda _, __: self._changed.set(),
                lambda _: self._changed.set(),
            )

    # -- following everything --------------------------------------------------------------------------------

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run(), name=self.name)
            group.create_task(self._rediscover(), name=f"{self.name}-discovery")

    async def started(self) -> None:
        """Work begins when everything is known: an owner not yet listed is no missing owner."""
        while not self._served.resources:
            try:
                await self._sync_monitors()
            except ApiError as error:
                self.log.info("cannot discover resources, trying again", error=str(error))
                await asyncio.sleep(_SETTLE_SECONDS)
        for monitor in list(self._monitors.values()):
            await monitor.informer.wait_for_cache_sync()
        self._changed.clear()

    async def _rediscover(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):  # nothing has changed for so long: time to look all the same
                async with asyncio.timeout(_REDISCOVER_SECONDS):
                    await self._changed.wait()
                await asyncio.sleep(_SETTLE_SECONDS)
            self._changed.clear()
            if not self._served.resources:
                continue
            try:
                await self._sync_monitors()
            except ApiError as error:
                self.log.info("cannot discover resources, trying again", error=str(error))
                await asyncio.sleep(_SETTLE_SECONDS)
                self._changed.set()

    async def _sync_monitors(self) -> None:
        served = await discover(self._reader)
        wanted = {
            r.gvr: r
            for r in served.resources
            if {"delete", "list", "watch"} <= r.verbs and (r.gvr.group, r.gvr.resource) not in _IGNORED
        }
        for gvr, resource in wanted.items():
            if gvr not in self._monitors:
                self._start_monitor(gvr, resource.kind)
        failed = set(served.failed)
        for gvr in [g for g in self._monitors if g not in wanted and g.group_version not in failed]:
            await self._retire_monitor(gvr, next((w for w in wanted if _same(w, gvr)), None))
        self._served = served

    def _start_monitor(self, gvr: GVR, kind: str) -> None:
        shared = self._context.factory.find(gvr)
        informer = shared or self._context.informer(gvr, metadata_only=True)
        handler = informer.add_handler(
            lambda obj: self._schedule(self.graph.seen(gvr, kind, obj)),
            lambda _, obj: self._schedule(self.graph.seen(gvr, kind, obj)),
            self._gone,
        )
        self._monitors[gvr] = Monitor(informer, handler, shared is None, self._is_custom(gvr))

    def _is_custom(self, gvr: GVR) -> bool:
        return self._crds.store.get(None, f"{gvr.resource}.{gvr.group}") is not None

    async def _retire_monitor(self, gvr: GVR, successor: GVR | None) -> None:
        """What it followed is served in another version now, or no more. Only objects that the other version does not
        show, or that went with their definition, are gone: of what is merely not served nothing is known."""
        monitor, left = self._monitors[gvr], set[str]()
        if successor is not None:
            follower = self._monitors[successor].informer
            if not follower.synced:
                self._changed.set()  # until then the old one tells
                return
            left = {obj["metadata"]["uid"] for obj in follower.store}
            for node in map(self.graph.nodes.get, left):
                if node is not None:
                    node.gvr, node.api_version = successor, successor.group_version
        del self._monitors[gvr]
        monitor.informer.remove_handler(monitor.handler)
        if monitor.own:
            await self._context.factory.stop(monitor.informer)
        if successor is not None or (monitor.custom and not self._is_custom(gvr)):
            for obj in monitor.informer.store.list():
                if obj["metadata"]["uid"] not in left:
                    self._gone(obj)

    def _gone(self, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        if (node := self.graph.nodes.get(uid)) is not None:
            self._remember_absent(node)
        self._schedule(self.graph.gone(uid))

    def _schedule(self, work: Work) -> None:
        for uid in work.delete:
            self.queue.add(Task("delete", uid))
        for uid in work.orphan:
            self.queue.add(Task("orphan", uid))
        for dependent, reference in work.misplaced:
            self._tell_misplaced(dependent, reference)

    def _tell_misplaced(self, dependent: Node, reference: Object) -> None:
        about = {
            "kind": dependent.kind,
            "apiVersion": dependent.api_version,
            "namespace": dependent.namespace,
            "name": dependent.name,
            "uid": dependent.uid,
        }
        owner = (
            f"[{reference['apiVersion']}/{reference['kind']}, namespace: {dependent.namespace}, "
            f"name: {reference['name']}, uid: {reference['uid']}]"
        )
        message = f'ownerRef {owner} does not exist in namespace "{dependent.namespace}"'
        self._recorder.event(about, WARNING, "OwnerRefInvalidNamespace", message)

    def _remember_absent(self, node: Node) -> None:
        self._absent[Named(node.uid, node.namespace, node.api_version, node.kind, node.name)] = None
        if len(self._absent) > _ABSENT_KEPT:
            del self._absent[next(iter(self._absent))]

    # -- one task --------------------------------------------------------------------------------------------

    async def reconcile(self, key: Task) -> None:
        node = self.graph.nodes.get(key.uid)
        if node is None:
            return
        if key.verb == "orphan":
            await self._orphan(node)
        elif node.virtual:
            await self._look_for(node)
        elif node.deleting_dependents or not node.being_deleted:
            await self._attempt_to_delete(node)

    async def _look_for(self, node: Node) -> None:
        """An owner that nobody has seen: ask the server, as each namespace of its dependents would mean it."""
        resource = self._resource(node.api_version, node.kind)
        namespace = node.namespace if resource.namespaced else ""
        if resource.namespaced and not namespace:
            return  # named by what is in no namespace: there is nowhere to look
        live = await self._get(resource.gvr, namespace, node.name)
        if live is not None and live["metadata"]["uid"] == node.uid:
            return  # it is there; its watch will show it
        if self.graph.nodes.get(node.uid) is not node or not node.virtual:
            return  # it has shown itself meanwhile, under a name of its own
        self._remember_absent(node)
        if self.graph.agreed(node):
            self._schedule(self.graph.gone(node.uid))
            return
        for uid in list(node.dependents):  # others may mean another one: each asks for itself
            self.queue.add(Task("delete", uid))

    def _resource(self, api_version: str, kind: str) -> ServedResource:
        found = self._served.by_kind(api_version, kind)
        if found is None:
            self._changed.set()
            raise ApiError(503, "ServiceUnavailable", f"no resource of kind {kind} in {api_version} is served")
        return found

    async def _get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        """None when there is no such object. Raises ApiError, also when nobody serves such objects any more."""
        try:
            return await self._client.get(gvr, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            if (error.details or {}).get("name") == name:
                return None
            self._changed.set()
            raise ApiError(503, "ServiceUnavailable", f"{gvr.resource} of {gvr.group_version} is not served") from error

    async def _attempt_to_delete(self, node: Node) -> None:
        assert node.gvr is not None
        live = await self._get(node.gvr, node.namespace, node.name)
        if live is None or live["metadata"]["uid"] != node.uid:
            self._remember_absent(node)
            self._schedule(self.graph.gone(node.uid))
            return
        finalizers = live["metadata"].get("finalizers") or []
        if live["metadata"].get("deletionTimestamp"):
            if FOREGROUND in finalizers:
                await self._advance_foreground(node, live)
            return
        owners = live["metadata"].get("ownerReferences") or []
        if not owners:
            return
        try:
            solid, dangling, waiting = await self._classify(node, owners)
        except _NoSuchPlace:
            return  # will not heal by itself, and what cannot be judged is not deleted
        if solid:
            if dangling or waiting:
                drop = {o["uid"] for o in dangling + waiting}
                await self._write_owners(node.gvr, live, [o for o in owners if o["uid"] not in drop])
            return
        if waiting and node.dependents:
            if any(d.deleting_dependents for d in node.dependents.values()):
                # A circle: nobody in it may wait for the others.
                live = await self._unblock(node.gvr, live, owners)
            await self._delete(node, live, "Foreground")
            return
        policy = "Background"
        if ORPHAN in finalizers:
            policy = "Orphan"
        elif FOREGROUND in finalizers:
            policy = "Foreground"
        await self._delete(node, live, policy)

    async def _classify(self, node: Node, owners: list[Object]) -> tuple[list[Object], list[Object], list[Object]]:
        """(solid, dangling, waiting for their dependents to go)."""
        solid: list[Object] = []
        dangling: list[Object] = []
        waiting: list[Object] = []
        for reference in owners:
            known = self.graph.nodes.get(reference["uid"])
            if known is not None and not known.virtual and refers_to(node, reference, known):
                (waiting if known.deleting_dependents else solid).append(reference)
                continue
            live = await self._live_owner(node, reference)
            if live is None:
                dangling.append(reference)
            elif live["metadata"].get("deletionTimestamp") and FOREGROUND in (live["metadata"].get("finalizers") or ()):
                waiting.append(reference)
            else:
                solid.append(reference)
        return solid, dangling, waiting

    async def _live_owner(self, node: Node, reference: Object) -> Object | None:
        """Raises _NoSuchPlace."""
        named = (reference["apiVersion"], reference["kind"], reference["name"])
        places = ("", node.namespace) if node.namespace else ()
        if any(Named(reference["uid"], place, *named) in self._absent for place in places):
            return None
        resource = self._resource(reference["apiVersion"], reference["kind"])
        if resource.namespaced and not node.namespace:
            raise _NoSuchPlace
        namespace = node.namespace if resource.namespaced else ""
        live = await self._get(resource.gvr, namespace, reference["name"])
        if live is None or live["metadata"]["uid"] != reference["uid"]:
            return None
        return live

    async def _advance_foreground(self, node: Node, live: Object) -> None:
        assert node.gvr is not None
        blocking = node.blocking_dependents()
        if not blocking:
            await self._remove_finalizer(node.gvr, live, FOREGROUND)
            return
        for dependent in blocking:
            if not dependent.deleting_dependents:
                self.queue.add(Task("delete", dependent.uid))

    async def _orphan(self, node: Node) -> None:
        assert node.gvr is not None
        await asyncio.gather(*(self._let_go(d, node.uid) for d in list(node.dependents.values())))
        live = await self._get(node.gvr, node.namespace, node.name)
        if live is not None and live["metadata"]["uid"] == node.uid:
            await self._remove_finalizer(node.gvr, live, ORPHAN)

    async def _let_go(self, dependent: Node, owner: str) -> None:
        if dependent.gvr is None:
            return
        live = await self._get(dependent.gvr, dependent.namespace, dependent.name)
        if live is None or live["metadata"]["uid"] != dependent.uid:
            return
        owners = live["metadata"].get("ownerReferences") or []
        kept = [o for o in owners if o["uid"] != owner]
        if len(kept) != len(owners):
            await self._write_owners(dependent.gvr, live, kept)

    # -- writes ----------------------------------------------------------------------------------------------

    async def _patch(self, gvr: GVR, live: Object, metadata: Object) -> Object:
        """A merge patch of metadata that fits only the object as it was read."""
        about = live["metadata"]
        patch = {"metadata": {**metadata, "resourceVersion": about["resourceVersion"], "uid": about["uid"]}}
        try:
            return await self._client.patch(gvr, about["name"], patch, about.get("namespace"))
        except ApiError as error:
            if error.code == 404:
                return live
            raise

    async def _write_owners(self, gvr: GVR, live: Object, owners: list[Object]) -> Object:
        return await self._patch(gvr, live, {"ownerReferences": owners or None})

    async def _unblock(self, gvr: GVR, live: Object, owners: list[Object]) -> Object:
        return await self._write_owners(
            gvr, live, [{**o, "blockOwnerDeletion": False} if o.get("blockOwnerDeletion") else o for o in owners]
        )

    async def _remove_finalizer(self, gvr: GVR, live: Object, finalizer: str) -> None:
        finalizers = live["metadata"].get("finalizers") or []
        if finalizer in finalizers:
            kept = [f for f in finalizers if f != finalizer]
            await self._patch(gvr, live, {"finalizers": kept or None})

    async def _delete(self, node: Node, live: Object, policy: str) -> None:
        assert node.gvr is not None
        metadata = live["metadata"]
        try:
            await self._client.delete(
                node.gvr,
                node.name,
                node.namespace,
                propagation_policy=policy,
                preconditions={"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
            )
        except ApiError as error:
            if error.code != 404:
                raise
