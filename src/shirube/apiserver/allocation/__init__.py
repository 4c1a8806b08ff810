"""Cluster IPs, node ports and health-check ports of services: given when stored, taken back when gone.

The generic handler calls three hooks around every write of a Service (group "", resource "services"; not its
status). Reservations are durable before the service is stored, so a number is never given twice; if storing
fails they are returned:

    reserved = await allocation.on_create(server, obj, dry_run=…)   # after validation, right before commit;
    try:                                                            # fills clusterIP(s), ports in obj
        … commit …
    except BaseException:
        await reserved.rollback()
        raise
    await reserved.settle()

    reserved = await allocation.on_update(server, new, old, dry_run=…)   # for each try of the update loop
    … commit, then settle(), or rollback() when the commit failed (CompareFailed included) …

    await allocation.on_delete(server, old)                          # after the object is gone

The hooks raise ApiError 422 with upstream's wording. A crash between reservation and commit leaks a number
until `repair` (run now and then by `keep`) finds that nobody has it.

Modules: `bands` (which number next), `ledger` (who has what), `families` (ipFamilies), `repair`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.errors import Cause
from shirube.apiserver.allocation import families
from shirube.apiserver.allocation.ledger import Full, Ledger, Taken

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
_ADDRESSES = ("type", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")  # what addresses depend on


class Allocation:
    """What one write of a service reserved, and what it no longer needs."""

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger  # None: a dry run, nothing is real
        self.addresses: list[str] = []
        self.ports: list[int] = []
        self.old_addresses: list[str] = []
        self.old_ports: list[int] = []

    async def rollback(self) -> None:
        """The write did not happen: return what was reserved for it."""
        addresses, self.addresses = self.addresses, []
        ports, self.ports = self.ports, []
        await self._release(addresses, ports)

    async def settle(self) -> None:
        """The write happened: return what the service had before and has no more."""
        addresses, self.old_addresses = self.old_addresses, []
        ports, self.old_ports = self.old_ports, []
        await self._release(addresses, ports)

    async def _release(self, addresses: list[str], ports: list[int]) -> None:
        if self._ledger is None:
            return
        for address in addresses:
            await self._ledger.release_address(address)
        for port in ports:
            await self._ledger.release_port(port)


async def on_create(ctx: ServerContext, service: Json, *, dry_run: bool = False) -> Allocation:
    """Give a new service what it asks for; changes `service.spec`. Raises ApiError 422, 500 (range full)."""
    return await _reserve(ctx, service, None, dry_run)


async def on_update(ctx: ServerContext, new: Json, old: Json, *, dry_run: bool = False) -> Allocation:
    """Give a changed service what it needs beyond `old`; changes `new.spec`. Raises ApiError 422, 500."""
    carry_over(new, old)
    if _same_numbers(new, old):
        return Allocation(None)
    return await _reserve(ctx, new, old, dry_run)


async def on_delete(ctx: ServerContext, old: Json) -> None:
    """Take everything back from a service that is gone."""
    ledger = _ledger(ctx, old)
    for address in cluster_ips(old):
        await ledger.release_address(address)
    for port in node_ports(old):
        await ledger.release_port(port)


def carry_over(new: Json, old: Json) -> None:
    """Keep numbers that an update leaves out, as `patchAllocatedValues` upstream. In place, idempotent."""
    spec, before = new["spec"], old["spec"]
    if _needs_cluster_ip(new) and _needs_cluster_ip(old):
        if not spec.get("clusterIP"):
            spec["clusterIP"] = before.get("clusterIP", "")
        if not spec.get("clusterIPs") and spec["clusterIP"] == before.get("clusterIP"):
            spec["clusterIPs"] = list(before.get("clusterIPs") or ())
    if _needs_node_ports(new) and _needs_node_ports(old):
        had = {(p.get("protocol", "TCP"), p["port"]): p.get("nodePort") for p in before.get("ports") or ()}
        used = {p.get("nodePort") for p in spec.get("ports") or ()}
        for port in spec.get("ports") or ():
            previous = had.get((port.get("protocol", "TCP"), port["port"]))
            if not port.get("nodePort") and previous and previous not in used:
                port["nodePort"] = previous
    if _needs_health_port(new) and _needs_health_port(old) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before.get("healthCheckNodePort", 0)


def cluster_ips(service: Json) -> list[str]:
    """The addresses that a stored service holds."""
    if not _needs_cluster_ip(service):
        return []
    spec = service["spec"]
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [a for a in addresses if a and a != "None"]


def node_ports(service: Json) -> list[int]:
    """The node ports that a stored service holds, each once."""
    ports = [p["nodePort"] for p in service["spec"].get("ports") or () if p.get("nodePort")]
    if service["spec"].get("healthCheckNodePort"):
        ports.append(service["spec"]["healthCheckNodePort"])
    return list(dict.fromkeys(ports))


def _needs_cluster_ip(service: Json) -> bool:
    spec = service["spec"]
    return spec.get("type", "ClusterIP") in ("ClusterIP", "NodePort", "LoadBalancer")


def _needs_node_ports(service: Json) -> bool:
    spec = service["spec"]
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return bool(spec.get("type") == "NodePort")


def _needs_health_port(service: Json) -> bool:
    spec = service["spec"]
    return bool(spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local")


def _same_numbers(new: Json, old: Json) -> bool:
    if any(new["spec"].get(f) != old["spec"].get(f) for f in _ADDRESSES):
        return False
    if _needs_node_ports(new) and not all(p.get("nodePort") for p in new["spec"].get("ports") or ()):
        return False
    if _needs_health_port(new) and not new["spec"].get("healthCheckNodePort"):
        return False
    return set(node_ports(new)) == set(node_ports(old))


def _ledger(ctx: ServerContext, service: Json) -> Ledger:
    meta = service["metadata"]
    return Ledger(ctx, meta.get("namespace", ""), meta.get("name", ""))


async def _reserve(ctx: ServerContext, service: Json, old: Json | None, dry_run: bool) -> Allocation:
    ledger = _ledger(ctx, service)
    allocation = Allocation(None if dry_run else ledger)
    wrong = families.complete(service, old, ledger.families)
    if wrong:
        raise _invalid(service, *wrong)
    try:
        await _reserve_addresses(ledger, allocation, service, old, dry_run)
        await _reserve_ports(ledger, allocation, service, old, dry_run)
    except BaseException:
        await allocation.rollback()
        raise
    if old is not None:
        kept_addresses, kept_ports = cluster_ips(service), node_ports(service)
        allocation.old_addresses = [a for a in cluster_ips(old) if a not in kept_addresses]
        allocation.old_ports = [p for p in node_ports(old) if p not in kept_ports]
    return allocation


async def _reserve_addresses(
    ledger: Ledger, allocation: Allocation, service: Json, old: Json | None, dry_run: bool
) -> None:
    spec = service["spec"]
    if not _needs_cluster_ip(service) or spec.get("clusterIP") == "None":
        return
    held = cluster_ips(old) if old is not None else []
    given = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    settled = []
    for index, family in enumerate(spec["ipFamilies"]):
        wanted = given[index] if index < len(given) else ""
        if wanted not in held:
            if wanted:
                await _take_address(ledger, service, wanted, family, dry_run)
            else:
                wanted = await _next_address(ledger, family, dry_run)
            if not dry_run:
                allocation.addresses.append(wanted)
        settled.append(wanted)
    spec["clusterIP"], spec["clusterIPs"] = settled[0], settled


async def _next_address(ledger: Ledger, family: str, dry_run: bool) -> str:
    if dry_run:
        # As upstream shows in a dry run: nothing that anybody could have.
        return str(ipaddress.ip_network(ledger.cidrs(family)[0]).network_address)
    try:
        return await ledger.next_address(family)
    except Full:
        raise errors.internal_error("failed to allocate a serviceIP: range is full") from None


async def _take_address(ledger: Ledger, service: Json, wanted: str, family: str, dry_run: bool) -> None:
    given = service["spec"].get("clusterIPs") or [wanted]
    address, why = ipaddress.ip_address(wanted), ""
    around = [cidr for cidr in ledger.cidrs(family) if address in ipaddress.ip_network(cidr)]
    if not around:
        why = "the provided network does not match the current range"
    elif not any(int(address) in one for one in ledger.ranges(family)):  # the address of the network itself
        why = f"the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {around[0]}"
    elif not dry_run:
        try:
            await ledger.take_address(wanted)
        except Taken:
            why = "provided IP is already allocated"
    if why:
        raise _invalid(service, Cause.invalid("spec.clusterIPs", given, f"failed to allocate IP {wanted}: {why}"))


async def _reserve_ports(
    ledger: Ledger, allocation: Allocation, service: Json, old: Json | None, dry_run: bool
) -> None:
    held = set(node_ports(old)) if old is not None else set()
    if _needs_node_ports(service) or service["spec"].get("type") == "LoadBalancer":
        for index, port in _in_order(service):
            path = f"spec.ports[{index}].nodePort"
            wanted = port.get("nodePort") or _shared_port(service, port)
            if not wanted and not _needs_node_ports(service):
                continue
            got = await _port(ledger, allocation, service, wanted, path, held, dry_run)
            if got:
                port["nodePort"] = got
    if _needs_health_port(service):
        wanted = service["spec"].get("healthCheckNodePort") or 0
        got = await _port(ledger, allocation, service, wanted, "spec.healthCheckNodePort", held, dry_run, health=True)
        if got:
            service["spec"]["healthCheckNodePort"] = got


def _in_order(service: Json) -> Iterator[tuple[int, Json]]:
    """Ports that somebody chose first, so that none of them is given away to another."""
    ports = list(enumerate(service["spec"].get("ports") or ()))
    yield from (p for p in ports if p[1].get("nodePort"))
    yield from (p for p in ports if not p[1].get("nodePort"))


def _shared_port(service: Json, port: Json) -> int:
    """The node port of the same port under another protocol: both can have one number."""
    for other in service["spec"]["ports"]:
        if (
            other is not port
            and other.get("nodePort")
            and other["port"] == port["port"]
            and other.get("protocol", "TCP") != port.get("protocol", "TCP")
        ):
            return int(other["nodePort"])
    return 0


async def _port(
    ledger: Ledger,
    allocation: Allocation,
    service: Json,
    wanted: int,
    path: str,
    held: set[int],
    dry_run: bool,
    health: bool = False,
) -> int:
    """The port itself, reserved; 0 in a dry run that would choose one."""
    if wanted and (wanted in held or wanted in allocation.ports):
        return wanted
    if not wanted:
        if dry_run:
            return 0
        try:
            wanted = await ledger.next_port()
        except Full:
            what = "a HealthCheck NodePort 0" if health else "a nodePort"
            raise errors.internal_error(f"failed to allocate {what}: range is full") from None
    elif wanted not in ledger.ports:
        valid = f"{ledger.ports.first}-{ledger.ports.last}"
        why = f"provided port is not in the valid range. The range of valid ports is {valid}"
        raise _wrong_port(service, path, wanted, why, health)
    elif not dry_run:
        try:
            await ledger.take_port(wanted)
        except Taken:
            raise _wrong_port(service, path, wanted, "provided port is already allocated", health) from None
    if not dry_run:
        allocation.ports.append(wanted)
    return wanted


def _wrong_port(service: Json, path: str, port: int, why: str, health: bool) -> errors.ApiError:
    if health:  # upstream tells its port for health checks apart
        return errors.internal_error(f"failed to allocate requested HealthCheck NodePort {port}: {why}")
    return _invalid(service, Cause.invalid(path, port, why))


def _invalid(service: Json, *causes: Cause) -> errors.ApiError:
    return errors.invalid("", "Service", service["metadata"].get("name", ""), list(causes))
