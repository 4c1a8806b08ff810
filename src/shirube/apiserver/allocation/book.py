"""What Services and IPAddresses say of each other, kept from look to look: only what has changed is decoded again.

A look at ten thousand Services that have not changed costs a comparison of numbers each. Each note carries the
revision of what it was read from: whoever writes on the strength of a note compares with it, and so never acts on an
old picture.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from shirube.api import gvr as g
from shirube.apiserver import allocation
from shirube.apiserver.allocation.ledger import MANAGED_BY, MANAGER
from shirube.foundation.clock import parse_rfc3339

if TYPE_CHECKING:
    from shirube.api.gvr import GVR
    from shirube.api.resources import Resource
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
AT_ONCE = 500  # objects that are looked at in one breath
FAMILY = "ipaddress.kubernetes.io/ip-family"


@dataclass(frozen=True, slots=True)
class Service:
    key: str
    revision: int
    namespace: str
    name: str
    uid: str
    addresses: tuple[str, ...]
    ports: tuple[int, ...]  # one that is named twice for the same protocol is here twice

    @property
    def about(self) -> Json:
        """Enough of it for an Event."""
        metadata = {"name": self.name, "namespace": self.namespace, "uid": self.uid}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {**metadata, "resourceVersion": str(self.revision)}}


class Parent(NamedTuple):
    group: str
    resource: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Address:
    key: str
    revision: int
    name: str
    uid: str
    created: float
    parent: Parent
    managed: bool  # made by the allocator: nobody else's are touched
    labelled: bool  # as the allocator labels them

    @property
    def of_service(self) -> bool:
        return not self.parent.group and self.parent.resource == "services"

    @property
    def about(self) -> Json:
        metadata = {"name": self.name, "uid": self.uid, "resourceVersion": str(self.revision)}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": metadata}


class _Index:
    def __init__(self) -> None:
        self._members: dict[str, dict[str, None]] = {}  # in the order of their coming, not of their hashes

    def add(self, under: str, key: str) -> None:
        self._members.setdefault(under, {})[key] = None

    def remove(self, under: str, key: str) -> None:
        if (members := self._members.get(under)) is not None:
            members.pop(key, None)
            if not members:
                del self._members[under]

    def get(self, under: str) -> list[str]:
        return list(self._members.get(under, ()))


class Book:
    def __init__(self, ctx: ServerContext) -> None:
        self._ctx = ctx
        self._service_resource, self._address_resource = _resource(ctx, g.SERVICES), _resource(ctx, g.IPADDRESSES)
        self.services: dict[str, Service] = {}  # by key, in its order
        self.addresses: dict[str, Address] = {}  # by key, in its order
        self._claimed = _Index()  # address -> keys of the Services that claim it
        self._referring = _Index()  # key of a Service, there or not -> keys of the IPAddresses that name it

    def revisions(self) -> tuple[int, int]:
        """Change exactly when there is something new to read."""
        return self._ctx.reader.revision(g.SERVICES), self._ctx.reader.revision(g.IPADDRESSES)

    def service_key(self, namespace: str, name: str) -> str:
        return self._service_resource.key(namespace, name)

    def address(self, name: str) -> Address | None:
        return self.addresses.get(self.address_key(name))

    def address_key(self, name: str) -> str:
        return self._address_resource.key(None, name)

    def claiming(self, address: str) -> Iterator[Service]:
        return (self.services[key] for key in self._claimed.get(address))

    def parent_key(self, address: Address) -> str:
        return self.service_key(address.parent.namespace, address.parent.name)

    def naming(self, service_key: str) -> Iterator[str]:
        """Keys of the IPAddresses that name this Service as theirs."""
        return iter(self._referring.get(service_key))

    async def read(self) -> tuple[set[str], set[str]]:
        """Take in what is new. Returns the keys of Services and of IPAddresses that came, changed or went.

        Services first: of one that is seen here the addresses, which were written before it, are seen too.
        """
        services = _news(await self._cached(self._service_resource), self.services)
        addresses = _news(await self._cached(self._address_resource), self.addresses)
        self._indexed(services, addresses, self._claimed.remove, self._referring.remove)
        self.services = await _renewed(self.services, services, _service)
        self.addresses = await _renewed(self.addresses, addresses, _address)
        self._indexed(services, addresses, self._claimed.add, self._referring.add)
        return set(services), set(addresses)

    def _indexed(
        self, services: Iterable[str], addresses: Iterable[str], claim: Callable[..., None], refer: Callable[..., None]
    ) -> None:
        for service in (s for key in services if (s := self.services.get(key)) is not None):
            for name in service.addresses:
                claim(name, service.key)
        for address in (a for key in addresses if (a := self.addresses.get(key)) is not None):
            refer(self.parent_key(address), address.key)

    async def _cached(self, resource: Resource) -> dict[str, Any]:
        cache = await self._ctx.caches.fresh(resource)
        return {entry.key: entry for entry in cache.entries(resource.prefix())}


def _resource(ctx: ServerContext, gvr: GVR) -> Resource:
    found = ctx.table.by_gvr(gvr)
    assert found is not None, f"the table has no {gvr.resource}"
    return found


def _news(entries: dict[str, Any], notes: dict[str, Any]) -> dict[str, Any]:
    """What is not as it was noted: the entry, or None where there is none any more."""
    new = {k: e for k, e in entries.items() if (note := notes.get(k)) is None or note.revision != e.revision}
    return new | dict.fromkeys(notes.keys() - entries.keys())


async def _renewed(notes: dict[str, Any], news: dict[str, Any], read: Callable[[Any], Any]) -> dict[str, Any]:
    if not news:
        return notes
    renewed = {k: n for k, n in notes.items() if k not in news}
    for number, (key, entry) in enumerate(news.items()):
        if entry is not None:
            renewed[key] = read(entry)
        if number % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)  # others want to be served, too
    return dict(sorted(renewed.items()))


def _service(entry: Any) -> Service:
    obj = orjson.loads(entry.data)
    meta, addresses = obj["metadata"], tuple(allocation.cluster_ips(obj))
    ports = _node_ports(obj["spec"])
    return Service(entry.key, entry.revision, meta["namespace"], meta["name"], meta.get("uid", ""), addresses, ports)


def _node_ports(spec: Json) -> tuple[int, ...]:
    """Each once, unless it is named twice for one protocol: two of those cannot both be served."""
    seen: dict[int, set[str]] = {}
    ports = []
    for port in spec.get("ports") or ():
        if number := port.get("nodePort"):
            protocols = seen.setdefault(number, set())
            protocol = port.get("protocol", "TCP")
            if not protocols or protocol in protocols:
                ports.append(number)
            protocols.add(protocol)
    health = spec.get("healthCheckNodePort")
    if health and (health not in seen or "TCP" in seen[health]):
        ports.append(health)
    return tuple(ports)


def _address(entry: Any) -> Address:
    obj = orjson.loads(entry.data)
    meta, said = obj["metadata"], (obj.get("spec") or {}).get("parentRef") or {}
    name, labels = meta["name"], meta.get("labels") or {}
    managed = labels.get(MANAGED_BY) == MANAGER
    labelled = managed and labels.get(FAMILY) == ("IPv6" if ":" in name else "IPv4")
    created = parse_rfc3339(meta["creationTimestamp"]) if meta.get("creationTimestamp") else 0.0
    parent = Parent(*(sys.intern(said.get(field) or "") for field in Parent._fields))
    return Address(entry.key, entry.revision, name, meta.get("uid", ""), created, parent, managed, labelled)
