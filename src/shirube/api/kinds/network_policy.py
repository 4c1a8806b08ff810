"""NetworkPolicies: who may talk to whom.

Follows networking's ``ValidateNetworkPolicySpec`` and ``SetDefaults_NetworkPolicy``.
"""

from __future__ import annotations

import ipaddress

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import forbidden, invalid, not_supported, required
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.probes import validate_port

_PROTOCOLS = ["SCTP", "TCP", "UDP"]
_TYPES = ["Egress", "Ingress"]


class NetworkPolicyStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("podSelector", {})
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
        for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
            for port in rule.get("ports") or ():
                if not port.get("protocol"):
                    port["protocol"] = "TCP"

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate(obj["spec"])


def _validate(spec: Obj) -> list[Cause]:
    causes = validate_label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            at = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                _validate_port(causes, port, f"{at}.ports[{j}]")
            for j, peer in enumerate(rule.get(peers) or ()):
                _validate_peer(causes, peer, f"{at}.{peers}[{j}]")
    kinds = spec.get("policyTypes") or []
    if len(kinds) > len(_TYPES):
        causes.append(invalid("spec.policyTypes", kinds, "may not specify more than two policyTypes"))
        return causes
    for i, kind in enumerate(kinds):
        if kind not in _TYPES:
            causes.append(not_supported(f"spec.policyTypes[{i}]", kind, _TYPES))
    return causes


def _validate_port(causes: list[Cause], port: Obj, path: str) -> None:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in _PROTOCOLS:
        causes.append(not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
    if number is None:
        if end is not None:
            causes.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
        return
    validate_port(causes, number, f"{path}.port")
    if end is None:
        return
    if isinstance(number, str):
        causes.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
        return
    if end < number:
        causes.append(invalid(f"{path}.endPort", number, "must be greater than or equal to `port`"))
    causes.extend(invalid(f"{path}.endPort", end, m) for m in names.is_port_number(end))


def _validate_peer(causes: list[Cause], peer: Obj, path: str) -> None:
    pods, namespaces, block = (peer.get(f) for f in ("podSelector", "namespaceSelector", "ipBlock"))
    if pods is None and namespaces is None and block is None:
        causes.append(required(path, "must specify a peer"))
    if block is not None:
        if pods is not None or namespaces is not None:
            causes.append(forbidden(path, "may not specify both ipBlock and another peer"))
        _validate_block(causes, block, f"{path}.ipBlock")
    causes.extend(validate_label_selector(pods, f"{path}.podSelector"))
    causes.extend(validate_label_selector(namespaces, f"{path}.namespaceSelector"))


def _validate_block(causes: list[Cause], block: Obj, path: str) -> None:
    text = block.get("cidr", "")
    if not text:
        causes.append(required(f"{path}.cidr"))
        return
    messages = names.is_cidr(text)
    causes.extend(invalid(f"{path}.cidr", text, m) for m in messages)
    if messages:
        return
    whole = ipaddress.ip_network(text, strict=False)
    for i, one in enumerate(block.get("except") or ()):
        at = f"{path}.except[{i}]"
        wrong = names.is_cidr(one)
        causes.extend(invalid(at, one, m) for m in wrong)
        if wrong:
            continue
        part = ipaddress.ip_network(one, strict=False)
        inside = part.version == whole.version and whole.supernet_of(part) and part.prefixlen > whole.prefixlen  # type: ignore[arg-type]
        if not inside:
            causes.append(invalid(at, one, "must be a strict subset of `cidr`"))
