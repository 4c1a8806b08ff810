"""Endpoints: the older, single-object form of what EndpointSlices say. Their subsets are kept packed.

Follows core's ``ValidateEndpoints`` and its strategy's ``Canonicalize``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.endpoint_subsets import repacked
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import invalid, not_supported, required
from shirube.api.validation.service_spec import validate_plain_ip

_PROTOCOLS = ["SCTP", "TCP", "UDP"]


class EndpointsStrategy(Strategy):
    allow_create_on_update = True

    def default(self, obj: Obj) -> None:
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                if not port.get("protocol"):
                    port["protocol"] = "TCP"

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        _pack(obj)

    def prepare_for_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(obj, old)
        _pack(obj)

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_subsets(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_subsets(obj)

    def warnings(self, obj: Obj, old: Obj | None = None) -> list[str]:
        return ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"]


def _pack(obj: Obj) -> None:
    """What is valid is kept in one form; what is not is told of as it was sent."""
    if obj.get("subsets") and not _validate_subsets(obj):
        obj["subsets"] = repacked(obj["subsets"])


def _validate_subsets(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    for i, subset in enumerate(obj.get("subsets") or ()):
        at = f"subsets[{i}]"
        ready, unready, ports = (subset.get(f) or [] for f in ("addresses", "notReadyAddresses", "ports"))
        if not ready and not unready:
            causes.append(required(at, "must specify `addresses` or `notReadyAddresses`"))
        for field, addresses in (("addresses", ready), ("notReadyAddresses", unready)):
            for j, address in enumerate(addresses):
                _validate_address(causes, address, f"{at}.{field}[{j}]")
        for j, port in enumerate(ports):
            _validate_port(causes, port, f"{at}.ports[{j}]", required_name=len(ports) > 1)
    return causes


def _validate_address(causes: list[Cause], address: Obj, path: str) -> None:
    text = address.get("ip", "")
    messages = names.is_ip(text)
    causes.extend(invalid(f"{path}.ip", text, m) for m in messages)
    if not messages:
        validate_plain_ip(causes, text, f"{path}.ip")
    if host := address.get("hostname"):
        causes.extend(invalid(f"{path}.hostname", host, m) for m in names.is_dns1123_label(host))
    if node := address.get("nodeName"):
        causes.extend(invalid(f"{path}.nodeName", node, m) for m in names.is_dns1123_subdomain(node))


def _validate_port(causes: list[Cause], port: Obj, path: str, *, required_name: bool) -> None:
    name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "")
    if name:
        causes.extend(invalid(f"{path}.name", name, m) for m in names.is_dns1123_label(name))
    elif required_name:
        causes.append(required(f"{path}.name"))
    causes.extend(invalid(f"{path}.port", number, m) for m in names.is_port_number(number))
    if protocol not in _PROTOCOLS:
        causes.append(
            not_supported(f"{path}.protocol", protocol, _PROTOCOLS) if protocol else required(f"{path}.protocol")
        )
    if app := port.get("appProtocol"):
        causes.extend(invalid(f"{path}.appProtocol", app, m) for m in names.is_qualified_name(app))
