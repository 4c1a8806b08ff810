"""Who has which address and which node port: one key each, taken by compare-and-commit.

A cluster IP is an IPAddress object, visible to everybody; a node port is a key of our own under
`/registry/shirube/nodeports/`. Taking a key that exists fails, so two services never get the same number,
however many servers allocate at once. Nothing is kept in memory.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import gvr as g
from shirube.apiserver.allocation.bands import Range, address_range, port_range
from shirube.apiserver.allocation.families import family_of
from shirube.foundation.clock import rfc3339
from shirube.storage.types import Compare, CompareFailed, Delete, Op, Put, Storage

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

PORTS_PREFIX = "/registry/shirube/nodeports/"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
DEFAULT_RANGE = "kubernetes"  # the ServiceCIDR that shows the server's own ranges


class Taken(Exception):
    """Somebody has it."""


class Full(Exception):
    """Nothing of the range is left."""


def _is_ready(block: dict[str, Any]) -> bool:
    """A range without a condition is: nobody may be there to say so."""
    conditions = (block.get("status") or {}).get("conditions") or ()
    said = next((c["status"] for c in conditions if c["type"] == "Ready"), "True")
    return said == "True" and not block["metadata"].get("deletionTimestamp")


async def commit_if(storage: Storage, unchanged: Sequence[Compare], op: Op) -> bool:
    """Whether all was still so, and is written. Raises StorageError."""
    try:
        await storage.commit(unchanged, [op])
    except CompareFailed:
        return False
    return True


class Ledger:
    """The addresses and ports of one cluster, on behalf of one service."""

    def __init__(self, ctx: ServerContext, namespace: str, service: str) -> None:
        self._ctx = ctx
        self._namespace = namespace
        self._service = service
        resource = ctx.table.by_gvr(g.IPADDRESSES)
        assert resource is not None, "the table has no ipaddresses"
        self._addresses = resource

    @property
    def families(self) -> list[str]:
        """The cluster's address families, the first leads."""
        return [family_of(cidr) for cidr in self._own()]

    def cidrs(self, family: str) -> list[str]:
        """The ranges of a family: the server's own, then those of further ServiceCIDRs that are ready."""
        found = [cidr for cidr in self._own() if family_of(cidr) == family]
        for obj in self._ctx.reader.list(g.SERVICECIDRS):
            if obj["metadata"]["name"] != DEFAULT_RANGE and _is_ready(obj):
                found += [c for c in obj["spec"].get("cidrs") or () if family_of(c) == family and c not in found]
        return found

    def ranges(self, family: str) -> list[Range]:
        return [address_range(cidr) for cidr in self.cidrs(family)]

    def _own(self) -> list[str]:
        return [cidr.strip() for cidr in self._ctx.options.service_cidr.split(",")]

    @property
    def ports(self) -> Range:
        return port_range(*self._ctx.options.node_port_range)

    async def take_address(self, address: str) -> None:
        """Raises Taken."""
        key = self._addresses.key(None, address)
        await self._take(key, orjson.dumps(self.address_object(address)), seen=True)

    async def next_address(self, family: str) -> str:
        """Raises Full."""
        kind = ipaddress.IPv6Address if family == "IPv6" else ipaddress.IPv4Address
        for one in self.ranges(family):
            for number in one.candidates(self._ctx.chance):
                address = str(kind(number))
                if self._ctx.reader.get(g.IPADDRESSES, "", address) is not None:
                    continue
                try:
                    await self.take_address(address)
                except Taken:
                    continue
                return address
        raise Full

    async def release_address(self, address: str) -> None:
        await self._release(self._addresses.key(None, address), seen=True)

    async def take_port(self, port: int) -> None:
        """Raises Taken."""
        owner = {"namespace": self._namespace, "service": self._service}
        await self._take(f"{PORTS_PREFIX}{port}", orjson.dumps(owner))

    async def next_port(self) -> int:
        """Raises Full."""
        tried = 0
        taken: set[str] = set()
        for port in self.ports.candidates(self._ctx.chance):
            if tried == 8:
                # A crowded range: look once instead of trying every port.
                listed = await self._ctx.storage.range(PORTS_PREFIX)
                taken = {kv.key for kv in listed.items}
            tried += 1
            if f"{PORTS_PREFIX}{port}" in taken:
                continue
            try:
                await self.take_port(port)
            except Taken:
                continue
            return port
        raise Full

    async def release_port(self, port: int) -> None:
        await self._release(f"{PORTS_PREFIX}{port}")

    def address_object(self, address: str) -> dict[str, Any]:
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IPAddress",
            "metadata": {
                "name": address,
                "uid": self._ctx.chance.uid(),
                "creationTimestamp": rfc3339(self._ctx.clock.now()),
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": "IPv6" if ":" in address else "IPv4",
                    MANAGED_BY: MANAGER,
                },
            },
            "spec": {
                "parentRef": {
                    "name": self._service,
                    "namespace": self._namespace,
                    "resource": "services",
                }
            },
        }

    async def _take(self, key: str, value: bytes, seen: bool = False) -> None:
        try:
            revision = await self._ctx.storage.commit([Compare(key, 0)], [Put(key, value)])
        except CompareFailed:
            raise Taken from None
        if seen:
            await self._ctx.caches.seen(self._addresses, revision)

    async def _release(self, key: str, seen: bool = False) -> None:
        """Releasing what is not taken is nothing."""
        kv = await self._ctx.storage.get(key)
        if kv is None:
            return
        try:
            revision = await self._ctx.storage.commit([Compare(key, kv.mod_revision)], [Delete(key)])
        except CompareFailed:
            return
        if seen:
            await self._ctx.caches.seen(self._addresses, revision)
