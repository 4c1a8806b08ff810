"""VXLAN (RFC 7348) to nodes on other links: what lies between cannot route pods' addresses, nodes' it can.

Every node has one device. Its address is the first of the node's pod range, which no pod gets, and its hardware address
follows from the node's name: so a peer is known from its Node object alone, and nothing is learned or flooded. Pods of
both families travel in packets of the family of the node's first address. Nodes on a link of ours are reached without.

What is put around a packet makes it longer: the device's MTU is the link's less that, new pods get the same, and the
routers in between tell older ones (the node routes, so path MTU discovery works).
The plan is pure; `carry_out` hands it to `ip` and `bridge`.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from shirube.foundation import address_family
from shirube.foundation.address_family import Family
from shirube.foundation.programs import ProgramError, run
from shirube.network.routes import Hop, Link, Object, RouteError, internal_address, pod_cidrs

DEVICE = "shirube.vxlan"
_NETWORK = 83  # VXLAN network identifier
_PORT = 4789
_OUTER = {4: 50, 6: 70}  # bytes: outer IP, UDP, VXLAN and inner Ethernet headers


@dataclass(frozen=True, slots=True)
class Peer:
    """A node on another link."""

    name: str
    address: str
    cidrs: tuple[str, ...]

    @property
    def hardware(self) -> str:
        return hardware_address(self.name)


def hardware_address(node: str) -> str:
    """Locally administered, the same wherever it is computed."""
    digest = hashlib.sha256(node.encode()).digest()[:5]
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest))


def inner_address(cidr: str) -> str:
    """The tunnel end's address in a pod range: the range's first."""
    return str(ipaddress.ip_network(cidr).network_address)


def peers(nodes: Iterable[Object], own: str, outer: Family, near: Callable[[str], bool]) -> list[Peer]:
    """The other nodes that have pods, and an address that is on none of our links."""
    found = []
    for node in nodes:
        name, address, cidrs = node["metadata"]["name"], internal_address(node, outer), tuple(pod_cidrs(node))
        if name != own and address and cidrs and not near(address):
            found.append(Peer(name, address, cidrs))
    return found


def routes(some: Iterable[Peer]) -> dict[str, Hop]:
    return {cidr: Hop(inner_address(cidr), DEVICE) for peer in some for cidr in peer.cidrs}


def mtu(link: Link, outer: Family) -> int:
    """What fits through the tunnel over this link."""
    return link.mtu - _OUTER[4 if outer is address_family.IPV4 else 6]


def device(own: str, local: str, cidrs: Iterable[str], room: int) -> list[str]:
    """Lines for `ip -batch` that make the device, which must not be there."""
    lines = [
        f"link add {DEVICE} address {hardware_address(own)} mtu {room} type vxlan id {_NETWORK} dstport {_PORT} "
        f"local {local} nolearning",
        f"link set {DEVICE} addrgenmode none",
        f"link set {DEVICE} up",
    ]
    for cidr in cidrs:
        address = inner_address(cidr)
        lines.append(
            f"addr add {address}/128 dev {DEVICE} nodad" if ":" in address else f"addr add {address}/32 dev {DEVICE}"
        )
    return lines


def neighbours(some: Iterable[Peer]) -> list[str]:
    """Lines for `ip -batch`: whose hardware address each tunnel end has."""
    return [
        f"neigh replace {inner_address(cidr)} lladdr {peer.hardware} dev {DEVICE} nud permanent"
        for peer in some
        for cidr in peer.cidrs
    ]


def forwarding(have: dict[str, str], some: Iterable[Peer]) -> list[str]:
    """Lines for `bridge -batch`: to which node frames for a hardware address go. `have`: hardware address -> node."""
    want = {peer.hardware: peer.address for peer in some}
    lines = [f"fdb del {hardware} dev {DEVICE} dst {to}" for hardware, to in have.items() if want.get(hardware) != to]
    lines += [
        f"fdb append {hardware} dev {DEVICE} dst {to}" for hardware, to in want.items() if have.get(hardware) != to
    ]
    return lines


async def carry_out(own: Object, some: list[Peer], link: Link, local: str) -> None:
    """Make what is not there, change what differs; without peers the device goes."""
    there = [entry for entry in await _shown("ip", "-d", "link", "show") if entry.get("ifname") == DEVICE]
    if not some:
        if there:
            await _run("ip", [f"link del {DEVICE}"])
        return
    outer = address_family.of(local)
    room = mtu(link, outer)
    if there and not _as_wanted(there[0], room, local):
        await _run("ip", [f"link del {DEVICE}"])
        there = []
    if not there:
        await _run("ip", device(own["metadata"]["name"], local, pod_cidrs(own), room))
    await _run("ip", neighbours(some))
    entries = await _shown("bridge", "fdb", "show", "dev", DEVICE)
    await _run("bridge", forwarding({e["mac"]: e["dst"] for e in entries if "dst" in e}, some))


def _as_wanted(entry: Object, room: int, local: str) -> bool:
    data = (entry.get("linkinfo") or {}).get("info_data") or {}
    return bool(entry.get("mtu") == room and local in (data.get("local"), data.get("local6")))


async def _shown(program: str, *arguments: str) -> list[Object]:
    try:
        return list(orjson.loads(await run(program, "-j", *arguments) or "[]"))
    except ProgramError as error:
        raise RouteError(f"cannot look at the tunnel: {error}") from error


async def _run(program: str, lines: list[str]) -> None:
    if not lines:
        return
    try:
        await run(program, "-batch", "-", given="\n".join(lines) + "\n")
    except ProgramError as error:
        raise RouteError(f"cannot set up the tunnel: {error}") from error
