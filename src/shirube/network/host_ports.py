"""`hostPort`: ports of the node that lead to a pod on it, in our own table `ip shirube_host_ports`.

One map for ports on one address of the node, one for ports on all; the more special one wins, so pods can share a port
on different addresses or with different protocols. Works on 127.0.0.1 as well: such packets leave with the node's
address, and nobody outside is let onto the node's loopback by that (`route_localnet` alone would do so).
The contents are pure; `run_host_ports` follows this node's pods.
"""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path
from typing import Any, Protocol

from shirube.api.gvr import PODS
from shirube.client.informer import InformerFactory, key_of
from shirube.foundation import log, nft
from shirube.network import projection

_logger = log.get("host-ports")
_RETRY_SECONDS = 1.0
_QUIET_SECONDS = 0.01
_ROUTE_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")

Object = dict[str, Any]
TABLE = "ip shirube_host_ports"
_PORTS = "meta l4proto { tcp, udp, sctp }"
FIXED = f"""
add map {TABLE} at_address {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
add map {TABLE} anywhere {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
add set {TABLE} itself {{ type ipv4_addr . ipv4_addr; }}
add chain {TABLE} find
add rule {TABLE} find {_PORTS} dnat ip to ip daddr . meta l4proto . th dport map @at_address
add rule {TABLE} find {_PORTS} fib daddr type local dnat ip to meta l4proto . th dport map @anywhere
add chain {TABLE} prerouting {{ type nat hook prerouting priority -95; }}
add rule {TABLE} prerouting jump find
add chain {TABLE} output {{ type nat hook output priority -95; }}
add rule {TABLE} output jump find
add chain {TABLE} postrouting {{ type nat hook postrouting priority srcnat; }}
add rule {TABLE} postrouting ct status dnat ip saddr 127.0.0.0/8 ip daddr != 127.0.0.0/8 masquerade
add rule {TABLE} postrouting ct status dnat ip saddr . ip daddr @itself masquerade
add chain {TABLE} strangers {{ type filter hook prerouting priority raw; }}
add rule {TABLE} strangers iifname != "lo" ip daddr 127.0.0.0/8 drop
"""


def fragment(pod: Object | None) -> nft.Fragment:
    """The host ports of a pod of this node; nothing when it has none, or has no address, or has ended."""
    wanted = nft.Fragment()
    if pod is None:
        return wanted
    spec, status = pod["spec"], pod.get("status") or {}
    address = status.get("podIP") or ""
    if spec.get("hostNetwork") or not address or ":" in address or status.get("phase") in ("Succeeded", "Failed"):
        return wanted
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                _lead(wanted, port, address)
    return wanted


def _lead(wanted: nft.Fragment, port: Object, address: str) -> None:
    where = f"{port.get('protocol', 'TCP').lower()} . {port['hostPort']}"
    target = f"{address} . {port['containerPort']}"
    host = port.get("hostIP") or "0.0.0.0"  # noqa: S104 - as the API means it
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return  # validation lets none through
    if parsed.is_unspecified:
        wanted.add("anywhere", where, target)
    elif parsed.version == 4:
        wanted.add("at_address", f"{host} . {where}", target)
    else:
        return
    wanted.add("itself", f"{address} . {address}")


class HostPortOptions(Protocol):
    """What host ports need of their process's options."""

    node_name: str


async def run_host_ports(options: HostPortOptions, factory: InformerFactory) -> None:
    """Run until cancelled. The table is made with the first host port."""
    table = nft.Table(TABLE, FIXED)
    changed = asyncio.Event()
    pods = factory.informer(PODS, projection=projection.pod)

    def put(pod: Object) -> None:
        if pod["spec"].get("nodeName") == options.node_name:
            table.put(key_of(pod), fragment(pod))
            changed.set()

    def gone(pod: Object) -> None:
        table.put(key_of(pod), None)
        changed.set()

    pods.add_handler(put, lambda _, new: put(new), gone)
    await pods.wait_for_cache_sync()
    made = False
    while True:
        await changed.wait()
        await asyncio.sleep(_QUIET_SECONDS)
        changed.clear()
        script = table.script()
        if not script or (not made and not any(table.owners())):
            continue
        table.settle()
        try:
            await asyncio.to_thread(_ROUTE_LOCALNET.write_text, "1")
            await nft.apply(script)
            made = True
        except (nft.NftError, OSError) as error:
            _logger.error("cannot program host ports, will start afresh", error=str(error))
            table.distrust()
            await asyncio.sleep(_RETRY_SECONDS)
            changed.set()
