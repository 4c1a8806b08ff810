"""Policies and pods as fragments of the tables `ip shirube_policy` and `ip6 shirube_policy`, which are alike. Pure.

    ingress_pods / egress_pods   pod address ──► the chain of exactly those policies that select it
        all-…                    jump to each policy's chain, then drop
        in-… / out-…             one policy: a line for each way that a rule allows a packet, over the rule's sets
            ID-pods              addresses of the pods that its selectors match
            ID-nets              its ipBlocks without their exceptions
            ID-ports             protocol and port (ranges)
            ID-exact             address, protocol, port: named ports, which differ from pod to pod, and cluster DNS

Egress and ingress are base chains of their own: a packet that its sender may send goes on to what its receiver takes.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from shirube.foundation.address_family import Family
from shirube.foundation.nft import Fragment, Table
from shirube.network.policy.compile import Pod, Policy, Rule

_NAME = "shirube_policy"
DNS_PORT = 53
DNS_NAMESPACE, DNS_LABELS = "kube-system", (("k8s-app", "kube-dns"),)


def table(family: Family) -> Table:
    """The empty table of one family."""
    name, ip, address = f"{family.word} {_NAME}", family.word, family.address_type
    fixed = f"""
add map {name} ingress_pods {{ type {address} : verdict; }}
add map {name} egress_pods {{ type {address} : verdict; }}
add set {name} itself {{ type {address} . {address}; }}
add chain {name} egress {{ type filter hook forward priority filter; }}
add rule {name} egress ct state established,related accept
add rule {name} egress {ip} saddr . {ip} daddr @itself accept
add rule {name} egress {ip} saddr vmap @egress_pods
add chain {name} ingress {{ type filter hook forward priority 1; }}
add rule {name} ingress ct state established,related accept
add rule {name} ingress {ip} saddr . {ip} daddr @itself accept
add rule {name} ingress {ip} daddr vmap @ingress_pods
add chain {name} to_node {{ type filter hook input priority filter; }}
add rule {name} to_node ct state established,related accept
add rule {name} to_node meta l4proto {{ tcp, udp }} th dport {DNS_PORT} {ip} saddr vmap @egress_pods
"""
    return Table(name, fixed)


def _set_type(kind: str, family: Family) -> str:
    return {
        "pods": f"{{ type {family.address_type}; }}",
        "nets": f"{{ type {family.address_type}; flags interval; }}",
        "ports": "{ type inet_proto . inet_service; flags interval; }",
        "exact": f"{{ type {family.address_type} . inet_proto . inet_service; }}",
    }[kind]


Labels = Mapping[str, str]
Namespaces = Mapping[str, Labels]


def pod_of(obj: dict[str, Any], family: Family) -> Pod | None:
    """The pod as policies see it; None while it has no address of its own in this family."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    listed = [a.get("ip", "") for a in status.get("podIPs") or []] or [status.get("podIP") or ""]
    address = next((a for a in family.among(listed) if a), "")
    if not address:
        return None
    containers = [*(spec.get("containers") or []), *(c for c in spec.get("initContainers") or [] if _sidecar(c))]
    ports = tuple(
        (p["name"], p.get("protocol", "TCP").lower(), p["containerPort"])
        for c in containers
        for p in c.get("ports") or []
        if p.get("name")
    )
    metadata = obj["metadata"]
    labels = tuple(sorted((metadata.get("labels") or {}).items()))
    return Pod(metadata["namespace"], metadata["name"], labels, address, spec.get("nodeName", ""), ports)


def _sidecar(container: dict[str, Any]) -> bool:
    return container.get("restartPolicy") == "Always"


# A policy by itself


def policy_fragment(policy: Policy, family: Family) -> Fragment:
    """Chains, sets, and elements that depend on no pod."""
    wanted = Fragment()
    if policy.ingress is not None:
        lines = [line for rule in policy.ingress for line in _rule_lines(wanted, rule, family, egress=False)]
        wanted.chains[policy.chain("in")] = tuple(lines)
    if policy.egress is not None:
        lines = [line for rule in policy.egress for line in _rule_lines(wanted, rule, family, egress=True)]
        wanted.chains[policy.chain("out")] = tuple(lines)
    return wanted


def _rule_lines(wanted: Fragment, rule: Rule, family: Family, *, egress: bool) -> list[str]:
    peer = f"{family.word} {'daddr' if egress else 'saddr'}"
    destination = f"{family.word} daddr . meta l4proto . th dport"

    def declared(kind: str) -> str:
        name = f"{rule.identity}-{kind}"
        wanted.sets[name] = _set_type(kind, family)
        return name

    peers = [""]
    if not rule.every_peer:
        peers = [f"{peer} @{declared('pods')} "] if rule.selectors else []
        if networks := rule.networks_of(family):
            nets = declared("nets")
            wanted.elements[nets] = {str(n): "" for n in networks}
            peers.append(f"{peer} @{nets} ")
    lines = [f"{p}accept" for p in peers] if rule.ports is None else []
    if rule.ports is not None and rule.ports.numbers:
        ports = declared("ports")
        for protocol, first, last in rule.ports.numbers:
            wanted.add(ports, f"{protocol} . {first}-{last}" if first != last else f"{protocol} . {first}")
        lines += [f"{p}meta l4proto . th dport @{ports} accept" for p in peers]
    if egress:
        # What is in the set are the rule's own peers already.
        if rule.selectors or (rule.ports is not None and rule.ports.names):
            lines.append(f"{destination} @{declared('exact')} accept")
    elif rule.ports is not None and rule.ports.names:
        exact = declared("exact")
        lines += [f"{p}{destination} @{exact} accept" for p in peers]
    return lines


# A pod under a policy


def member_fragment(policy: Policy, pod: Pod, namespaces: Namespaces, node: str) -> Fragment:
    """The elements that `pod` adds to the sets of `policy`: as a peer, and as the one whose named ports are meant."""
    wanted = Fragment()
    for rule in policy.ingress or ():
        if rule.selectors and _matches(rule, policy, pod, namespaces):
            wanted.add(f"{rule.identity}-pods", pod.address)
        if rule.ports is not None and rule.ports.names and pod.node == node and policy.selects(pod):
            _add_named(wanted, rule, pod)
    for rule in policy.egress or ():
        selected = bool(rule.selectors) and _matches(rule, policy, pod, namespaces)
        if selected:
            wanted.add(f"{rule.identity}-pods", pod.address)
        if rule.ports is not None and rule.ports.names and (rule.every_peer or selected or _in_networks(rule, pod)):
            _add_named(wanted, rule, pod)
    return wanted


def dns_fragment(policy: Policy, address: str, namespaces: Namespaces) -> Fragment:
    """The elements for cluster DNS, which the node serves at `address`."""
    wanted = Fragment()
    server = Pod(DNS_NAMESPACE, "kube-dns", DNS_LABELS, address, "")
    for rule in policy.egress or ():
        if not rule.selectors or not _matches(rule, policy, server, namespaces):
            continue
        for name, protocol in (("dns", "udp"), ("dns-tcp", "tcp")):
            ports = rule.ports
            if ports is None or ports.allow(protocol, DNS_PORT) or (name, protocol) in ports.names:
                wanted.add(f"{rule.identity}-exact", f"{address} . {protocol} . {DNS_PORT}")
    return wanted


def _add_named(wanted: Fragment, rule: Rule, pod: Pod) -> None:
    assert rule.ports is not None
    for name, protocol, number in pod.ports:
        if (name, protocol) in rule.ports.names:
            wanted.add(f"{rule.identity}-exact", f"{pod.address} . {protocol} . {number}")


def _matches(rule: Rule, policy: Policy, pod: Pod, namespaces: Namespaces) -> bool:
    labels = dict(pod.labels)
    for peer in rule.selectors or ():
        if peer.namespaces is None:
            if pod.namespace != policy.namespace:
                continue
        elif pod.namespace not in namespaces or not peer.namespaces.matches(namespaces[pod.namespace]):
            continue
        if peer.pods.matches(labels):
            return True
    return False


def _in_networks(rule: Rule, pod: Pod) -> bool:
    address = ipaddress.ip_address(pod.address)
    return any(address in network for network in rule.networks or ())


# A pod of this node


def isolation_fragment(pod: Pod, policies: Iterable[Policy]) -> Fragment:
    """Leads the packets of a pod of this node to the policies that select it; empty when none does."""
    selecting = [p for p in policies if p.selects(pod)]
    wanted = Fragment()
    for verdicts, direction, chosen in (
        ("ingress_pods", "in", [p for p in selecting if p.ingress is not None]),
        ("egress_pods", "out", [p for p in selecting if p.egress is not None]),
    ):
        if not chosen:
            continue
        chains = sorted(p.chain(direction) for p in chosen)
        together = f"all-{direction}-{hashlib.sha256(' '.join(chains).encode()).hexdigest()[:12]}"
        wanted.chains[together] = (*(f"jump {chain}" for chain in chains), "drop")
        wanted.add(verdicts, pod.address, f"goto {together}")
        wanted.add("itself", f"{pod.address} . {pod.address}")
    return wanted
