"""Validation of a Service's spec.

Follows core's ``ValidateService`` and ``ValidateServiceUpdate``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
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
    return spec.get("clusterIPs") == ["None"]


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
    validate_cluster_ips(out, spec)
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
        out.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind == "LoadBalancer":
        for i, port in enumerate(ports):
            if port.get("port") == _KUBELET_PORT:
                detail = f"may not expose port {_KUBELET_PORT} externally since it is used by kubelet"
                out.append(invalid(f"spec.ports[{i}]", _KUBELET_PORT, detail))
    if kind == "ExternalName":
        if spec.get("clusterIPs"):
            out.append(forbidden("spec.clusterIPs", "may not be set for ExternalName services"))
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if spec.get(field):
                out.append(forbidden(f"spec.{field}", "may not be set for ExternalName services"))
        name = spec.get("externalName", "")
        if name:
            at = "spec.externalName"
            out.extend(invalid(at, name, m) for m in names.is_dns1123_subdomain(name.removesuffix(".")))
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
        if (app := port.get("appProtocol")) is not None:
            out.extend(invalid(f"{at}.appProtocol", app, m) for m in names.is_qualified_name(app))
        if (protocol, number) in seen_ports:
            out.append(duplicate(at, {"protocol": protocol, "port": number}))
        seen_ports.add((protocol, number))
        if node := port.get("nodePort"):
            if kind == "ClusterIP":
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


def validate_cluster_ips(out: list[Cause], spec: Obj) -> None:
    """`clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` among themselves, before and after allocation."""
    address, addresses, at = spec.get("clusterIP", ""), spec.get("clusterIPs") or [], "spec.clusterIPs"
    if spec.get("type") == "ExternalName":
        return
    if address:
        if not addresses:
            out.append(required(at))
        elif addresses[0] != address:
            out.append(invalid(at, addresses, "first value must match `clusterIP`"))
    elif addresses:
        out.append(invalid(at, addresses, "must be empty when `clusterIP` is not specified"))
    families = spec.get("ipFamilies") or []
    for i, family in enumerate(families):
        if family not in _FAMILIES:
            out.append(not_supported(f"spec.ipFamilies[{i}]", family, _FAMILIES))
        if family in families[:i]:
            out.append(duplicate(f"spec.ipFamilies[{i}]", family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _FAMILY_POLICIES:
        out.append(not_supported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES))
    _validate_addresses(out, addresses, families)


def _validate_addresses(out: list[Cause], addresses: list[str], families: list[str]) -> None:
    at, wrong = "spec.clusterIPs", False
    for i, one in enumerate(addresses):
        if i == 0 and one == "None":
            if len(addresses) > 1:
                wrong = True
                out.append(invalid(at, addresses, "'None' must be the first and only value"))
            continue
        messages = names.is_ip(one)
        wrong = wrong or bool(messages)
        out.extend(invalid(f"{at}[{i}]", one, m) for m in messages)
    if len(addresses) > 2:
        out.append(invalid(at, addresses, "may only hold up to 2 values"))
    if wrong:
        return
    if len(addresses) > 1 and len({":" in a for a in addresses}) < 2:
        out.append(invalid(at, addresses, "may specify no more than one IP for each IP family"))
    if addresses[:1] == ["None"]:
        return
    for i, (one, family) in enumerate(zip(addresses, families, strict=False)):
        if family in _FAMILIES and (family == "IPv6") != (":" in one):
            out.append(invalid(f"{at}[{i}]", one, f"expected an {family} value as indicated by `ipFamilies[{i}]`"))


def _validate_load_balancer(out: list[Cause], spec: Obj, kind: str) -> None:
    # upstream spells the field so
    ranges, at = spec.get("loadBalancerSourceRanges") or [], "spec.LoadBalancerSourceRanges"
    if ranges and kind != "LoadBalancer":
        out.append(forbidden(at, _ONLY_LOAD_BALANCER))
    for i, block in enumerate(ranges):
        out.extend(invalid(f"{at}[{i}]", block.strip(), m) for m in names.is_cidr(block.strip()))
    name = spec.get("loadBalancerClass")
    if kind == "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is None:
            out.append(required("allocateLoadBalancerNodePorts"))
        if name is not None:
            out.extend(invalid("spec.loadBalancerClass", name, m) for m in names.is_qualified_name(name))
        return
    for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
        if spec.get(field) is not None:
            out.append(forbidden(f"spec.{field}", _ONLY_LOAD_BALANCER))


_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_TOPOLOGY_HINTS, _TOPOLOGY_MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"


def validate_service_annotations(out: list[Cause], annotations: Mapping[str, str], spec: Obj) -> None:
    """Annotations that were fields before they were fields."""
    hints, mode = annotations.get(_TOPOLOGY_HINTS), annotations.get(_TOPOLOGY_MODE)
    if None not in (hints, mode) and hints != mode:
        at = f"metadata.annotations[{_TOPOLOGY_MODE}]"
        out.append(invalid(at, mode, f"must match annotations[{_TOPOLOGY_HINTS}] when both are specified"))
    ranges = annotations.get(_SOURCE_RANGES)
    if ranges is None or spec.get("loadBalancerSourceRanges"):
        return
    at = f"metadata.annotations[{_SOURCE_RANGES}]"
    if spec.get("type") != "LoadBalancer":
        out.append(forbidden(at, _ONLY_LOAD_BALANCER))
    for block in ranges.split(",") if ranges.strip() else ():
        out.extend(invalid(at, block.strip(), m) for m in names.is_cidr(block.strip()))


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
    elif health < 0 or health > 65535:
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
    out.extend(invalid(path, text, why) for why in _why_not_plain(text))


@lru_cache(maxsize=32768)
def _why_not_plain(text: str) -> tuple[str, ...]:
    out = []
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address  # ::ffff:127.0.0.1 is as much loopback as 127.0.0.1
    if address.is_unspecified:
        out.append(f"may not be unspecified ({text})")
    if address.is_loopback:
        block = "127.0.0.0/8, ::1/128"
        out.append(f"may not be in the loopback range ({block})")
    if address.is_link_local:
        block = "169.254.0.0/16, fe80::/10"
        out.append(f"may not be in the link-local range ({block})")
    if address.is_multicast and text.startswith(("224.0.0.", "ff02:")):
        block = "224.0.0.0/24, ff02::/10"
        out.append(f"may not be in the link-local multicast range ({block})")
    return tuple(out)


def validate_service_update(out: list[Cause], new: Obj, old: Obj) -> None:
    """Addresses and families stay, but for a second one that comes or goes; so does the class of a load balancer."""
    if "ExternalName" not in (new.get("type"), old.get("type")):
        was, now = _headless(old), _headless(new)
        if not (was and now):
            _validate_list_update(out, new, old, "clusterIPs", "clusterIP")
        if not was and not now:
            _validate_list_update(out, new, old, "ipFamilies", "ipFamily")
    if old.get("type") == new.get("type") == "LoadBalancer":
        before, after = old.get("loadBalancerClass"), new.get("loadBalancerClass")
        if before != after:
            out.append(invalid("spec.loadBalancerClass", after, "may not change once set"))
    if _checked(old) and _checked(new):
        before, after = old.get("healthCheckNodePort"), new.get("healthCheckNodePort")
        if before != after:
            out.append(forbidden("spec.healthCheckNodePort", "field is immutable"))


def _checked(spec: Obj) -> bool:
    """Whether load balancers ask the nodes which of them have endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _validate_list_update(out: list[Cause], new: Obj, old: Obj, field: str, one: str) -> None:
    before, after, at = old.get(field) or [], new.get(field) or [], f"spec.{field}"
    if len(before) == len(after):
        for i, (was, now) in enumerate(zip(before, after, strict=True)):
            if was != now:
                place = i if field == "clusterIPs" else 0
                out.append(invalid(f"{at}[{place}]", after, "may not change once set"))
        return
    if len(before) > len(after) and not new.get("clusterIPs"):
        out.append(invalid(f"{at}[0]", after, f"primary {one} can not be unset"))
    if before and after and before[0] != after[0]:
        out.append(invalid(f"{at}[0]", after, "may not change once set"))
    if len(before) > len(after) == 1 and new.get("ipFamilyPolicy") != "SingleStack":
        detail = f"must be set to 'SingleStack' when releasing the secondary {one}"
        out.append(invalid("spec.ipFamilyPolicy", new.get("ipFamilyPolicy"), detail))


def validate_load_balancer_status(out: list[Cause], status: Obj, spec: Obj, path: str) -> None:
    """What a load balancer says of itself, in Services and Ingresses."""
    entries, at = status.get("ingress") or [], f"{path}.ingress"
    if entries and spec.get("type") != "LoadBalancer":
        out.append(forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'"))
        return
    for i, entry in enumerate(entries):
        address, mode = entry.get("ip", ""), entry.get("ipMode")
        if address:
            out.extend(invalid(f"{at}[{i}].ip", address, m) for m in names.is_ip(address))
        if mode is None:
            if address:
                out.append(required(f"{at}[{i}].ipMode", "must be specified when `ip` is set"))
        elif not address:
            out.append(forbidden(f"{at}[{i}].ipMode", "may not be specified when `ip` is not set"))
        elif mode not in ("Proxy", "VIP"):
            out.append(not_supported(f"{at}[{i}].ipMode", mode, ["Proxy", "VIP"]))
        validate_status_hostname(out, entry.get("hostname", ""), f"{at}[{i}].hostname")


def validate_status_hostname(out: list[Cause], host: str, path: str) -> None:
    """A name, and not an address written where names stand."""
    if host:
        out.extend(invalid(path, host, m) for m in names.is_dns1123_subdomain(host))
        if not names.is_ip(host):
            out.append(invalid(path, host, "must be a DNS name, not an IP address"))
