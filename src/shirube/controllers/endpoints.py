"""Endpoints: the addresses behind a Service in one object, for clients that have not moved to EndpointSlices.

Ready addresses and those that are not, grouped into subsets of equal ports, all sorted, so that equal
backends make equal objects and nothing is written when nothing changed. At most 1,000 addresses; more are
cut and annotated.
"""

from __future__ import annotations

from collections.abc import Iterable

from shirube.api.errors import ApiError
from shirube.api.gvr import ENDPOINTS, PODS, SERVICES
from shirube.client.controller import Controller
from shirube.client.events import WARNING
from shirube.client.informer import split_key
from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers import service_backends as behind
from shirube.controllers.context import Context
from shirube.controllers.pod_control import namespace_terminating

_ACCOUNT = "endpoint-controller"
_MOST = 1000
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
    family = behind.families(service)[0]
    unready_too = behind.publishes_not_ready(service)
    # One (address, port) pair at a time, then equal port sets of addresses are put together again.
    by_address: dict[tuple[str, bool], tuple[Object, set[behind.Port]]] = {}
    for pod in pods:
        ip = behind.address_of(pod, family)
        if ip is None or (of_pods.terminating(pod) and not unready_too):
            continue
        is_ready = unready_too or of_pods.ready(pod)
        ports = behind.ports_of(service, pod)
        if not ports and service["spec"].get("ports"):
            continue
        _, known = by_address.setdefault((ip, is_ready), (_address(service, pod, ip), set()))
        known.update(ports)
    groups: dict[tuple[behind.Port, ...], dict[bool, list[Object]]] = {}
    for (_, is_ready), (address, ports_set) in by_address.items():
        key = tuple(sorted(ports_set))
        groups.setdefault(key, {True: [], False: []})[is_ready].append(address)
    return [_subset(key, groups[key]) for key in sorted(groups)]


def _subset(ports: tuple[behind.Port, ...], addresses: dict[bool, list[Object]]) -> Object:
    out: Object = {}
    for is_ready, name in ((True, "addresses"), (False, "notReadyAddresses")):
        if addresses[is_ready]:
            out[name] = sorted(addresses[is_ready], key=lambda a: behind.sort_key(a["ip"]))
    if ports:
        out["ports"] = [port.to_dict() for port in ports]
    return out


def truncated(subsets: list[Object]) -> tuple[list[Object], bool]:
    """At most 1,000 addresses, the ready ones first."""
    count = sum(len(s.get("addresses", ())) + len(s.get("notReadyAddresses", ())) for s in subsets)
    if count <= _MOST:
        return subsets, False
    left = _MOST
    out = [{**s} for s in subsets]
    for name in ("addresses", "notReadyAddresses"):
        for subset in out:
            if name in subset:
                subset[name] = subset[name][:left]
                left -= len(subset[name])
                if not subset[name]:
                    del subset[name]
    return [s for s in out if "addresses" in s or "notReadyAddresses" in s], True


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
        behind.watch_backends(self._services, self._pods, self.queue.add)

    async def started(self) -> None:
        """Endpoints whose service went away while nobody was looking."""
        for endpoints in self._endpoints.store.list():
            labels = endpoints["metadata"].get("labels") or {}
            if labels.get(_MANAGED_BY) == self.name:
                metadata = endpoints["metadata"]
                self.queue.add(f"{metadata['namespace']}/{metadata['name']}")

    async def reconcile(self, key: str) -> None:
        namespace, name = split_key(key)
        service = self._services.store.get(namespace, name)
        current = self._endpoints.store.get(namespace, name)
        if service is None:
            if current is not None:
                await self._delete(namespace, name)
            return
        if not behind.selects(service) or service["metadata"].get("deletionTimestamp"):
            return
        pods = behind.backends(service, self._pods)
        wanted = self._wanted(service, pods, current)
        if current is not None and _same(current, wanted):
            return
        wanted["metadata"]["annotations"][behind.TRIGGER_TIME] = behind.trigger_time(service, pods)
        try:
            if current is None:
                await self._client.create(ENDPOINTS, wanted)
            else:
                await self._client.update(ENDPOINTS, wanted)
        except ApiError as error:
            if namespace_terminating(error):
                return
            if error.code not in (404, 409):
                verb = "create" if current is None else "update"
                self._recorder.event(
                    service,
                    WARNING,
                    f"FailedTo{verb.capitalize()}Endpoint",
                    f"Failed to {verb} endpoint for service {key}: {error.message}",
                )
            raise

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
