"""`hostPort`: ports of the node that lead to a pod on it, in our own tables `ip` and `ip6 shirube_host_ports`.

One map for ports on one address of the node, one for ports on all; the more special one wins, so pods can share a port
on different addresses or with different protocols. Works on 127.0.0.1 as well: such packets leave with the node's
address, and nobody outside is let onto the node's loopback by that (`route_localnet` alone would do so). On ::1 it does
not: IPv6 has no such switch. A port without a `hostIP` is one of both families, where the pod has addresses of both.
The contents are pure; `run_host_ports` follows this node's pods.
"""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path
from typing import Any, Protocol

from shirube.api.gvr import PODS
from shirube.client.informer import InformerFactory, key_of
from shirube.foundation import address_family, log, nft
from shirube.foundation.address_family import BOTH, Family
from shirube.network import projection

_logger = log.get("host-ports")
_RETRY_SECONDS = 1.0
_QUIET_SECONDS = 0.01
_ROUTE_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")

Object = dict[str, Any]
_NAME = "shirube_host_ports"
_PORTS = "meta l4proto { tcp, udp, sctp }"


def table(family: Family) -> nft.Table:
    """The empty table of one family."""
    name, ip, address = f"{family.word} {_NAME}", family.word, family.address_type
    fixed = f"""
add map {name} at_address {{ type {address} . inet_proto . inet_service : {address} . inet_service; }}
add map {name} anywhere {{ type inet_proto . inet_service : {address} . inet_service; }}
add set {name} itself {{ type {address} . {address}; }}
add chain {name} find
add rule {name} find {_PORTS} dnat {ip} to {ip} daddr . meta l4proto . th dport map @at_address
add rule {name} find {_PORTS} fib daddr type local dnat {ip} to meta l4proto . th dport map @anywhere
add chain {name} prerouting {{ type nat hook prerouting priority -95; }}
add rule {name} prerouting jump find
add chain {name} output {{ type nat hook output priority -95; }}
add rule {name} output jump find
add chain {name} postrouting {{ type nat hook postrouting priority srcnat; }}
add rule {name} postrouting ct status dnat {ip} saddr {family.loopback} {ip} daddr != {family.loopback} masquerade
add rule {name} postrouting ct status dnat {ip} saddr . {ip} daddr @itself masquerade
add chain {name} strangers {{ type filter hook prerouting priority raw; }}
add rule {name} strangers iifname != "lo" {ip} daddr {family.loopback} drop
"""
    return nft.Table(name, fixed)


def fragment(pod: Object | None, family: Family) -> nft.Fragment:
    """The host ports of a pod of this node; nothing when it has none, or has no address, or has ended."""
    wanted = nft.Fragment()
    if pod is None:
        return wanted
    spec, status = pod["spec"], pod.get("status") or {}
    listed = [a.get("ip") or "" for a in status.get("podIPs") or []] or [status.get("podIP") or ""]
    address = next((a for a in family.among(listed) if a), "")
    if spec.get("hostNetwork") or not address or status.get("phase") in ("Succeeded", "Failed"):
        return wanted
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                _lead(wanted, port, address, family)
    return wanted


def _lead(wanted: nft.Fragment, port: Object, address: str, family: Family) -> None:
    where = f"{port.get('protocol', 'TCP').lower()} . {port['hostPort']}"
    target = f"{address} . {port['containerPort']}"
    host = port.get("hostIP") or ""
    try:
        parsed = ipaddress.ip_address(host) if host else None
    except ValueError:
        return  # validation lets none through
    if parsed is not None and address_family.of(host) is not family:
        return
    if parsed is None or parsed.is_unspecified:
        wanted.add("anywhere", where, target)
    else:
        wanted.add("at_address", f"{parsed} . {where}", target)
    wanted.add("itself", f"{address} . {address}")


class HostPortOptions(Protocol):
    """What host ports need of their process's options."""

    node_name: str
    node_ip: str


async def run_host_ports(options: HostPortOptions, factory: InformerFactory) -> None:
    """Run until cancelled. The table is made with the first host port."""
    tables = {family: table(family) for family in BOTH if family.among(address_family.listed(options.node_ip))}
    changed = asyncio.Event()
    pods = factory.informer(PODS, projection=projection.pod)

    def put(pod: Object) -> None:
        if pod["spec"].get("nodeName") == options.node_name:
            for family, one in tables.items():
                one.put(key_of(pod), fragment(pod, family))
            changed.set()

    def gone(pod: Object) -> None:
        for one in tables.values():
            one.put(key_of(pod), None)
        changed.set()

    pods.add_handler(put, lambda _, new: put(new), gone)
    await pods.wait_for_cache_sync()
    made = False
    while True:
        await changed.wait()
        await asyncio.sleep(_QUIET_SECONDS)
        changed.clear()
        script = "".join(one.script() for one in tables.values())
        if not script or (not made and not any(any(one.owners()) for one in tables.values())):
            continue
        for one in tables.values():
            one.settle()
        try:
            await asyncio.to_thread(_ROUTE_LOCALNET.write_text, "1")
            await nft.apply(script)
            made = True
        except (nft.NftError, OSError) as error:
            _logger.error("cannot program host ports, will start afresh", error=str(error))
            for one in tables.values():
                one.distrust()
            await asyncio.sleep(_RETRY_SECONDS)
            changed.set()
