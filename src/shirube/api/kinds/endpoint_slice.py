"""EndpointSlices: up to a thousand endpoints of one address type.

Follows discovery's ``ValidateEndpointSlice`` and ``pkg/registry/discovery/endpointslice/strategy.go``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.domain_names import validate_domain
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import duplicate, invalid, not_supported, required, too_many
from shirube.api.validation.object_meta import immutable, validate_labels
from shirube.api.validation.service_spec import validate_plain_ip

_TYPES = ["FQDN", "IPv4", "IPv6"]
_PROTOCOLS = ["SCTP", "TCP", "UDP"]
_MAX_ENDPOINTS = 1000
_MAX_ADDRESSES = 100
_MAX_PORTS = 20000
_MAX_TOPOLOGY = 16
_MAX_HINTS = 8


class EndpointSliceStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        for port in obj.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"
            port.setdefault("name", "")

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        _drop_topology(obj)

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        if not semantic_equal(obj["metadata"].get("labels"), old["metadata"].get("labels")):
            return True
        return any(not semantic_equal(obj.get(f), old.get(f)) for f in ("addressType", "endpoints", "ports"))

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old) + _validate(obj)
        return causes + immutable(obj.get("addressType"), old.get("addressType"), "addressType")


def _drop_topology(obj: Obj) -> None:
    """The node's name has a field of its own since v1."""
    for endpoint in obj.get("endpoints") or ():
        topology = endpoint.get("deprecatedTopology")
        if topology and "kubernetes.io/hostname" in topology:
            del topology["kubernetes.io/hostname"]


def _validate(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    kind, endpoints, ports = obj.get("addressType", ""), obj.get("endpoints") or [], obj.get("ports") or []
    if kind not in _TYPES:
        causes.append(not_supported("addressType", kind, _TYPES) if kind else required("addressType"))
    if len(endpoints) > _MAX_ENDPOINTS:
        causes.append(too_many("endpoints", len(endpoints), _MAX_ENDPOINTS))
        return causes
    for i, endpoint in enumerate(endpoints):
        _validate_endpoint(causes, endpoint, kind, f"endpoints[{i}]")
    if len(ports) > _MAX_PORTS:
        causes.append(too_many("ports", len(ports), _MAX_PORTS))
        return causes
    seen = set()
    for i, port in enumerate(ports):
        at, name = f"ports[{i}]", port.get("name") or ""
        if name:
            causes.extend(invalid(f"{at}.name", name, m) for m in names.is_dns1123_label(name))
        if name in seen:
            causes.append(duplicate(f"{at}.name", name))
        seen.add(name)
        if (number := port.get("port")) is not None:
            causes.extend(invalid(f"{at}.port", number, m) for m in names.is_port_number(number))
        if (protocol := port.get("protocol", "")) not in _PROTOCOLS:
            causes.append(not_supported(f"{at}.protocol", protocol, _PROTOCOLS))
        if (app := port.get("appProtocol")) is not None:
            causes.extend(invalid(f"{at}.appProtocol", app, m) for m in names.is_qualified_name(app))
    return causes


def _validate_endpoint(causes: list[Cause], endpoint: Obj, kind: str, path: str) -> None:
    addresses = endpoint.get("addresses") or []
    if not addresses:
        causes.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > _MAX_ADDRESSES:
        causes.append(too_many(f"{path}.addresses", len(addresses), _MAX_ADDRESSES))
    for i, address in enumerate(addresses):
        at = f"{path}.addresses[{i}]"
        if kind == "FQDN":
            validate_domain(causes, address, at)
            continue
        if kind not in ("IPv4", "IPv6"):
            continue
        readable = not names.is_ip(address)
        if not readable or (kind == "IPv6") != (":" in address):
            causes.append(invalid(at, address, f"must be a valid {kind} address"))
        if readable:
            validate_plain_ip(causes, address, at)
        else:
            causes.append(invalid(at, address, "must be a valid IP address"))
    if (node := endpoint.get("nodeName")) is not None:
        causes.extend(invalid(f"{path}.nodeName", node, m) for m in names.is_dns1123_subdomain(node))
    if (host := endpoint.get("hostname")) is not None:
        causes.extend(invalid(f"{path}.hostname", host, m) for m in names.is_dns1123_label(host))
    if topology := endpoint.get("deprecatedTopology"):
        if len(topology) > _MAX_TOPOLOGY:
            causes.append(too_many(f"{path}.deprecatedTopology", len(topology), _MAX_TOPOLOGY))
        causes.extend(validate_labels(topology, f"{path}.deprecatedTopology"))
    for field, limit in (("forZones", _MAX_HINTS), ("forNodes", _MAX_HINTS)):
        _validate_hints(causes, (endpoint.get("hints") or {}).get(field) or [], limit, f"{path}.hints.{field}")


def _validate_hints(causes: list[Cause], hints: list[Obj], limit: int, path: str) -> None:
    if len(hints) > limit:
        causes.append(too_many(path, len(hints), limit))
        return
    rule = names.is_dns1123_subdomain if path.endswith("forNodes") else names.is_label_value
    seen = set()
    for i, hint in enumerate(hints):
        name = hint.get("name", "")
        if name in seen:
            causes.append(duplicate(f"{path}[{i}].name", name))
        seen.add(name)
        causes.extend(invalid(f"{path}[{i}].name", name, m) for m in rule(name))
