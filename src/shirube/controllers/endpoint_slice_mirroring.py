"""EndpointSlices for Endpoints that people write themselves, for Services without a selector.

Readers of services look at EndpointSlices only. Endpoints labelled `endpointslice.kubernetes.io/skip-mirror`,
those used as locks of old leader elections, and those of Services with a selector are left alone. Of a subset
at most 1,000 addresses are mirrored.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
from collections.abc import Iterable

from shirube.api.errors import ApiError
from shirube.api.gvr import ENDPOINTS, ENDPOINTSLICES, SERVICES
from shirube.client.controller import Controller
from shirube.client.events import WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.endpoint_slice_plan import MANAGED_BY, SERVICE_NAME, Plan, group_of, reuse
from shirube.controllers.ownership import controller_reference, deleting
from shirube.controllers.pod_control import namespace_terminating

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
_ACCOUNT = "endpointslicemirroring-controller"
_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LOCK = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED = ("kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time")
_MOST = 1000
_BY_SERVICE = "mirrored-by-service"


def mirrored(endpoints: Object | None, service: Object | None) -> bool:
    if endpoints is None or service is None or (service.get("spec") or {}).get("selector"):
        return False
    metadata = endpoints["metadata"]
    skip = (metadata.get("labels") or {}).get(_SKIP) == "true"
    return not skip and _LOCK not in (metadata.get("annotations") or {})


def _addresses(subset: Object) -> list[tuple[Object, bool]]:
    """(address, ready), the ready ones first."""
    addresses = [(a, True) for a in subset.get("addresses") or ()]
    return addresses + [(a, False) for a in subset.get("notReadyAddresses") or ()]


def _ip(address: Object) -> str | None:
    """As it is written today: older versions took numbers with leading zeros, which are decimal here as there."""
    with contextlib.suppress(ValueError):  # no address at all: told, and left out
        text = str(address["ip"])
        if ":" not in text:
            text = ".".join(str(int(part)) for part in text.split("."))
        return str(ipaddress.ip_address(text))
    return None


def invalid(endpoints: Object) -> int:
    """How many addresses are none."""
    return sum(_ip(a) is None for subset in endpoints.get("subsets") or () for a, _ in _addresses(subset))


def skipped(endpoints: Object) -> int:
    """How many addresses are not mirrored, as their subset has too many."""
    counts = (sum(_ip(a) is not None for a, _ in _addresses(subset)) for subset in endpoints.get("subsets") or ())
    return sum(max(count - _MOST, 0) for count in counts)


def wanted_slices(endpoints: Object) -> list[Object]:
    """Addresses of one family and the same ports are in one slice, whatever subset they come from."""
    groups: dict[str, tuple[str, list[Object], dict[tuple[str, ...], Object]]] = {}
    for subset in endpoints.get("subsets") or ():
        ports = [{"name": p.get("name") or "", **_kept(p)} for p in subset.get("ports") or ()]
        ports.sort(key=str)
        valid = ((a, ready, ip) for a, ready in _addresses(subset) if (ip := _ip(a)) is not None)
        for address, ready, ip in itertools.islice(valid, _MOST):
            family = "IPv6" if ":" in ip else "IPv4"
            _, _, found = groups.setdefault(f"{family} {ports}", (family, ports, {}))
            target = address.get("targetRef") or {}
            identity = ip, address.get("hostname") or "", target.get("namespace") or "", target.get("name") or ""
            found.setdefault(identity, _endpoint({**address, "ip": ip}, ready))
    out: list[Object] = []
    for family, ports, found in groups.values():
        every = list(found.values())
        out += [_slice(endpoints, family, ports, every[n : n + _MOST]) for n in range(0, len(every), _MOST)]
    return out


def _kept(port: Object) -> Object:
    return {k: port[k] for k in ("port", "protocol", "appProtocol") if k in port}


def _endpoint(address: Object, ready: bool) -> Object:
    out: Object = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for key in ("hostname", "nodeName", "targetRef"):
        if address.get(key):
            out[key] = address[key]
    return out


def _slice(endpoints: Object, family: str, ports: list[Object], found: list[Object]) -> Object:
    metadata = endpoints["metadata"]
    labels = {**(metadata.get("labels") or {}), SERVICE_NAME: metadata["name"], MANAGED_BY: CONTROLLER}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in _NOT_COPIED}
    described: Object = {
        "generateName": metadata["name"][:57] + "-",
        "namespace": metadata["namespace"],
        "labels": labels,
        "ownerReferences": [controller_reference(endpoints, "v1", "Endpoints")],
    }
    if annotations:
        described["annotations"] = annotations
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": described,
        "addressType": family,
        "endpoints": found,
        "ports": ports,
    }


def plan(endpoints: Object, existing: Iterable[Object]) -> Plan:
    todo, rest = Plan(), list(existing)
    for wanted in wanted_slices(endpoints):
        group = group_of(wanted)
        old = next((s for s in rest if group_of(s) == group), None)
        if old is None:
            todo.create.append(wanted)
            continue
        rest.remove(old)
        described = {k: wanted["metadata"].get(k) for k in ("labels", "annotations", "ownerReferences")}
        same = all((old["metadata"].get(k) or {}) == (v or {}) for k, v in described.items())
        if not same or old.get("endpoints") != wanted["endpoints"]:
            metadata = {**old["metadata"], **{k: v or {} for k, v in described.items()}}
            todo.update.append({**old, "metadata": metadata, "endpoints": wanted["endpoints"]})
    todo.delete = rest
    reuse(todo)
    return todo


class EndpointSliceMirroringController(Controller[str]):
    name = "endpointslice-mirroring-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._endpoints = context.informer(ENDPOINTS)
        self._services = context.informer(SERVICES)
        self._slices = context.informer(ENDPOINTSLICES)
        super().__init__(self._endpoints, self._services, self._slices)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._fresh: dict[str, int] = {}  # key -> resourceVersion of our last write, to be seen before the next

        def by_service(one: Object) -> list[str]:
            labels = one["metadata"].get("labels") or {}
            if labels.get(MANAGED_BY) != CONTROLLER:
                return []
            return [f"{one['metadata']['namespace']}/{labels.get(SERVICE_NAME, '')}"]

        self._slices.add_index(_BY_SERVICE, by_service)
        for informer in (self._endpoints, self._services):
            informer.add_handler(self._enqueue, lambda _, new: self._enqueue(new), self._enqueue)
        self._slices.add_handler(self._slice_changed, self._slice_updated, self._slice_changed)

    def _enqueue(self, obj: Object) -> None:
        self.queue.add(key_of(obj))

    def _slice_changed(self, one: Object) -> None:
        labels = one["metadata"].get("labels") or {}
        if labels.get(MANAGED_BY) == CONTROLLER:
            self.queue.add(f"{one['metadata']['namespace']}/{labels.get(SERVICE_NAME, '')}")

    def _slice_updated(self, old: Object, new: Object) -> None:
        if old["metadata"].get("labels") != new["metadata"].get("labels"):
            self._slice_changed(old)  # it may have been another's
        self._slice_changed(new)

    async def reconcile(self, key: str) -> float | None:
        namespace, name = split_key(key)
        endpoints, service = self._endpoints.store.get(namespace, name), self._services.store.get(namespace, name)
        existing = list(self._slices.store.by_index(_BY_SERVICE, key))
        wait = self._fresh.get(key, 0)
        if wait and not any(int(s["metadata"]["resourceVersion"]) >= wait for s in existing):
            self._fresh.pop(key)  # the slice's own arrival wakes us, or this second look
            return 1.0
        self._fresh.pop(key, None)
        if endpoints is None or not mirrored(endpoints, service):
            for one in existing:
                await self._delete(one)
            return None
        todo = plan(endpoints, existing)
        if deleting(endpoints):
            todo.create.clear()  # they go with their Endpoints, and no new ones come meanwhile
        if (wrong := invalid(endpoints)) and not todo.empty:
            message = f"Skipped {wrong} invalid IP addresses when mirroring to EndpointSlices"
            self._recorder.event(endpoints, WARNING, "InvalidIPAddress", message)
        if (left_out := skipped(endpoints)) and not todo.empty:
            message = f"A max of {_MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. "
            message += f"{left_out} addresses were skipped"
            self._recorder.event(endpoints, WARNING, "TooManyAddressesToMirror", message)
        try:
            for one in todo.create:
                made = await self._client.create(ENDPOINTSLICES, one)
                self._fresh[key] = int(made["metadata"]["resourceVersion"])
            for one in todo.update:
                made = await self._client.update(ENDPOINTSLICES, one)
                self._fresh[key] = int(made["metadata"]["resourceVersion"])
        except ApiError as error:
            if not namespace_terminating(error):
                raise
        for one in todo.delete:
            await self._delete(one)
        return None

    async def _delete(self, one: Object) -> None:
        metadata = one["metadata"]
        try:
            await self._client.delete(
                ENDPOINTSLICES, metadata["name"], metadata["namespace"], preconditions={"uid": metadata["uid"]}
            )
        except ApiError as error:
            if error.code != 404:
                raise
