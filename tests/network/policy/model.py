"""What NetworkPolicy means, said a second time and as plainly as can be: one question, no sets, no sharing."""

from __future__ import annotations

import ipaddress


def matches(selector, labels):
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for want in selector.get("matchExpressions") or []:
        value = labels.get(want["key"])
        outcome = {
            "In": value in want.get("values", []),
            "NotIn": value not in want.get("values", []),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[want["operator"]]
        if not outcome:
            return False
    return True


def peer_allows(peer, policy, other, address, namespaces):
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        inside = ipaddress.ip_address(address) in ipaddress.ip_network(block["cidr"])
        return inside and not any(
            ipaddress.ip_address(address) in ipaddress.ip_network(e) for e in block.get("except", [])
        )
    if other is None:
        return False
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"], namespaces[other["namespace"]]):
            return False
    elif other["namespace"] != policy["metadata"]["namespace"]:
        return False
    return matches(peer.get("podSelector") or {}, other["labels"])


def port_allows(want, protocol, port, target):
    if want.get("protocol", "TCP").lower() != protocol:
        return False
    number = want.get("port")
    if number is None:
        return True
    if isinstance(number, str):
        return target is not None and (number, protocol, port) in target["ports"]
    return number <= port <= want.get("endPort", number)


def direction_allows(direction, pod, other, address, protocol, port, target, policies, namespaces):
    """`pod` is the one that policies select, `target` the one that is talked to."""
    peers_field = {"Ingress": "from", "Egress": "to"}[direction]
    selecting = [
        p
        for p in policies
        if direction in p["spec"]["policyTypes"]
        and p["metadata"]["namespace"] == pod["namespace"]
        and matches(p["spec"]["podSelector"], pod["labels"])
    ]
    if not selecting:
        return True
    for policy in selecting:
        for rule in policy["spec"].get(direction.lower()) or []:
            peers, ports = rule.get(peers_field), rule.get("ports")
            if peers and not any(peer_allows(p, policy, other, address, namespaces) for p in peers):
                continue
            if ports and not any(port_allows(p, protocol, port, target) for p in ports):
                continue
            return True
    return False
