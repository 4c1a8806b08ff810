"""Endpoints: the addresses behind a Service in one object, for clients that have not moved to EndpointSlices.

Ready addresses and those that are not, grouped into subsets of ports that the same addresses offer, all sorted, so
that equal backends make equal objects and nothing is written when nothing changed. At most 1,000 addresses; more are
cut and annotated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shirube.api.endpoint_subsets import Offer, packed
from shirube.api.errors import ApiError
from shirube.api.gvr import ENDPOINTS, PODS, SERVICES
from shirube.client.controller import Controller
from shirube.client.events import WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers import service_backends as behind
from shirube.controllers.context import Context
from shirube.controllers.pace import Pace
from shirube.controllers.pod_control import namespace_terminating

_ACCOUNT = "endpoint-controller"
_MOST = 1000
_STALE_SECONDS = 30.0
_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_MANAGED_BY = "endpoints.kubernetes.io/managed-by"


def _address(service: Object, pod: Object, ip: str) -> Object:
    out: Object = {"ip": ip}
    if name := behind.hostname_of(service, pod):
        out["hostname"] = name
    if node := pod["spec"].get("nodeName"):
        out["nodeName"] = node
    out["targetRef"] = behind.target_reference(pod)
    return out


def subsets_of(service: Object, pods: Iterable[Object]) -> list[Object]:
    """The subsets that these backends make."""
    return packed(_offers(service, pods))


def _offers(service: Object, pods: Iterable[Object]) -> Iterator[Offer]:
    family = behind.families(service)[0]
    unready_too = behind.publishes_not_ready(service)
    portless = not service["spec"].get("ports") and behind.headless(service)
    for pod in pods:
        ip = behind.address_of(pod, family)
        if ip is None or (of_pods.terminating(pod) and not unready_too):
            continue
        ready = unready_too or of_pods.ready(pod)
        address = _address(service, pod, ip)
        if portless:
            yield Offer(address, None, ready)
        for port in behind.ports_of(service, pod):
            yield Offer(address, port.to_dict(), ready)


def truncated(subsets: list[Object]) -> tuple[list[Object], bool]:
    """At most 1,000 addresses: those that are ready first, of each subset its share."""
    ready, unready = (sum(len(s.get(name, ())) for s in subsets) for name in ("addresses", "notReadyAddresses"))
    if ready + unready <= _MOST:
        return subsets, False
    name, count, most = ("addresses", ready, _MOST) if ready > _MOST else ("notReadyAddresses", unready, _MOST - ready)
    out, left = [], most
    for subset in subsets:
        share = min(-(-len(subset.get(name, ())) * most // count), left)
        left -= share
        cut = {**subset, name: subset.get(name, [])[:share]}
        if name == "addresses":
            cut.pop("notReadyAddresses", None)
        if not cut[name]:
            del cut[name]
        if "addresses" in cut or "notReadyAddresses" in cut:
            out.append(cut)
    return out, True


class EndpointsController(Controller[str]):
    name = "endpoint-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._services = context.informer(SERVICES)
        self._pods = context.informer(PODS)
        self._endpoints = context.informer(ENDPOINTS)
        super().__init__(self._services, self._pods, self._endpoints)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._pace = Pace(context.clock)
        behind.watch_backends(self._services, self._pods, self.queue, self._pace)
        self._clock = context.clock
        # What we wrote last and the cache may not show yet: (resourceVersion, when). To decide on an older picture is
        # to think that what has changed back meanwhile is there already.
        self._written: dict[str, tuple[int, float]] = {}
        self._waiting: set[str] = set()
        self._endpoints.add_handler(self._seen, lambda _, new: self._seen(new), self._gone)

    def _seen(self, endpoints: Object) -> None:
        key = key_of(endpoints)
        if not self._stale(key, endpoints) and key in self._waiting:
            self._waiting.discard(key)
            self.queue.add(key)

    def _gone(self, endpoints: Object) -> None:
        key = key_of(endpoints)
        self._written.pop(key, None)
        self._waiting.discard(key)
        self.queue.add(key)

    def _stale(self, key: str, current: Object | None) -> bool:
        version, at = self._written.get(key, (0, 0.0))
        seen = current is not None and int(current["metadata"]["resourceVersion"]) >= version
        if not version or seen or self._clock.monotonic() - at > _STALE_SECONDS:
            self._written.pop(key, None)
            return False
        return True

    async def started(self) -> None:
        """Endpoints whose service went away while nobody was looking."""
        for endpoints in self._endpoints.store.list():
            labels = endpoints["metadata"].get("labels") or {}
            if labels.get(_MANAGED_BY) == self.name:
                metadata = endpoints["metadata"]
                self.queue.add(f"{metadata['namespace']}/{metadata['name']}")

    async def reconcile(self, key: str) -> float | None:
        namespace, name = split_key(key)
        service = self._services.store.get(namespace, name)
        current = self._endpoints.store.get(namespace, name)
        if service is None:
            if current is not None:
                await self._delete(namespace, name)
            return None
        if not behind.selects(service):
            return None
        if self._stale(key, current):
            self._waiting.add(key)
            return 1.0
        pods = behind.backends(service, self._pods)
        wanted = self._wanted(service, pods, current)
        if current is not None and _same(current, wanted):
            return None
        wanted["metadata"]["annotations"][behind.TRIGGER_TIME] = behind.trigger_time(service, pods)
        self._pace.done(key)
        try:
            verb = self._client.create if current is None else self._client.update
            made = await verb(ENDPOINTS, wanted)
            self._written[key] = int(made["metadata"]["resourceVersion"]), self._clock.monotonic()
        except ApiError as error:
            if namespace_terminating(error):
                return None
            if error.code not in (404, 409):
                did, what = ("create", f"for service {key}") if current is None else ("update", key)
                reason, message = f"FailedTo{did.capitalize()}Endpoint", f"Failed to {did} endpoint {what}: "
                self._recorder.event(wanted, WARNING, reason, message + error.message)
            raise
        return None

    def _wanted(self, service: Object, pods: list[Object], current: Object | None) -> Object:
        metadata = service["metadata"]
        subsets, over = truncated(subsets_of(service, pods))
        labels = dict(metadata.get("labels") or {})
        labels.pop(behind.HEADLESS_LABEL, None)
        if behind.headless(service):
            labels[behind.HEADLESS_LABEL] = ""
        labels[_MANAGED_BY] = self.name
        kept = dict(current["metadata"]) if current is not None else {}
        annotations = dict(kept.get("annotations") or {})
        annotations.pop(_OVER_CAPACITY, None)
        if over:
            annotations[_OVER_CAPACITY] = "truncated"
        head = {
            **kept,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations,
        }
        out: Object = {"apiVersion": "v1", "kind": "Endpoints", "metadata": head}
        if subsets:
            out["subsets"] = subsets
        return out

    async def _delete(self, namespace: str, name: str) -> None:
        try:
            await self._client.delete(ENDPOINTS, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise


def _same(current: Object, wanted: Object) -> bool:
    """Nothing to write: all but the trigger time is as it should be."""

    def told(obj: Object) -> dict[str, str]:
        annotations = dict(obj["metadata"].get("annotations") or {})
        annotations.pop(behind.TRIGGER_TIME, None)
        return annotations

    return (
        (current.get("subsets") or []) == (wanted.get("subsets") or [])
        and (current["metadata"].get("labels") or {}) == wanted["metadata"]["labels"]
        and told(current) == told(wanted)
    )
