"""EndpointSlices: the addresses behind each Service, in slices that few writes keep right.

`endpoint_slice_plan` says what to write. Slices that this controller wrote and the cache does not show yet
hold the next plan back: planning on a stale picture would make the same slice twice.
"""

from __future__ import annotations

import asyncio
from fractions import Fraction

from shirube.api.errors import ApiError
from shirube.api.gvr import ENDPOINTSLICES, NODES, PODS, SERVICES
from shirube.client.controller import Controller
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import endpoint_topology as topology
from shirube.controllers import pods as of_nodes
from shirube.controllers import service_backends as behind
from shirube.controllers.context import Context
from shirube.controllers.endpoint_slice_plan import CONTROLLER, MANAGED_BY, SERVICE_NAME, plan
from shirube.controllers.ownership import deleting
from shirube.controllers.pace import Pace
from shirube.controllers.pod_control import namespace_terminating

_ACCOUNT = "endpointslice-controller"
_BY_SERVICE = "service"
_ZONE = "topology.kubernetes.io/zone"
_STALE_SECONDS = 30.0
_GATHER_SECONDS = 1.0  # after a node has changed: often many do
_DEALT = "dealt"


def _service_of(endpoint_slice: Object) -> list[str]:
    labels = endpoint_slice["metadata"].get("labels") or {}
    if labels.get(MANAGED_BY) != CONTROLLER or SERVICE_NAME not in labels:
        return []
    return [f"{endpoint_slice['metadata']['namespace']}/{labels[SERVICE_NAME]}"]


class EndpointSliceController(Controller[str]):
    name = "endpoint-slice-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._services = context.informer(SERVICES)
        self._pods = context.informer(PODS)
        self._nodes = context.informer(NODES)
        self._slices = context.informer(ENDPOINTSLICES)
        super().__init__(self._services, self._pods, self._nodes, self._slices)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._clock = context.clock
        # service key -> slice name -> (resourceVersion written, when); version 0 is a deletion
        self._written: dict[str, dict[str, tuple[int, float]]] = {}
        self._waiting: set[str] = set()
        self._pace = Pace(self._clock)
        # service key -> slice name -> resourceVersion that was seen while writes of ours had no answer yet
        self._seen_early: dict[str, dict[str, int]] = {}
        self._homeless: dict[str, dict[str, None]] = {}  # node that is not there -> services with pods on it
        self._hinted: dict[str, dict[str, str]] = {}  # service key -> address family -> what was last told of its hints
        self._services.add_index(_DEALT, lambda service: ["yes"] if topology.wanted_for(service) else [])
        self._slices.add_index(_BY_SERVICE, _service_of)
        self._services_of = behind.watch_backends(self._services, self._pods, self.queue, self._pace)
        self._slices.add_handler(self._slice_changed, self._slice_updated, self._slice_deleted)
        self._nodes.add_handler(self._node_added, self._node_updated, self._node_deleted)

    def _slice_changed(self, endpoint_slice: Object) -> None:
        for key in _service_of(endpoint_slice):
            name = endpoint_slice["metadata"]["name"]
            written = self._written.get(key, {}).get(name)
            version = int(endpoint_slice["metadata"]["resourceVersion"])
            if key in self._seen_early:
                self._seen_early[key][name] = version
                continue
            # Somebody else's hand, or the picture that we wait for may be complete now.
            if written is None or version != written[0] or key in self._waiting:
                self.queue.add(key)

    def _slice_updated(self, old: Object, new: Object) -> None:
        for key in _service_of(old):
            if key not in _service_of(new):  # another's now, or nobody's
                self.queue.add(key)
        self._slice_changed(new)

    def _slice_deleted(self, endpoint_slice: Object) -> None:
        for key in _service_of(endpoint_slice):
            written = self._written.get(key, {})
            name = endpoint_slice["metadata"]["name"]
            if written.get(name, (1, 0.0))[0] != 0:  # not our doing: nothing of it is to be waited for
                written.pop(name, None)
                self.queue.add(key)
            elif key in self._waiting:
                self.queue.add(key)

    def _node_added(self, node: Object) -> None:
        self._node_counts(node)
        for key in self._homeless.pop(node["metadata"]["name"], {}):
            self.queue.add(key)

    def _node_deleted(self, node: Object) -> None:
        self._node_counts(node)
        name = node["metadata"]["name"]
        for pod in self._pods.store:
            if pod["spec"].get("nodeName") == name:
                for key in self._services_of(pod):
                    self.queue.add(key)

    def _node_counts(self, _: Object) -> None:
        """The zones' shares may be others now."""
        for service in self._services.store.by_index(_DEALT, "yes"):
            self.queue.add_after(key_of(service), _GATHER_SECONDS)

    def _node_updated(self, old: Object, new: Object) -> None:
        """A node that moves to another zone takes its endpoints along."""
        if _weight(old) != _weight(new):
            self._node_counts(new)

        def zone(node: Object) -> str | None:
            found: str | None = (node["metadata"].get("labels") or {}).get(_ZONE)
            return found

        if zone(old) != zone(new):
            for service in self._services.store.list():
                self.queue.add(f"{service['metadata']['namespace']}/{service['metadata']['name']}")

    def _stale(self, key: str) -> bool:
        """Some write of ours is not in the cache yet."""
        written = self._written.get(key)
        if not written:
            return False
        namespace, _ = split_key(key)
        now = self._clock.monotonic()
        for name, (version, at) in list(written.items()):
            seen = self._slices.store.get(namespace, name)
            if version == 0:
                arrived = seen is None
            else:
                arrived = seen is not None and int(seen["metadata"]["resourceVersion"]) >= version
            if arrived or now - at > _STALE_SECONDS:
                del written[name]
        return bool(written)

    async def reconcile(self, key: str) -> float | None:
        namespace, name = split_key(key)
        service = self._services.store.get(namespace, name)
        if service is None:
            self._waiting.discard(key)
            self._hinted.pop(key, None)
            for keys in self._homeless.values():
                keys.pop(key, None)
            self._written.pop(key, None)  # the garbage collector deletes the slices with their owner
            return None
        if not behind.selects(service):
            return None
        if self._stale(key):
            self._waiting.add(key)
            return 1.0
        self._waiting.discard(key)
        pods = behind.backends(service, self._pods)
        names = {pod["spec"].get("nodeName") or "": None for pod in pods}
        nodes = {name: node for name in names if (node := self._nodes.store.get(None, name)) is not None}
        pods = self._at_home(key, service, pods, nodes)
        shares, why = self._shares(service)
        todo = plan(service, pods, nodes, self._slices.store.by_index(_BY_SERVICE, key), shares)
        if deleting(service):
            todo.create.clear()  # what is there serves until the end; new ones would race the garbage collector
        self._tell_hints(key, service, {f: why or todo.no_hints.get(f, "") for f in behind.families(service)})
        if todo.empty:
            return None
        stamp = {behind.TRIGGER_TIME: behind.trigger_time(service, pods)}
        work = [self._write(key, _stamped(s, stamp), create=True) for s in todo.create]
        work += [self._write(key, _stamped(s, stamp), create=False) for s in todo.update]
        work += [self._delete(key, s) for s in todo.delete]
        self._pace.done(key)
        self._seen_early[key] = {}
        try:
            results = await asyncio.gather(*work, return_exceptions=True)
        finally:
            self._look_again(key, self._seen_early.pop(key))
        for result in results:
            if isinstance(result, ApiError) and namespace_terminating(result):
                continue
            if isinstance(result, BaseException):
                if isinstance(result, ApiError) and result.code not in (404, 409):
                    self._recorder.event(
                        service,
                        WARNING,
                        "FailedToUpdateEndpointSlices",
                        f"Error updating Endpoint Slices for Service {key}: {result.message}",
                    )
                raise result
        return None

    def _at_home(self, key: str, service: Object, pods: list[Object], nodes: dict[str, Object]) -> list[Object]:
        """Pods whose node is not there are left out until it is: nobody says that they run. Unless they are to be
        published in whatever state."""
        if behind.publishes_not_ready(service):
            return pods
        found = []
        for pod in pods:
            node = pod["spec"].get("nodeName")
            if not node or node in nodes:
                found.append(pod)
            else:
                self._homeless.setdefault(node, {})[key] = None
        return found

    def _shares(self, service: Object) -> tuple[dict[str, Fraction] | None, str]:
        """The zones' shares where the service asks for hints, or why there are none."""
        if not topology.wanted_for(service):
            return None, ""
        try:
            return topology.shares_of(self._nodes.store), ""
        except topology.Impossible as why:
            return None, str(why)

    def _tell_hints(self, key: str, service: Object, why: dict[str, str]) -> None:
        """Of each address family whether there are hints, or why not; once for each change."""
        if not topology.wanted_for(service):
            for family, told in self._hinted.pop(key, {}).items():
                if told == topology.ENABLED:
                    message = f"{topology.DISABLED}, addressType: {family}"
                    self._recorder.event(service, WARNING, "TopologyAwareHintsDisabled", message)
            return
        known = self._hinted.setdefault(key, {})
        for family, reason in why.items():
            message = reason or topology.ENABLED
            if known.get(family) == message:
                continue
            known[family] = message
            kind, word = (WARNING, "Disabled") if reason else (NORMAL, "Enabled")
            self._recorder.event(service, kind, f"TopologyAwareHints{word}", f"{message}, addressType: {family}")

    def _remember(self, key: str, name: str, version: int) -> None:
        self._written.setdefault(key, {})[name] = (version, self._clock.monotonic())

    def _look_again(self, key: str, seen: dict[str, int]) -> None:
        """Where what was seen while we wrote was not what we wrote."""
        written = self._written.get(key, {})
        if any(name not in written or written[name][0] != version for name, version in seen.items()):
            self.queue.add(key)

    async def _write(self, key: str, endpoint_slice: Object, *, create: bool) -> None:
        verb = self._client.create if create else self._client.update
        made = await verb(ENDPOINTSLICES, endpoint_slice)
        self._remember(key, made["metadata"]["name"], int(made["metadata"]["resourceVersion"]))

    async def _delete(self, key: str, endpoint_slice: Object) -> None:
        metadata = endpoint_slice["metadata"]
        try:
            await self._client.delete(
                ENDPOINTSLICES,
                metadata["name"],
                metadata["namespace"],
                preconditions={"uid": metadata["uid"]},
            )
        except ApiError as error:
            if error.code != 404:
                raise
        self._remember(key, metadata["name"], 0)


def _weight(node: Object) -> tuple[bool, object, object]:
    """What of a node counts for its zone's share."""
    labels = node["metadata"].get("labels") or {}
    return of_nodes.ready(node), labels.get(_ZONE), ((node.get("status") or {}).get("allocatable") or {}).get("cpu")


def _stamped(endpoint_slice: Object, stamp: dict[str, str]) -> Object:
    metadata = endpoint_slice["metadata"]
    annotations = {**(metadata.get("annotations") or {}), **stamp}
    return {**endpoint_slice, "metadata": {**metadata, "annotations": annotations}}
