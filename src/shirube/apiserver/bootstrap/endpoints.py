"""Which servers there are: a lease for each in storage, and from them Endpoints and EndpointSlice of `kubernetes`.

Every server renews its lease (`/registry/masterleases/ADDRESS`, no object of the API) and writes the addresses of all
that are alive. Whether a lease is alive each server judges by its own monotonic clock: one that has not changed for
`EXPIRED` seconds belongs to a server that is gone. A server that stops takes its lease back, so that nobody is sent to
it; the last one leaves the addresses as they are, since there is nobody left to be sent to.

Besides, each server has a Lease object in kube-system (`apiserver-…`), by which people see who serves. Follows
upstream's lease endpoint reconciler and the APIServerIdentity feature.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import platform
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import gvr as g
from shirube.api.errors import ApiError
from shirube.apiserver.bootstrap import objects
from shirube.apiserver.bootstrap.writing import key_of, new, put
from shirube.foundation import log
from shirube.foundation.clock import rfc3339_micro
from shirube.storage.types import Compare, CompareFailed, Delete, StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

_logger = log.get("bootstrap")
Json = dict[str, Any]

LEASES = "/registry/masterleases/"
RENEW = 10.0  # seconds
EXPIRED = 25.0  # seconds without a change: two renewals were missed
IDENTITY_SECONDS = 3600


class Servers:
    """The leases as this server has seen them."""

    def __init__(self, ctx: ServerContext) -> None:
        self._ctx = ctx
        self._seen: dict[str, tuple[int, float]] = {}  # address -> (revision, since when on our clock)

    @staticmethod
    def of(ctx: ServerContext) -> Servers:
        found: Servers | None = ctx.extensions.get("servers")
        if found is None:
            found = ctx.extensions["servers"] = Servers(ctx)
        return found

    @property
    def own(self) -> str:
        return self._ctx.options.advertise_host

    async def join(self) -> None:
        """Be among the servers; a lease that is there already stays as it is. Raises StorageError."""
        if await self._ctx.storage.get(LEASES + self.own) is None:
            await self._renew()

    async def _renew(self) -> None:
        key = LEASES + self.own
        held = await self._ctx.storage.get(key)
        value = {"endpoint": self.own, "renewed": rfc3339_micro(self._ctx.clock.now())}
        await put(self._ctx, key, value, held.mod_revision if held is not None else 0)

    async def alive(self) -> list[str]:
        """Addresses in their order. Leases of servers that are gone are taken away. Raises StorageError."""
        now, found = self._ctx.clock.monotonic(), []
        for kv in (await self._ctx.storage.range(LEASES)).items:
            address = kv.key.removeprefix(LEASES)
            revision, since = self._seen.get(address, (0, now))
            if revision != kv.mod_revision:
                self._seen[address] = (kv.mod_revision, now)
            elif now - since > EXPIRED and address != self.own:
                await self._forget(address, kv.mod_revision)
                continue
            found.append(address)
        self._seen = {address: seen for address, seen in self._seen.items() if address in found}
        return sorted(found, key=ipaddress.ip_address)

    async def _forget(self, address: str, revision: int) -> None:
        try:
            await self._ctx.storage.commit([Compare(LEASES + address, revision)], [Delete(LEASES + address)])
        except CompareFailed:
            return  # renewed this very moment: it is looked at again
        _logger.info("a server is gone", address=address)

    async def leave(self) -> None:
        """No longer be among the servers, if there are others. Raises StorageError."""
        others = [address for address in await self.alive() if address != self.own]
        held = await self._ctx.storage.get(LEASES + self.own)
        if others and held is not None:
            await self._forget(self.own, held.mod_revision)
            await assert_addresses(self._ctx, others)


async def assert_endpoints(ctx: ServerContext) -> None:
    """The `kubernetes` Service leads to the servers that are alive. Raises StorageError."""
    servers = Servers.of(ctx)
    await servers.join()
    await assert_addresses(ctx, await servers.alive())


async def assert_addresses(ctx: ServerContext, addresses: list[str]) -> None:
    port = ctx.options.advertise_port
    for gvr, want in (
        (g.ENDPOINTS, objects.endpoints(addresses, port)),
        (g.ENDPOINTSLICES, objects.endpoint_slice(addresses, port)),
    ):
        key = key_of(ctx, gvr, want)
        kv = await ctx.storage.get(key)
        if kv is None:
            await put(ctx, key, new(ctx, want), 0)
            continue
        have = orjson.loads(kv.value)
        fields = [f for f in want if f not in ("apiVersion", "kind", "metadata")]
        if any(have.get(f) != want[f] for f in fields):
            await put(ctx, key, {**have, **{f: want[f] for f in fields}}, kv.mod_revision)


async def keep(ctx: ServerContext) -> None:
    """Renew and assert again and again; runs until cancelled."""
    while True:
        await asyncio.sleep(ctx.chance.jitter(RENEW))
        try:
            await Servers.of(ctx)._renew()
            await assert_endpoints(ctx)
            await renew_identity(ctx)
        except (StorageError, ApiError) as error:
            _logger.warning("cannot renew this server's leases", error=str(error))


def identity(ctx: ServerContext) -> Json:
    """The Lease object of this server. Two servers on one host differ by their addresses."""
    host = platform.node()
    of_server = f"{host}/{ctx.options.advertise_host}:{ctx.options.advertise_port}"
    digest = base64.b32encode(hashlib.sha256(of_server.encode()).digest()[:16]).decode().rstrip("=").lower()
    now = rfc3339_micro(ctx.clock.now())
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": f"apiserver-{digest}",
            "namespace": "kube-system",
            "labels": {"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": host},
        },
        "spec": {
            "holderIdentity": f"apiserver-{digest}_{ctx.chance.uid()}",
            "leaseDurationSeconds": IDENTITY_SECONDS,
            "renewTime": now,
        },
    }


async def renew_identity(ctx: ServerContext) -> None:
    """Raises StorageError."""
    want = identity(ctx)
    key = key_of(ctx, g.LEASES, want)
    kv = await ctx.storage.get(key)
    if kv is None:
        await put(ctx, key, new(ctx, want), 0)
        return
    have = orjson.loads(kv.value)
    renewed = {**(have.get("spec") or {}), "renewTime": want["spec"]["renewTime"]}
    await put(ctx, key, {**have, "spec": renewed}, kv.mod_revision)
