"""A NetworkPolicy object to what can be matched: selectors, networks, ports. Pure.

Follows https://kubernetes.io/docs/concepts/services-networking/network-policies/ and the API's field descriptions.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Any

from shirube.api.selectors import LabelSelector, label_selector_from
from shirube.foundation.address_family import Family

Object = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_EVERY_PORT = (0, 65535)


@dataclass(frozen=True, slots=True)
class Pod:
    """What policies need to know of a pod (not on the host's network, not ended)."""

    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...]
    address: str
    node: str
    ports: tuple[tuple[str, str, int], ...] = ()  # (name, protocol, number)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SelectorPeer:
    namespaces: LabelSelector | None  # None: the policy's own
    pods: LabelSelector


@dataclass(frozen=True, slots=True)
class Ports:
    """What of a rule's `ports` is known at once, and what depends on the pod that is talked to."""

    numbers: tuple[tuple[str, int, int], ...]  # (protocol, first, last)
    names: tuple[tuple[str, str], ...]  # (name, protocol)

    def allow(self, protocol: str, number: int) -> bool:
        return any(p == protocol and first <= number <= last for p, first, last in self.numbers)


@dataclass(frozen=True, slots=True)
class Rule:
    """One allowance. `selectors` and `networks` None: every peer; `ports` None: every port of every protocol."""

    identity: str  # names the rule's sets
    selectors: tuple[SelectorPeer, ...] | None
    networks: tuple[Network, ...] | None  # of both families
    ports: Ports | None

    def networks_of(self, family: Family) -> list[Network]:
        return [n for n in self.networks or () if n.max_prefixlen == family.bits]

    @property
    def every_peer(self) -> bool:
        return self.selectors is None


@dataclass(frozen=True, slots=True)
class Policy:
    key: str
    namespace: str
    selector: LabelSelector
    ingress: tuple[Rule, ...] | None  # None: the policy says nothing about this direction
    egress: tuple[Rule, ...] | None

    def chain(self, direction: str) -> str:
        return f"{direction}-{_hash(self.key)}"

    @property
    def far(self) -> bool:
        """Whether pods of other namespaces can be its peers, or ones whose named ports count."""
        rules = (*(self.ingress or ()), *(self.egress or ()))
        return any(
            any(p.namespaces is not None for p in rule.selectors or ()) or (rule.ports is not None and rule.ports.names)
            for rule in rules
        )

    def selects(self, pod: Pod) -> bool:
        return pod.namespace == self.namespace and self.selector.matches(dict(pod.labels))


def compile_policy(obj: Object) -> Policy:
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    key = f"{metadata['namespace']}/{metadata['name']}"
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if "egress" in spec else ["Ingress"])

    def rules(direction: str, peers: str) -> tuple[Rule, ...] | None:
        if direction.capitalize() not in types:
            return None
        listed = spec.get(direction) or []
        return tuple(_rule(f"p{_hash(key)}-{direction[0]}{i}", r, peers) for i, r in enumerate(listed))

    selector = label_selector_from(spec.get("podSelector") or {})
    return Policy(key, metadata["namespace"], selector, rules("ingress", "from"), rules("egress", "to"))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _rule(identity: str, rule: Object, peers_field: str) -> Rule:
    peers = rule.get(peers_field) or []
    ports = _ports(rule["ports"]) if rule.get("ports") else None
    if not peers:
        return Rule(identity, None, None, ports)
    selectors = tuple(_selector_peer(p) for p in peers if not p.get("ipBlock"))
    networks = [n for p in peers if p.get("ipBlock") for n in _networks(p["ipBlock"])]
    return Rule(identity, selectors, _collapsed(networks), ports)


def _collapsed(networks: list[Network]) -> tuple[Network, ...]:
    """Without overlaps, each family by itself: an interval set takes none."""
    four = [n for n in networks if isinstance(n, ipaddress.IPv4Network)]
    six = [n for n in networks if isinstance(n, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))


def _selector_peer(peer: Object) -> SelectorPeer:
    namespaces = peer.get("namespaceSelector")
    return SelectorPeer(
        label_selector_from(namespaces) if namespaces is not None else None,
        label_selector_from(peer.get("podSelector") or {}),
    )


def _networks(block: Object) -> list[Network]:
    """The block without its exceptions."""
    left: list[Network] = [ipaddress.ip_network(block["cidr"], strict=False)]
    for text in block.get("except") or []:
        hole = ipaddress.ip_network(text, strict=False)
        left = [piece for network in left for piece in _without(network, hole)]
    return left


def _without(network: Network, hole: Network) -> list[Network]:
    if isinstance(network, ipaddress.IPv4Network):
        if not isinstance(hole, ipaddress.IPv4Network) or not network.overlaps(hole):
            return [network]
        return [] if network.subnet_of(hole) else list(network.address_exclude(hole))
    if not isinstance(hole, ipaddress.IPv6Network) or not network.overlaps(hole):
        return [network]
    return [] if network.subnet_of(hole) else list(network.address_exclude(hole))


def _ports(listed: list[Object]) -> Ports:
    numbers, names = [], []
    for port in listed:
        protocol = port.get("protocol", "TCP").lower()
        number = port.get("port")
        if isinstance(number, str):
            names.append((number, protocol))
        elif number is None:
            numbers.append((protocol, *_EVERY_PORT))
        else:
            numbers.append((protocol, number, port.get("endPort") or number))
    return Ports(_merged(numbers), tuple(dict.fromkeys(names)))


def _merged(ranges: list[tuple[str, int, int]]) -> tuple[tuple[str, int, int], ...]:
    """Without overlaps: an interval set takes none."""
    merged: list[tuple[str, int, int]] = []
    for protocol, first, last in sorted(ranges):
        if merged and merged[-1][0] == protocol and first <= merged[-1][2] + 1:
            merged[-1] = (protocol, merged[-1][1], max(last, merged[-1][2]))
        else:
            merged.append((protocol, first, last))
    return tuple(merged)
