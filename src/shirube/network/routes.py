"""Routes to the pods of (other) nodes: on one link `podCIDR via node address`, across links through `tunnel`.

The plan is pure; it is carried out with `ip -batch`, in this process's network namespace. Only routes marked with our
protocol number are ever changed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from shirube.foundation import address_family
from shirube.foundation.address_family import BOTH, Family
from shirube.foundation.programs import ProgramError, run

PROTOCOL = "83"  # marks our routes; the number is free in rt_protos

Object = dict[str, Any]


class RouteError(Exception):
    """`ip` refused; the message is its own."""


class Hop(NamedTuple):
    """Where packets go next. `device`: the tunnel's, "" where the next hop is on a link of ours."""

    via: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    name: str
    mtu: int
    addresses: tuple[str, ...]  # with their prefix lengths

    def reaches(self, address: str) -> bool:
        """Whether the address is a neighbour's on this link (or its own)."""
        wanted = ipaddress.ip_address(address)
        return any(wanted in ipaddress.ip_interface(a).network for a in self.addresses)


def wanted(nodes: Iterable[Object], own: str = "", near: Callable[[str], bool] = lambda _: True) -> dict[str, Hop]:
    """podCIDR -> next hop, for every node but `own` whose address is `near`: on a link of ours."""
    found = {}
    for node in nodes:
        if node["metadata"]["name"] == own:
            continue
        for cidr in pod_cidrs(node):
            address = internal_address(node, address_family.of(cidr))
            if address and near(address):
                found[cidr] = Hop(address)
    return found


def pod_cidrs(node: Object) -> list[str]:
    """The node's pod ranges, one of each family; none while it has not got them."""
    spec = node["spec"]
    return list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))


def internal_addresses(node: Object) -> list[str]:
    addresses = node.get("status", {}).get("addresses") or []
    return [a["address"] for a in addresses if a["type"] == "InternalIP"]


def internal_address(node: Object, family: Family) -> str:
    """The node's address inside the cluster; "" while it has none of this family."""
    return next(iter(family.among(internal_addresses(node))), "")


def plan(have: dict[str, Hop], want: dict[str, Hop]) -> list[str]:
    """Lines for `ip -batch` that make `have` into `want`."""
    lines = [f"route del {cidr} proto {PROTOCOL}" for cidr in have if cidr not in want]
    for cidr, hop in want.items():
        if have.get(cidr) != hop:
            through = f"dev {hop.device} onlink " if hop.device else ""
            lines.append(f"route replace {cidr} via {hop.via} {through}proto {PROTOCOL}")
    return lines


async def current() -> dict[str, Hop]:
    """The routes that are ours, podCIDR -> next hop."""
    found = {}
    for family in BOTH:
        for route in orjson.loads(await _ip("-j", family.flag, "route", "show", "proto", PROTOCOL) or "[]"):
            if "gateway" in route:
                through = route["dev"] if "onlink" in route.get("flags", ()) else ""
                found[route["dst"]] = Hop(route["gateway"], through)
    return found


async def links() -> list[Link]:
    """This namespace's interfaces that are up, without loopback."""
    found = []
    for link in orjson.loads(await _ip("-j", "addr", "show", "up")):
        if "LOOPBACK" not in link.get("flags", ()):
            global_ones = [a for a in link.get("addr_info", ()) if a.get("scope") == "global"]
            addresses = tuple(f"{a['local']}/{a['prefixlen']}" for a in global_ones)
            found.append(Link(link["ifname"], link["mtu"], addresses))
    return found


async def carry_out(lines: list[str]) -> None:
    if lines:
        await _ip("-batch", "-", given="\n".join(lines) + "\n")


async def _ip(*arguments: str, given: str = "") -> str:
    try:
        return await run("ip", *arguments, given=given)
    except ProgramError as error:
        raise RouteError(f"cannot set routes: {error}") from error
