"""Which endpoints serve each port of each Service, seen from this node. Pure.

Follows upstream's rules: ready endpoints; where none is ready, those that still serve while they terminate
(KEP-1669); `internalTrafficPolicy` and `externalTrafficPolicy: Local` keep to this node's; the hints that
`trafficDistribution` and topology aware routing put into EndpointSlices are kept to where they can be (KEP-2433,
KEP-3015).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from shirube.foundation import address_family
from shirube.foundation.address_family import Family

Object = dict[str, Any]
Address = tuple[str, int]
Addresses = tuple[Address, ...]

SERVICE_NAME = "kubernetes.io/service-name"
ZONE = "topology.kubernetes.io/zone"
_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
_HEADLESS = "service.kubernetes.io/headless"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service in one address family. Addresses are sorted, so that equal inputs make equal rules."""

    namespace: str
    name: str
    port_name: str
    protocol: str  # "tcp", "udp", "sctp"
    cluster_ip: str
    port: int
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()  # who may use the load balancer addresses …
    restricted: bool = False  # … if not everybody; ranges of the other family alone let nobody in here
    node_port: int = 0
    internal: Addresses = ()  # for the cluster address
    everywhere: Addresses = ()  # whatever the policies say
    here: Addresses = ()  # on this node
    local_external: bool = False  # externalTrafficPolicy: Local: the client's address is kept
    affinity_seconds: int = 0  # 0: none

    @property
    def family(self) -> Family:
        return address_family.of(self.cluster_ip)

    @property
    def external(self) -> Addresses:
        """For traffic from outside."""
        return self.here if self.local_external else self.everywhere


@dataclass(frozen=True, slots=True)
class Place:
    """Where this proxy runs."""

    node: str
    zone: str = ""


@dataclass(slots=True)
class _Endpoint:
    local: bool
    for_zones: frozenset[str] | None
    for_nodes: frozenset[str] | None


def proxied(service: Object) -> bool:
    """Whether the Service has an address that proxies must serve."""
    spec, labels = service["spec"], service["metadata"].get("labels") or {}
    if spec.get("type") == "ExternalName" or spec.get("clusterIP", "") in ("", "None"):
        return False
    return _PROXY_NAME not in labels and _HEADLESS not in labels


def service_ports(service: Object, slices: Iterable[Object], place: Place) -> list[ServicePort]:
    """The ports to program for a Service, in each family that it has an address of; none when it needs no proxying."""
    if not proxied(service):
        return []
    spec = service["spec"]
    pieces = list(slices)
    found = []
    for cluster_ip in spec.get("clusterIPs") or [spec["clusterIP"]]:
        family = address_family.of(cluster_ip)
        whole = _outside(service, family)
        mine = [s for s in pieces if s.get("addressType") == family.api]
        for port in spec.get("ports") or []:
            here, everywhere = _addresses(mine, port, place)
            found.append(
                replace(
                    whole,
                    port_name=port.get("name", ""),
                    protocol=port.get("protocol", "TCP").lower(),
                    cluster_ip=cluster_ip,
                    port=port["port"],
                    node_port=port.get("nodePort") or 0,
                    internal=here if spec.get("internalTrafficPolicy") == "Local" else everywhere,
                    everywhere=everywhere,
                    here=here,
                )
            )
    return found


def _outside(service: Object, family: Family) -> ServicePort:
    """What all ports of a Service have in common: its addresses outside, its policies."""
    spec, metadata = service["spec"], service["metadata"]
    ingress = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or []
    balancers = [i["ip"] for i in ingress if i.get("ip") and i.get("ipMode", "VIP") == "VIP"]
    ranges = [r.strip() for r in spec.get("loadBalancerSourceRanges") or []]
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        affinity = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds", 10800)
    return ServicePort(
        namespace=metadata["namespace"],
        name=metadata["name"],
        port_name="",
        protocol="",
        cluster_ip="",
        port=0,
        external_ips=_of(family, spec.get("externalIPs") or []),
        load_balancer_ips=_of(family, balancers) if spec.get("type") == "LoadBalancer" else (),
        source_ranges=_of(family, ranges),
        restricted=bool(ranges),
        local_external=spec.get("externalTrafficPolicy") == "Local",
        affinity_seconds=affinity,
    )


def _of(family: Family, texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(family.among(texts))))


def _addresses(slices: list[Object], port: Object, place: Place) -> tuple[Addresses, Addresses]:
    """(this node's, all that are to be used from here) endpoint addresses of a Service port."""
    ready: dict[Address, _Endpoint] = {}
    terminating: dict[Address, _Endpoint] = {}
    for piece in slices:
        number = _number(piece, port)
        if number is None:
            continue
        for endpoint in piece.get("endpoints") or []:
            conditions = endpoint.get("conditions") or {}
            seen = _Endpoint(endpoint.get("nodeName") == place.node, *_hints(endpoint))
            for address in endpoint.get("addresses") or []:
                if conditions.get("ready") is not False:
                    ready[(address, number)] = seen
                elif conditions.get("serving") and conditions.get("terminating"):
                    terminating[(address, number)] = seen
    here = _local(ready) or _local(terminating)
    return tuple(here), tuple(sorted(_near(ready, place)) or sorted(terminating))


def _number(piece: Object, port: Object) -> int | None:
    for listed in piece.get("ports") or []:
        same = listed.get("name", "") == port.get("name", "")
        if same and listed.get("protocol", "TCP") == port.get("protocol", "TCP") and listed.get("port") is not None:
            return int(listed["port"])
    return None


def _hints(endpoint: Object) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    hints = endpoint.get("hints") or {}
    zones, nodes = hints.get("forZones"), hints.get("forNodes")
    return (
        frozenset(z["name"] for z in zones) if zones else None,
        frozenset(n["name"] for n in nodes) if nodes else None,
    )


def _local(endpoints: dict[Address, _Endpoint]) -> list[Address]:
    return sorted(address for address, seen in endpoints.items() if seen.local)


def _near(ready: dict[Address, _Endpoint], place: Place) -> list[Address]:
    """Those that the hints mean for this node or zone; everybody unless every endpoint has a hint and one is for us."""
    if all(e.for_nodes is not None for e in ready.values()):
        near = [a for a, e in ready.items() if place.node in (e.for_nodes or ())]
        if near:
            return near
    if place.zone and all(e.for_zones is not None for e in ready.values()):
        near = [a for a, e in ready.items() if place.zone in (e.for_zones or ())]
        if near:
            return near
    return list(ready)
