"""Service ports as nftables objects, and the difference between two states as one transaction. Pure.

A packet finds its Service by one lookup in the verdict map `services` (address, protocol, port) or `node_ports`; each
Service port has a chain that picks an endpoint with one numbered map, so the cost does not grow with the number of
Services. A change touches the chains and elements that differ, nothing else.

    services / node_ports ──► svc-…   dnat to numgen random mod N map { 0 : ip . port, … }
                          └─► ext-…   mark for masquerade, then svc-… (traffic from outside, policy Cluster)
    refused               ──► reject: an address of a Service that has no endpoints (or not that port)

Client affinity has a chain for each endpoint, which remembers its clients in a set with a timeout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from shirube.proxy.endpoints import Address, ServicePort

TABLE = "ip shirube_proxy"
_MARK = 0x4000

_SKELETON = f"""add table {TABLE}
delete table {TABLE}
add table {TABLE}
add map {TABLE} services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
add map {TABLE} node_ports {{ type inet_proto . inet_service : verdict; }}
add set {TABLE} hairpin {{ type ipv4_addr . ipv4_addr; }}
add set {TABLE} cluster_ips {{ type ipv4_addr; }}
add set {TABLE} refused {{ type ipv4_addr . inet_proto . inet_service; }}
add set {TABLE} refused_node_ports {{ type inet_proto . inet_service; }}
add chain {TABLE} find
add rule {TABLE} find ip daddr . meta l4proto . th dport vmap @services
add rule {TABLE} find fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @node_ports
add chain {TABLE} prerouting {{ type nat hook prerouting priority dstnat; }}
add rule {TABLE} prerouting jump find
add chain {TABLE} output {{ type nat hook output priority -100; }}
add rule {TABLE} output jump find
add chain {TABLE} postrouting {{ type nat hook postrouting priority srcnat; }}
add rule {TABLE} postrouting meta mark and {_MARK} == {_MARK} meta mark set meta mark xor {_MARK} masquerade
add rule {TABLE} postrouting ct status dnat ip saddr . ip daddr @hairpin masquerade
add chain {TABLE} refuse
add rule {TABLE} refuse ct state new ip daddr . meta l4proto . th dport @refused reject
add rule {TABLE} refuse ct state new fib daddr type local meta l4proto . th dport @refused_node_ports reject
add rule {TABLE} refuse ct state new ip daddr @cluster_ips meta l4proto {{ tcp, udp, sctp }} reject
add chain {TABLE} forward {{ type filter hook forward priority filter; }}
add rule {TABLE} forward jump refuse
add chain {TABLE} local_output {{ type filter hook output priority filter; }}
add rule {TABLE} local_output jump refuse
add chain {TABLE} input {{ type filter hook input priority filter; }}
add rule {TABLE} input jump refuse
"""


@dataclass(slots=True)
class RuleSet:
    """What the table holds besides its fixed part."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)  # name -> rules
    sets: dict[str, str] = field(default_factory=dict)  # affinity sets: name -> declaration
    elements: dict[str, dict[str, str]] = field(default_factory=dict)  # set or map -> key -> verdict or ""


def build(ports: Iterable[ServicePort]) -> RuleSet:
    """The rule set for these Service ports. Of two that claim the same address and port the first (sorted) wins."""
    rules = RuleSet(
        elements={n: {} for n in ("services", "node_ports", "hairpin", "cluster_ips", "refused", "refused_node_ports")}
    )
    for port in sorted(ports, key=lambda p: (p.namespace, p.name, p.port_name, p.protocol, p.port)):
        _add(rules, port)
    return rules


def _add(rules: RuleSet, port: ServicePort) -> None:
    identity = f"{port.namespace}/{port.name}/{port.port_name}/{port.protocol}/{port.port}"
    name = hashlib.sha256(identity.encode()).hexdigest()[:12]
    elements = rules.elements
    elements["cluster_ips"][port.cluster_ip] = ""
    for endpoint, _ in {*port.internal, *port.external}:
        elements["hairpin"][f"{endpoint} . {endpoint}"] = ""
    internal_key = f"{port.cluster_ip} . {port.protocol} . {port.port}"
    if port.internal:
        _serve(rules, f"svc-{name}", port.internal, port)
        elements["services"].setdefault(internal_key, f"goto svc-{name}")
    else:
        elements["refused"][internal_key] = ""
    if not port.external_ips and not port.node_port:
        return
    chain = _external_chain(rules, name, port)
    for address in port.external_ips:
        key = f"{address} . {port.protocol} . {port.port}"
        if chain:
            elements["services"].setdefault(key, f"goto {chain}")
        else:
            elements["refused"][key] = ""
    if port.node_port:
        key = f"{port.protocol} . {port.node_port}"
        if chain:
            elements["node_ports"].setdefault(key, f"goto {chain}")
        else:
            elements["refused_node_ports"][key] = ""


def _external_chain(rules: RuleSet, name: str, port: ServicePort) -> str:
    """The chain for traffic from outside; "" when there is nobody to serve it."""
    if not port.external:
        return ""
    target = f"svc-{name}"
    if port.external != port.internal:
        target = f"xsvc-{name}"
        _serve(rules, target, port.external, port)
    if port.local_external:
        return target
    rules.chains[f"ext-{name}"] = (f"meta mark set meta mark or {_MARK} goto {target}",)
    return f"ext-{name}"


def _serve(rules: RuleSet, chain: str, addresses: tuple[Address, ...], port: ServicePort) -> None:
    if not port.affinity_seconds:
        numbered = ", ".join(f"{i} : {ip} . {number}" for i, (ip, number) in enumerate(addresses))
        rules.chains[chain] = (
            f"meta l4proto {port.protocol} dnat ip to numgen random mod {len(addresses)} map {{ {numbered} }}",
        )
        return
    remembered, choices = [], []
    for index, (ip, number) in enumerate(addresses):
        endpoint = f"{chain}-{hashlib.sha256(f'{ip}:{number}'.encode()).hexdigest()[:8]}"
        clients = f"aff-{endpoint}"
        rules.sets[clients] = f"{{ type ipv4_addr; flags dynamic,timeout; timeout {port.affinity_seconds}s; }}"
        rules.chains[endpoint] = (
            f"update @{clients} {{ ip saddr }} meta l4proto {port.protocol} dnat to {ip}:{number}",
        )
        remembered.append(f"ip saddr @{clients} goto {endpoint}")
        choices.append(f"{index} : goto {endpoint}")
    rules.chains[chain] = (*remembered, f"numgen random mod {len(addresses)} vmap {{ {', '.join(choices)} }}")


def transaction(old: RuleSet | None, new: RuleSet) -> str:
    """The nft script that takes the table from `old` to `new`; "" when nothing differs. None makes it afresh."""
    lines = []
    if old is None:
        lines.append(_SKELETON)
        old = RuleSet()
    lines += [f"add set {TABLE} {n} {d}" for n, d in new.sets.items() if n not in old.sets]
    lines += [f"add chain {TABLE} {name}" for name in new.chains if name not in old.chains]
    # Elements first go, then rules change, then elements come: no verdict ever points at a chain that is gone.
    lines += _element_lines("delete", old, new)
    for name, rules in new.chains.items():
        if old.chains.get(name) != rules:
            if name in old.chains:
                lines.append(f"flush chain {TABLE} {name}")
            lines += [f"add rule {TABLE} {name} {rule}" for rule in rules]
    lines += _element_lines("add", new, old)
    gone = [name for name in old.chains if name not in new.chains]
    lines += [f"flush chain {TABLE} {name}" for name in gone]
    lines += [f"delete chain {TABLE} {name}" for name in gone]
    lines += [f"delete set {TABLE} {name}" for name in old.sets if name not in new.sets]
    return "\n".join(lines) + "\n" if lines else ""


def _element_lines(verb: str, those: RuleSet, without: RuleSet) -> list[str]:
    """Add or delete the elements that `those` has and `without` has not, or has with another verdict."""
    lines = []
    for name, elements in those.elements.items():
        other = without.elements.get(name, {})
        listed = [f"{k} : {v}" if v else k for k, v in elements.items() if other.get(k) != v]
        if listed:
            lines.append(f"{verb} element {TABLE} {name} {{ {', '.join(listed)} }}")
    return lines
