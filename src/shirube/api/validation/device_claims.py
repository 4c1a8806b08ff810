"""Validation of what a pod may ask of devices: requests, constraints between them, configuration for their drivers.

Follows resource's ``validateDeviceClaim`` and ``validateResourceClaimStatusUpdate``. Expressions are compiled where
devices are chosen; here only their length counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import (
    Cause,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from shirube.api.validation.labels import validate_label_name, validate_node_selector
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.volume_sources import validate_driver_name

Obj = Mapping[str, Any]

EFFECTS = ["NoExecute", "NoSchedule", "None"]
_MAX_LIST = 32
_MAX_ALTERNATIVES = 8
_MAX_EXPRESSION = 10 * 1024
_MAX_PARAMETERS = 10 * 1024
_MAX_RESERVED = 256
_MAX_CONDITIONS = 8
_ONE_KIND = "exactly one of `exactly` or `firstAvailable` is required"
_NO_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def listed(out: list[Cause], items: list[Any], limit: int, path: str) -> bool:
    """Whether the list is short enough to be looked at."""
    if len(items) > limit:
        out.append(too_many(path, len(items), limit))
        return False
    return True


def _label(out: list[Cause], name: str, path: str) -> None:
    out.extend(invalid(path, name, m) for m in names.is_dns1123_label(name))


def validate_pool_name(out: list[Cause], name: str, path: str) -> None:
    """Subdomains with slashes between them."""
    if not name:
        out.append(required(path))
        return
    if len(name) > 253:
        out.append(too_long(path, 253))
    for part in name.split("/"):
        out.extend(invalid(path, part, m) for m in names.is_dns1123_subdomain(part))


def validate_device_name(name: str, path: str) -> list[Cause]:
    """A name as attributes have it: a C identifier, with the domain of a driver before it or without."""
    out: list[Cause] = []
    parts = name.split("/")
    if len(parts) > 2:
        return out
    if len(parts) == 2:
        if not parts[0]:
            out.append(invalid(path, "", "the domain must not be empty"))
        else:
            validate_driver_name(out, parts[0], path)
        if not parts[1]:
            return [*out, invalid(path, "", "the name must not be empty")]
    if len(parts[-1]) > 32:
        out.append(too_long(path, 32))
    return out + [invalid(path, parts[-1], m) for m in names.is_c_identifier(parts[-1])]


def _qualified(out: list[Cause], name: str, path: str) -> None:
    out.extend(validate_device_name(name, path))
    if "/" not in name:
        out.append(invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash"))


def request_names(devices: Obj) -> set[str]:
    """What constraints and results may refer to: requests, and their alternatives after a slash."""
    found = set()
    for request in devices.get("requests") or ():
        found.add(request.get("name", ""))
        found |= {f"{request.get('name', '')}/{r.get('name', '')}" for r in request.get("firstAvailable") or ()}
    return found


def validate_device_claim(out: list[Cause], devices: Obj, path: str) -> None:
    """The spec of a claim."""
    known = request_names(devices)
    requests = devices.get("requests") or []
    if listed(out, requests, _MAX_LIST, f"{path}.requests"):
        for i, request in enumerate(requests):
            _validate_request(out, request, f"{path}.requests[{i}]")
        _unique_names(out, requests, f"{path}.requests")
    constraints = devices.get("constraints") or []
    if listed(out, constraints, _MAX_LIST, f"{path}.constraints"):
        for i, constraint in enumerate(constraints):
            _validate_constraint(out, constraint, known, f"{path}.constraints[{i}]")
    configs = devices.get("config") or []
    if listed(out, configs, _MAX_LIST, f"{path}.config"):
        for i, config in enumerate(configs):
            _validate_references(out, config.get("requests") or [], known, f"{path}.config[{i}].requests")
            validate_configuration(out, config, f"{path}.config[{i}]")


def _unique_names(out: list[Cause], items: list[Obj], path: str) -> None:
    seen = set()
    for i, item in enumerate(items):
        if (name := item.get("name", "")) in seen:
            out.append(duplicate(f"{path}[{i}]", name))
        seen.add(name)


def _validate_request(out: list[Cause], request: Obj, path: str) -> None:
    _label(out, request.get("name", ""), f"{path}.name")
    exactly, choices = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is None and not choices:
        out.append(required(path, _ONE_KIND))
    elif exactly is not None and choices:
        out.append(invalid(path, None, f"{_ONE_KIND}, but multiple fields are set"))
    elif exactly is not None:
        _validate_exact(out, exactly, f"{path}.exactly")
    elif listed(out, choices, _MAX_ALTERNATIVES, f"{path}.firstAvailable"):
        for i, choice in enumerate(choices):
            at = f"{path}.firstAvailable[{i}]"
            _label(out, choice.get("name", ""), f"{at}.name")
            _validate_exact(out, choice, at)
        _unique_names(out, choices, f"{path}.firstAvailable")


def _validate_exact(out: list[Cause], request: Obj, path: str) -> None:
    name, mode, count = request.get("deviceClassName", ""), request.get("allocationMode", ""), request.get("count", 0)
    if not name:
        out.append(required(f"{path}.deviceClassName"))
    else:
        out.extend(invalid(f"{path}.deviceClassName", name, m) for m in names.is_dns1123_subdomain(name))
    validate_device_selectors(out, request.get("selectors") or [], f"{path}.selectors")
    if mode not in ("All", "ExactCount"):
        out.append(not_supported(f"{path}.allocationMode", mode, ["All", "ExactCount"]))
    elif mode == "ExactCount" and count <= 0:
        out.append(invalid(f"{path}.count", count, "must be greater than zero"))
    elif mode == "All" and count:
        out.append(invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'"))
    for i, toleration in enumerate(request.get("tolerations") or ()):
        _validate_toleration(out, toleration, f"{path}.tolerations[{i}]")


def validate_device_selectors(out: list[Cause], selectors: list[Obj], path: str) -> None:
    """Expressions that devices must satisfy, all of them."""
    if not listed(out, selectors, _MAX_LIST, path):
        return
    for i, selector in enumerate(selectors):
        at, cel = f"{path}[{i}].cel", selector.get("cel")
        if cel is None:
            out.append(required(at))
        elif not cel.get("expression"):
            out.append(required(f"{at}.expression"))
        elif len(cel["expression"]) > _MAX_EXPRESSION:
            out.append(too_long(f"{at}.expression", _MAX_EXPRESSION))


def _validate_toleration(out: list[Cause], toleration: Obj, path: str) -> None:
    key, operator, value, effect = (toleration.get(f, "") for f in ("key", "operator", "value", "effect"))
    if key:
        out.extend(validate_label_name(key, f"{path}.key"))
    if operator == "Exists":
        if value:
            out.append(invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        out.extend(invalid(f"{path}.value", value, m) for m in names.is_label_value(value))
    elif operator:
        out.append(not_supported(f"{path}.operator", operator, ["Equal", "Exists"]))
    else:
        out.append(required(f"{path}.operator"))
    if effect and effect not in EFFECTS:
        out.append(not_supported(f"{path}.effect", effect, EFFECTS))


def _validate_constraint(out: list[Cause], constraint: Obj, known: set[str], path: str) -> None:
    _validate_references(out, constraint.get("requests") or [], known, f"{path}.requests")
    for field in ("matchAttribute", "distinctAttribute"):
        if (attribute := constraint.get(field)) is not None:
            _qualified(out, attribute, f"{path}.{field}")
            return
    detail = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
    out.append(required(path, detail))


def _validate_references(out: list[Cause], references: list[str], known: set[str], path: str) -> None:
    if not listed(out, references, _MAX_LIST, path):
        return
    for i, name in enumerate(references):
        _validate_reference(out, name, known, f"{path}[{i}]")
        if name in references[:i]:
            out.append(duplicate(f"{path}[{i}]", name))


def _validate_reference(out: list[Cause], name: str, known: set[str], path: str) -> None:
    segments = name.split("/")
    if len(segments) <= 2:
        for segment in segments:
            _label(out, segment, path)
    if name not in known:
        out.append(invalid(path, name, _NO_REQUEST))


def validate_configuration(out: list[Cause], config: Obj, path: str) -> None:
    """Parameters that only the driver understands."""
    opaque = config.get("opaque")
    if opaque is None:
        out.append(required(f"{path}.opaque"))
        return
    validate_driver_name(out, opaque.get("driver", ""), f"{path}.opaque.driver")
    _validate_data(out, opaque.get("parameters"), f"{path}.opaque.parameters")


def _validate_data(out: list[Cause], data: Any, path: str) -> None:
    if data is None:
        out.append(required(path))
    elif len(json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()) > _MAX_PARAMETERS:
        out.append(too_long(path, _MAX_PARAMETERS))
    elif not isinstance(data, dict):
        out.append(invalid(path, "<value omitted>", "must be a valid JSON object"))


def validate_claim_status(claim: Obj, old: Obj) -> list[Cause]:
    """Who uses the claim, which devices it got, and what their drivers say of them."""
    out: list[Cause] = []
    status, before = claim.get("status") or {}, old.get("status") or {}
    known = request_names((claim.get("spec") or {}).get("devices") or {})
    reserved, allocation = status.get("reservedFor") or [], status.get("allocation")
    at = "status.reservedFor"
    if listed(out, reserved, _MAX_RESERVED, at):
        _validate_consumers(out, reserved, at)
    _validate_device_statuses(out, status.get("devices") or [], allocation, "status.devices")
    if reserved and allocation is None:
        out.append(forbidden(at, "may not be specified when `allocated` is not set"))
    elif (claim.get("metadata") or {}).get("deletionTimestamp") and any(
        r not in (before.get("reservedFor") or ()) for r in reserved
    ):
        detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        out.append(forbidden(at, detail))
    if allocation is not None:
        if before.get("allocation") is not None:
            out += immutable(allocation, before["allocation"], "status.allocation")
        else:
            _validate_allocation(out, allocation, known, "status.allocation")
    return out


def _validate_consumers(out: list[Cause], consumers: list[Obj], path: str) -> None:
    uids = [c.get("uid", "") for c in consumers]
    for i, consumer in enumerate(consumers):
        for field in ("resource", "name", "uid"):
            if not consumer.get(field):
                out.append(required(f"{path}[{i}].{field}"))
        if uids[i] in uids[:i]:
            out.append(duplicate(f"{path}[{i}]", uids[i]))


def _identity(device: Obj) -> tuple[str, str, str, str]:
    return tuple(device.get(f) or "" for f in ("driver", "pool", "device", "shareID"))  # type: ignore[return-value]


def _validate_device_statuses(out: list[Cause], devices: list[Obj], allocation: Obj | None, path: str) -> None:
    given = {_identity(r) for r in ((allocation or {}).get("devices") or {}).get("results") or ()}
    seen = set()
    for i, device in enumerate(devices):
        at, identity = f"{path}[{i}]", _identity(device)
        validate_driver_name(out, identity[0], f"{at}.driver")
        validate_pool_name(out, identity[1], f"{at}.pool")
        _label(out, identity[2], f"{at}.device")
        shown = "/".join(filter(None, identity))
        if identity not in given:
            out.append(invalid(at, shown, "must be an allocated device in the claim"))
        if identity in seen:
            out.append(duplicate(at, shown))
        seen.add(identity)
        listed(out, device.get("conditions") or [], _MAX_CONDITIONS, f"{at}.conditions")
        if device.get("data") is not None:
            _validate_data(out, device["data"], f"{at}.data")


def _validate_allocation(out: list[Cause], allocation: Obj, known: set[str], path: str) -> None:
    devices = allocation.get("devices") or {}
    results = devices.get("results") or []
    if listed(out, results, _MAX_LIST, f"{path}.devices.results"):
        for i, result in enumerate(results):
            at = f"{path}.devices.results[{i}]"
            _validate_reference(out, result.get("request", ""), known, f"{at}.request")
            validate_driver_name(out, result.get("driver", ""), f"{at}.driver")
            validate_pool_name(out, result.get("pool", ""), f"{at}.pool")
            _label(out, result.get("device", ""), f"{at}.device")
            share = result.get("shareID")
            if share is not None and not _UID.fullmatch(share):
                detail = (
                    "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase "
                    "hexadecimal characters"
                )
                out.append(invalid(f"{at}.shareID", share, detail))
    configs = devices.get("config") or []
    if listed(out, configs, 2 * _MAX_LIST, f"{path}.devices.config"):
        for i, config in enumerate(configs):
            at, source = f"{path}.devices.config[{i}]", config.get("source", "")
            if source not in ("FromClaim", "FromClass"):
                sources = ["FromClaim", "FromClass"]
                out.append(not_supported(f"{at}.source", source, sources) if source else required(f"{at}.source"))
            _validate_references(out, config.get("requests") or [], known, f"{at}.requests")
            validate_configuration(out, config, at)
    if (selector := allocation.get("nodeSelector")) is not None:
        out.extend(validate_node_selector(selector, f"{path}.nodeSelector"))


def same_spec(new: Obj, old: Obj) -> list[Cause]:
    """The cause for changing the spec of a claim or a template."""
    if semantic_equal(new.get("spec"), old.get("spec")):
        return []
    return [invalid("spec", new.get("spec"), "field is immutable")]
