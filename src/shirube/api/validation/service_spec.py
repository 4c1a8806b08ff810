"""Validation of a Service's spec.

Follows core's ``ValidateService`` and ``ValidateServiceUpdate``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, duplicate, forbidden, invalid, not_supported, required
from shirube.api.validation.object_meta import validate_labels
from shirube.api.validation.probes import validate_port

Obj = Mapping[str, Any]

_TYPES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]
_PROTOCOLS = ["SCTP", "TCP", "UDP"]
_POLICIES = ["Cluster", "Local"]
_DISTRIBUTIONS = ["PreferClose", "PreferSameNode", "PreferSameZone"]
_FAMILIES = ["IPv4", "IPv6"]
_FAMILY_POLICIES = ["PreferDualStack", "RequireDualStack", "SingleStack"]
_ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
_KUBELET_PORT = 10250
_MAX_AFFINITY_SECONDS = 86400


def _headless(spec: Obj) -> bool:
    return (spec.get("clusterIPs") or [None])[0] == "None" or spec.get("clusterIP") == "None"


def _outside(spec: Obj) -> bool:
    kind = spec.get("type")
    return kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def validate_service(out: list[Cause], spec: Obj) -> None:
    """Everything that can be said of one spec alone."""
    kind, ports = spec.get("type", ""), spec.get("ports") or []
    if not ports and not _headless(spec) and kind != "ExternalName":
        out.append(required("spec.ports"))
    _validate_type(out, spec, kind, ports)
    _validate_ports(out, ports, kind)
    if selector := spec.get("selector"):
        out.extend(validate_labels(selector, "spec.selector"))
    _validate_affinity(out, spec)
    _validate_cluster_ips(out, spec, kind)
    for i, address in enumerate(spec.get("externalIPs") or ()):
        at = f"spec.externalIPs[{i}]"
        messages = names.is_ip(address)
        out.extend(invalid(at, address, m) for m in messages)
        if not messages:
            validate_plain_ip(out, address, at)
    _validate_load_balancer(out, spec, kind)
    _validate_traffic(out, spec, kind)


def _validate_type(out: list[Cause], spec: Obj, kind: str, ports: list[Obj]) -> None:
    if not kind:
        out.append(required("spec.type"))
    elif kind not in _TYPES:
        out.append(not_supported("spec.type", kind, _TYPES))
    if kind in ("LoadBalancer", "NodePort") and _headless(spec):
        out.append(invalid("spec.clusterIPs", spec.get("clusterIPs"), f"may not be set to 'None' for {kind} services"))
    if kind == "LoadBalancer":
        for i, port in enumerate(ports):
            if port.get("port") == _KUBELET_PORT:
                detail = f"may not expose port {_KUBELET_PORT} externally since it is used by kubelet"
                out.append(invalid(f"spec.ports[{i}]", _KUBELET_PORT, detail))
    if kind == "ExternalName":
        if spec.get("clusterIPs"):
            out.append(forbidden("spec.clusterIPs", "may not be set for ExternalName services"))
        name = spec.get("externalName", "")
        if name:
            at = "spec.externalName"
            out.extend(invalid(at, name, m) for m in names.is_dns1123_subdomain(name.removesuffix(".").lower()))
        else:
            out.append(required("spec.externalName"))


def _validate_ports(out: list[Cause], ports: list[Obj], kind: str) -> None:
    seen_names: set[str] = set()
    seen_ports: set[tuple[Any, Any]] = set()
    seen_nodes: set[tuple[Any, Any]] = set()
    for i, port in enumerate(ports):
        at = f"spec.ports[{i}]"
        name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "")
        if not name:
            if len(ports) > 1:
                out.append(required(f"{at}.name"))
        else:
            out.extend(invalid(f"{at}.name", name, m) for m in names.is_dns1123_label(name))
            if name in seen_names:
                out.append(duplicate(f"{at}.name", name))
            seen_names.add(name)
        out.extend(invalid(f"{at}.port", number, m) for m in names.is_port_number(number))
        if protocol not in _PROTOCOLS:
            where = f"{at}.protocol"
            out.append(not_supported(where, protocol, _PROTOCOLS) if protocol else required(where))
        validate_port(out, port.get("targetPort"), f"{at}.targetPort")
        if app := port.get("appProtocol"):
            out.extend(invalid(f"{at}.appProtocol", app, m) for m in names.is_qualified_name(app))
        if (protocol, number) in seen_ports:
            out.append(duplicate(at, {"protocol": protocol, "port": number}))
        seen_ports.add((protocol, number))
        if node := port.get("nodePort"):
            if kind in ("ClusterIP", "ExternalName"):
                detail = "may not be used when `type` is 'ClusterIP'"
                out.append(forbidden(f"{at}.nodePort", detail))
            if (protocol, node) in seen_nodes:
                out.append(duplicate(f"{at}.nodePort", node))
            seen_nodes.add((protocol, node))


def _validate_affinity(out: list[Cause], spec: Obj) -> None:
    affinity, config = spec.get("sessionAffinity", ""), spec.get("sessionAffinityConfig")
    at = "spec.sessionAffinity"
    if affinity not in ("ClientIP", "None"):
        out.append(not_supported(at, affinity, ["ClientIP", "None"]) if affinity else required(at))
    elif affinity == "None" and config is not None:
        out.append(forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None"))
    elif affinity == "ClientIP":
        at = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            out.append(required(at, "when session affinity type is ClientIP"))
        elif not 0 < seconds <= _MAX_AFFINITY_SECONDS:
            detail = f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}"
            out.append(invalid(at, seconds, detail))


def _validate_cluster_ips(out: list[Cause], spec: Obj, kind: str) -> None:
    address, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if kind == "ExternalName":
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if spec.get(field):
                out.append(forbidden(f"spec.{field}", "may not be set for ExternalName services"))
        return
    if addresses and address != addresses[0]:
        if not address:
            out.append(required("spec.clusterIP", "must be set when `clusterIPs` is specified"))
        else:
            out.append(invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    for i, one in enumerate(addresses):
        at = f"spec.clusterIPs[{i}]"
        if one == "None":
            if i > 0:
                out.append(invalid(at, one, "'None' must be the first and only value"))
        elif one:
            out.extend(invalid(at, one, m) for m in names.is_ip(one))
    if len(addresses) > 2:
        out.append(invalid("spec.clusterIPs", addresses, "may only hold up to 2 values"))
    elif len(addresses) == 2 and addresses[0] != "None" and (":" in addresses[0]) == (":" in addresses[1]):
        detail = "may specify no more than one IP for each IP family"
        out.append(invalid("spec.clusterIPs", addresses, detail))
    families = spec.get("ipFamilies") or []
    for i, family in enumerate(families):
        if family not in _FAMILIES:
            out.append(not_supported(f"spec.ipFamilies[{i}]", family, _FAMILIES))
        if family in families[:i]:
            out.append(duplicate(f"spec.ipFamilies[{i}]", family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _FAMILY_POLICIES:
        out.append(not_supported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES))


def _validate_load_balancer(out: list[Cause], spec: Obj, kind: str) -> None:
    ranges = spec.get("loadBalancerSourceRanges") or []
    if kind != "LoadBalancer":
        for field in ("loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) not in (None, []):
                out.append(forbidden(f"spec.{field}", _ONLY_LOAD_BALANCER))
        return
    for i, block in enumerate(ranges):
        at = f"spec.loadBalancerSourceRanges[{i}]"
        out.extend(invalid(at, block, m) for m in names.is_cidr(block.strip()))
    if name := spec.get("loadBalancerClass"):
        out.extend(invalid("spec.loadBalancerClass", name, m) for m in names.is_qualified_name(name))


def _validate_traffic(out: list[Cause], spec: Obj, kind: str) -> None:
    external, internal = spec.get("externalTrafficPolicy", ""), spec.get("internalTrafficPolicy")
    at = "spec.externalTrafficPolicy"
    if external and not _outside(spec):
        out.append(invalid(at, external, "may only be set for externally-accessible services"))
    elif external and external not in _POLICIES:
        out.append(not_supported(at, external, _POLICIES))
    elif not external and _outside(spec):
        out.append(required(at))
    health = spec.get("healthCheckNodePort", 0)
    if health and not (kind == "LoadBalancer" and external == "Local"):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        out.append(invalid("spec.healthCheckNodePort", health, detail))
    elif health < 0:
        out.extend(invalid("spec.healthCheckNodePort", health, m) for m in names.is_port_number(health))
    at = "spec.internalTrafficPolicy"
    if internal is None:
        if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
            out.append(required(at))
    elif internal not in _POLICIES:
        out.append(not_supported(at, internal, _POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        out.append(not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))


def validate_plain_ip(out: list[Cause], text: str, path: str) -> None:
    """An address that can be that of an endpoint: not this host's, not everybody's."""
    address = ipaddress.ip_address(text)
    if address.is_unspecified:
        out.append(invalid(path, text, f"may not be unspecified ({text})"))
    if address.is_loopback:
        block = "127.0.0.0/8, ::1/128"
        out.append(invalid(path, text, f"may not be in the loopback range ({block})"))
    if address.is_link_local:
        block = "169.254.0.0/16, fe80::/10"
        out.append(invalid(path, text, f"may not be in the link-local range ({block})"))
    if address.is_multicast and text.startswith(("224.0.0.", "ff02:")):
        block = "224.0.0.0/24, ff02::/10"
        out.append(invalid(path, text, f"may not be in the link-local multicast range ({block})"))


def validate_service_update(out: list[Cause], new: Obj, old: Obj) -> None:
    """The first address stays; the class of a load balancer stays while it is one."""
    if new.get("type") != "ExternalName" and old.get("type") != "ExternalName":
        before, after = old.get("clusterIPs") or [], new.get("clusterIPs") or []
        if before and not after:
            out.append(invalid("spec.clusterIPs[0]", after, "primary clusterIP can not be unset"))
        elif before and after and before[0] != after[0]:
            out.append(invalid("spec.clusterIPs[0]", after, "may not change once set"))
    if old.get("type") == new.get("type") == "LoadBalancer":
        was, now = old.get("loadBalancerClass"), new.get("loadBalancerClass")
        if was != now:
            out.append(invalid("spec.loadBalancerClass", now, "may not change once set"))
