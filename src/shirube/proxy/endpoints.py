"""Which endpoints serve each port of each Service, seen from this node. Pure.

Follows upstream's rules: ready endpoints; where none is ready, those that still serve while they terminate
(KEP-1669); `internalTrafficPolicy` and `externalTrafficPolicy: Local` keep to this node's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Address = tuple[str, int]

SERVICE_NAME = "kubernetes.io/service-name"
_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
_HEADLESS = "service.kubernetes.io/headless"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service. Addresses are sorted, so that equal inputs make equal rules."""

    namespace: str
    name: str
    port_name: str
    protocol: str  # "tcp", "udp", "sctp"
    cluster_ip: str
    external_ips: tuple[str, ...]  # external and load balancer addresses
    port: int
    node_port: int
    internal: tuple[Address, ...]
    external: tuple[Address, ...]
    local_external: bool  # externalTrafficPolicy: Local: the client's address is kept
    affinity_seconds: int  # 0: none


def service_ports(service: Object, slices: Iterable[Object], node: str) -> list[ServicePort]:
    """The ports to program for a Service; none when it needs no proxying."""
    spec = service["spec"]
    metadata = service["metadata"]
    labels = metadata.get("labels") or {}
    cluster_ip = spec.get("clusterIP", "")
    if spec.get("type") == "ExternalName" or cluster_ip in ("", "None") or ":" in cluster_ip:
        return []
    if _PROXY_NAME in labels or _HEADLESS in labels:
        return []
    slices = [s for s in slices if s.get("addressType") == "IPv4"]
    external_ips = list(spec.get("externalIPs") or [])
    for ingress in (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or []:
        if ingress.get("ip") and ingress.get("ipMode", "VIP") == "VIP":
            external_ips.append(ingress["ip"])
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        affinity = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds", 10800)
    local_external = spec.get("externalTrafficPolicy") == "Local"
    found = []
    for port in spec.get("ports") or []:
        here, everywhere = _addresses(slices, port, node)
        found.append(
            ServicePort(
                namespace=metadata["namespace"],
                name=metadata["name"],
                port_name=port.get("name", ""),
                protocol=port.get("protocol", "TCP").lower(),
                cluster_ip=cluster_ip,
                external_ips=tuple(sorted({ip for ip in external_ips if ":" not in ip})),
                port=port["port"],
                node_port=port.get("nodePort", 0),
                internal=here if spec.get("internalTrafficPolicy") == "Local" else everywhere,
                external=here if local_external else everywhere,
                local_external=local_external,
                affinity_seconds=affinity,
            )
        )
    return found


def _addresses(slices: list[Object], port: Object, node: str) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    """(this node's, all) endpoint addresses of a Service port."""
    ready: dict[Address, bool] = {}
    terminating: dict[Address, bool] = {}
    for piece in slices:
        number = next(
            (
                p["port"]
                for p in piece.get("ports") or []
                if p.get("name", "") == port.get("name", "")
                and p.get("protocol", "TCP") == port.get("protocol", "TCP")
                and p.get("port") is not None
            ),
            None,
        )
        if number is None:
            continue
        for endpoint in piece.get("endpoints") or []:
            conditions = endpoint.get("conditions") or {}
            local = endpoint.get("nodeName") == node
            for address in endpoint.get("addresses") or []:
                if conditions.get("ready") is not False:
                    ready[(address, number)] = local
                elif conditions.get("serving") and conditions.get("terminating"):
                    terminating[(address, number)] = local
    here = sorted(a for a, local in ready.items() if local) or sorted(a for a, local in terminating.items() if local)
    everywhere = sorted(ready) or sorted(terminating)
    return tuple(here), tuple(everywhere)
