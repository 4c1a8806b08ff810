"""Routes to the pods of (other) nodes, on one link: `podCIDR via node address`.

The plan is pure; it is carried out with `ip -batch`, in this process's network namespace. Only routes marked with our
protocol number are ever changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shirube.foundation.programs import ProgramError, run

PROTOCOL = "83"  # marks our routes; the number is free in rt_protos

Object = dict[str, Any]


class RouteError(Exception):
    """`ip` refused; the message is its own."""


def wanted(nodes: Iterable[Object], own: str = "") -> dict[str, str]:
    """podCIDR -> node address, for every node but `own`."""
    found = {}
    for node in nodes:
        cidr = node["spec"].get("podCIDR")
        address = internal_address(node)
        if cidr and address and node["metadata"]["name"] != own:
            found[cidr] = address
    return found


def internal_address(node: Object) -> str:
    """The node's IPv4 address inside the cluster; "" while it has none."""
    addresses = node.get("status", {}).get("addresses") or []
    return next((a["address"] for a in addresses if a["type"] == "InternalIP" and ":" not in a["address"]), "")


def plan(have: dict[str, str], want: dict[str, str]) -> list[str]:
    """Lines for `ip -batch` that make `have` into `want`."""
    lines = [f"route del {cidr} proto {PROTOCOL}" for cidr in have if cidr not in want]
    lines += [
        f"route replace {cidr} via {address} proto {PROTOCOL}"
        for cidr, address in want.items()
        if have.get(cidr) != address
    ]
    return lines


async def current() -> dict[str, str]:
    """The routes that are ours, podCIDR -> address."""
    out = await _ip("-4", "route", "show", "proto", PROTOCOL)
    found = {}
    for line in out.splitlines():
        words = line.split()
        if len(words) >= 3 and words[1] == "via":
            found[words[0]] = words[2]
    return found


async def carry_out(lines: list[str]) -> None:
    if lines:
        await _ip("-batch", "-", given="\n".join(lines) + "\n")


async def _ip(*arguments: str, given: str = "") -> str:
    try:
        return await run("ip", *arguments, given=given)
    except ProgramError as error:
        raise RouteError(f"cannot set routes: {error}") from error
