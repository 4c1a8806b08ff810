"""Service ports as fragments of the tables `ip shirube_proxy` and `ip6 shirube_proxy`, which are alike. Pure.

A packet finds its Service by one lookup in the verdict map `services` (address, protocol, port) or `node_ports`; each
Service port has a chain that picks an endpoint with one numbered map, so the cost does not grow with the number of
Services. A change touches the chains and elements of its Service, nothing else. A Service that has a cluster address
only, as most have, needs no chain of its own: `pick-N` draws a number below N and looks the endpoint up in `endpoints`.
(Ten thousand chains with a map each take the kernel four times as long as the same in one map.)

    services / node_ports ──► pick-N  dnat to endpoints [ address . protocol . port . number below N ]
                          ├─► svc-…   dnat to numgen random mod N map { 0 : ip . port, … }
                          ├─► ext-…   from outside. Policy Cluster: mark for masquerade, then all endpoints. Local:
                          │           who is inside the cluster reaches all, others this node's, or nobody
                          └─► lb-…    load balancer addresses with loadBalancerSourceRanges: others are dropped
    refused               ──► reject: an address of a Service that has no endpoints (or not that port); TCP by a reset,
                              because the kernel sends few ICMP errors a second and the client would wait
    service_ranges        ──► drop: an address for Services that none has (or none that we know of yet): it must not
                              leave the cluster, and a client that tries again may have luck

Client affinity has a chain for each endpoint, which remembers its clients in a set with a timeout. The number that was
drawn travels in the packet's mark, which is cleared right after; masquerade is decided in the connection's mark.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable

from shirube.foundation import address_family
from shirube.foundation.address_family import Family
from shirube.foundation.nft import Fragment, Table
from shirube.proxy.endpoints import Addresses, ServicePort

_NAME = "shirube_proxy"
_MARK = 0x4000
_MASQUERADE = f"ct mark set ct mark or {_MARK}"
_MOST_PICKED = 64  # endpoints of a Service without a chain of its own
_CLEAR = f"ct state new ct status dnat meta mark < {_MOST_PICKED} meta mark set 0"


def table_name(family: Family) -> str:
    return f"{family.word} {_NAME}"


def table(cluster_cidr: str) -> Table:
    """The empty table of a node whose pods, and all others', have addresses of `cluster_cidr`, in its family."""
    family = address_family.of(cluster_cidr)
    name, ip, address = table_name(family), family.word, family.address_type
    picks = "\n".join(
        f"""add chain {name} pick-{n}
add rule {name} pick-{n} meta mark set numgen random mod {n}
add rule {name} pick-{n} meta l4proto {{ tcp, udp, sctp }} dnat {ip} to \
{ip} daddr . meta l4proto . th dport . meta mark map @endpoints"""
        for n in range(1, _MOST_PICKED + 1)
    )
    return Table(
        name,
        f"""
add map {name} services {{ type {address} . inet_proto . inet_service : verdict; }}
add map {name} node_ports {{ type inet_proto . inet_service : verdict; }}
add map {name} endpoints {{ type {address} . inet_proto . inet_service . mark : {address} . inet_service; }}
add set {name} hairpin {{ type {address} . {address}; }}
add set {name} cluster_ips {{ type {address}; }}
add set {name} service_ranges {{ type {address}; flags interval; }}
add set {name} refused {{ type {address} . inet_proto . inet_service; }}
add set {name} refused_node_ports {{ type inet_proto . inet_service; }}
{picks}
add chain {name} find
add rule {name} find {ip} daddr . meta l4proto . th dport vmap @services
add rule {name} find fib daddr type local {ip} daddr != {family.loopback} meta l4proto . th dport vmap @node_ports
add chain {name} prerouting {{ type nat hook prerouting priority dstnat; }}
add rule {name} prerouting {ip} saddr != {cluster_cidr} {ip} daddr @cluster_ips {_MASQUERADE}
add rule {name} prerouting jump find
add chain {name} clear {{ type filter hook prerouting priority -99; }}
add rule {name} clear {_CLEAR}
add chain {name} output {{ type nat hook output priority -100; }}
add rule {name} output jump find
add chain {name} clear_output {{ type filter hook output priority -99; }}
add rule {name} clear_output {_CLEAR}
add chain {name} postrouting {{ type nat hook postrouting priority srcnat; }}
add rule {name} postrouting ct mark and {_MARK} == {_MARK} masquerade
add rule {name} postrouting ct status dnat {ip} saddr . {ip} daddr @hairpin masquerade
add chain {name} turn_down
add rule {name} turn_down meta l4proto tcp reject with tcp reset
add rule {name} turn_down reject
add chain {name} refuse
add rule {name} refuse ct state new {ip} daddr . meta l4proto . th dport @refused goto turn_down
add rule {name} refuse ct state new fib daddr type local meta l4proto . th dport @refused_node_ports goto turn_down
add rule {name} refuse ct state new {ip} daddr @cluster_ips meta l4proto {{ tcp, udp, sctp }} goto turn_down
add rule {name} refuse ct state new {ip} daddr @service_ranges drop
add chain {name} forward {{ type filter hook forward priority filter; }}
add rule {name} forward jump refuse
add chain {name} local_output {{ type filter hook output priority filter; }}
add rule {name} local_output jump refuse
add chain {name} input {{ type filter hook input priority filter; }}
add rule {name} input jump refuse
""",
    )


def ranges_fragment(cidrs: Iterable[str], cluster_cidr: str) -> Fragment:
    """The ranges that Services get their addresses from, in the family of `cluster_cidr`."""
    wanted, family = Fragment(), address_family.of(cluster_cidr)
    networks = [ipaddress.ip_network(cidr) for cidr in family.among(cidrs)]
    for network in _collapsed(networks):
        wanted.add("service_ranges", str(network))
    return wanted


def _collapsed(networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> list[object]:
    """Without overlaps, which an interval set does not take."""
    return [
        n
        for n in set(networks)
        if not any(n != o and n.version == o.version and n.subnet_of(o) for o in networks)  # type: ignore[arg-type]
    ]


def fragment(ports: Iterable[ServicePort], cluster_cidr: str) -> Fragment:
    """What a Service (all its ports) needs of the table for the family of `cluster_cidr`."""
    wanted, family = Fragment(), address_family.of(cluster_cidr)
    for port in ports:
        if port.family is family:
            _add(wanted, port, cluster_cidr)
    return wanted


def _add(wanted: Fragment, port: ServicePort, cluster_cidr: str) -> None:
    identity = f"{port.namespace}/{port.name}/{port.port_name}/{port.protocol}/{port.port}"
    name = hashlib.sha256(identity.encode()).hexdigest()[:12]
    wanted.add("cluster_ips", port.cluster_ip)
    for endpoint, _ in port.here:  # only a pod of this node can meet itself here
        wanted.add("hairpin", f"{endpoint} . {endpoint}")
    outside = bool(port.external_ips or port.load_balancer_ips or port.node_port)
    chain = ""
    if port.internal:
        chain = _picked(wanted, port) if not outside else ""
        if not chain:
            chain = f"svc-{name}"
            _serve(wanted, chain, port.internal, port)
    _lead(wanted, port.cluster_ip, port, chain)
    if not outside:
        return
    chain = _external_chain(wanted, name, port, cluster_cidr)
    for address in port.external_ips:
        _lead(wanted, address, port, chain)
    restricted = chain
    if chain and (port.source_ranges or port.restricted) and port.load_balancer_ips:
        restricted = f"lb-{name}"
        ranges = f"{port.family.word} saddr {{ {', '.join(port.source_ranges)} }} goto {chain}"
        wanted.chains[restricted] = (ranges, "drop") if port.source_ranges else ("drop",)
    for address in port.load_balancer_ips:
        _lead(wanted, address, port, restricted)
    if port.node_port:
        key = f"{port.protocol} . {port.node_port}"
        if chain:
            wanted.add("node_ports", key, f"goto {chain}")
        else:
            wanted.add("refused_node_ports", key)


def _picked(wanted: Fragment, port: ServicePort) -> str:
    """The shared chain that serves the cluster address, its endpoints being numbered; "" when it takes its own."""
    if port.affinity_seconds or len(port.internal) > _MOST_PICKED:
        return ""
    for index, (ip, number) in enumerate(port.internal):
        wanted.add("endpoints", f"{port.cluster_ip} . {port.protocol} . {port.port} . {index}", f"{ip} . {number}")
    return f"pick-{len(port.internal)}"


def _lead(wanted: Fragment, address: str, port: ServicePort, chain: str) -> None:
    key = f"{address} . {port.protocol} . {port.port}"
    if chain:
        wanted.add("services", key, f"goto {chain}")
    else:
        wanted.add("refused", key)


def _external_chain(wanted: Fragment, name: str, port: ServicePort, cluster_cidr: str) -> str:
    """The chain for traffic to external addresses; "" when there is nobody to serve it."""
    if not port.everywhere:
        return ""
    cluster = f"svc-{name}"
    if port.internal != port.everywhere:
        cluster = f"all-{name}"
        _serve(wanted, cluster, port.everywhere, port)
    chain = f"ext-{name}"
    if not port.local_external:
        wanted.chains[chain] = (f"{_MASQUERADE} goto {cluster}",)
        return chain
    # Whoever is inside reaches every endpoint: the policy is about clients outside, whose address must be kept.
    inside = (
        f"{port.family.word} saddr {cluster_cidr} goto {cluster}",
        f"fib saddr type local {_MASQUERADE} goto {cluster}",
    )
    last = "drop"  # another node serves it; a load balancer's health check told it so
    if port.here:
        local = cluster
        if port.here != port.everywhere:
            local = f"here-{name}"
            _serve(wanted, local, port.here, port)
        last = f"goto {local}"
    wanted.chains[chain] = (*inside, last)
    return chain


def _serve(wanted: Fragment, chain: str, addresses: Addresses, port: ServicePort) -> None:
    if not port.affinity_seconds:
        numbered = ", ".join(f"{i} : {ip} . {number}" for i, (ip, number) in enumerate(addresses))
        choice = f"numgen random mod {len(addresses)} map {{ {numbered} }}"
        wanted.chains[chain] = (f"meta l4proto {port.protocol} dnat {port.family.word} to {choice}",)
        return
    family = port.family
    remembered, choices = [], []
    for index, (ip, number) in enumerate(addresses):
        endpoint = f"{chain}-{hashlib.sha256(f'{ip}:{number}'.encode()).hexdigest()[:8]}"
        where = address_family.endpoint(ip, number)
        clients = f"aff-{endpoint}-{port.affinity_seconds}"
        wanted.sets[clients] = (
            f"{{ type {family.address_type}; flags dynamic,timeout; timeout {port.affinity_seconds}s; }}"
        )
        wanted.chains[endpoint] = (
            f"update @{clients} {{ {family.word} saddr }} meta l4proto {port.protocol} dnat to {where}",
        )
        remembered.append(f"{family.word} saddr @{clients} goto {endpoint}")
        choices.append(f"{index} : goto {endpoint}")
    wanted.chains[chain] = (*remembered, f"numgen random mod {len(addresses)} vmap {{ {', '.join(choices)} }}")
