"""Subsets of Endpoints in the one form that upstream gives them: ports that the same addresses offer are in one subset.

Pure. The API server packs what people write, the controller what it finds; both come to the same objects, so that
nobody writes because another packs differently. An address is told apart by its pod: those on a node's network share
one. Of what is said twice not ready counts. Follows upstream's `RepackSubsets`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

Json = dict[str, Any]
_Who = tuple[str, str]  # address, uid of what is behind it


class Offer(NamedTuple):
    """One address, and one port that it offers; None: the address as such."""

    address: Json
    port: Json | None
    ready: bool


def repacked(subsets: Iterable[Json]) -> list[Json]:
    return packed(
        Offer(address, port, ready)
        for subset in subsets
        for field, ready in (("addresses", True), ("notReadyAddresses", False))
        for address in subset.get(field) or ()
        for port in (subset.get("ports") or (None,))
    )


def packed(offers: Iterable[Offer]) -> list[Json]:
    """Sorted throughout: the same offers in whatever order make equal subsets."""
    addresses: dict[_Who, Json] = {}
    ports: dict[tuple[str, ...], Json | None] = {}
    offering: dict[tuple[str, ...], dict[_Who, bool]] = {}
    for address, port, ready in offers:
        who = address.get("ip", ""), (address.get("targetRef") or {}).get("uid") or ""
        addresses.setdefault(who, address)
        key = _port_key(port)
        ports.setdefault(key, port)
        members = offering.setdefault(key, {})
        members[who] = ready and members.get(who, True)
    together: dict[tuple[tuple[_Who, bool], ...], list[tuple[str, ...]]] = {}
    for key, members in offering.items():
        together.setdefault(tuple(sorted(members.items(), key=_place)), []).append(key)
    found = sorted((sorted(keys), members) for members, keys in together.items())
    return [
        _subset([p for key in keys if (p := ports[key]) is not None], members, addresses) for keys, members in found
    ]


def _port_key(port: Json | None) -> tuple[str, ...]:
    if port is None:
        return ()
    number = port.get("port") or 0
    return port.get("name") or "", f"{number:05}", port.get("protocol") or "TCP", port.get("appProtocol") or ""


def _subset(ports: list[Json], members: Iterable[tuple[_Who, bool]], addresses: dict[_Who, Json]) -> Json:
    out: Json = {}
    for wanted, field in ((True, "addresses"), (False, "notReadyAddresses")):
        if found := [addresses[who] for who, ready in members if ready is wanted]:
            out[field] = found
    if ports:
        out["ports"] = ports
    return out


def _place(member: tuple[_Who, bool]) -> tuple[tuple[int, bytes], str]:
    (ip, uid), _ = member
    return _number(ip), uid


@lru_cache(maxsize=65536)
def _number(ip: str) -> tuple[int, bytes]:
    try:
        found = ipaddress.ip_address(ip).packed
    except ValueError:
        return 0, ip.encode()
    return len(found), found
