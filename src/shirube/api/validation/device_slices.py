"""Validation of what a driver says that there is: devices, their attributes, capacity, taints and shared counters.

Follows resource's ``validateResourceSliceSpec``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shirube.api import names, quantity
from shirube.api.validation.device_claims import EFFECTS, listed, validate_device_name, validate_pool_name
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
from shirube.api.validation.resource_requirements import parse_any
from shirube.api.validation.volume_sources import validate_driver_name

Obj = Mapping[str, Any]

_MAX_DEVICES = 128
_MAX_DEVICES_WITH_TAINTS_OR_COUNTERS = 64
_MAX_COUNTER_SETS = 8
_MAX_COUNTERS = 32
_MAX_CONSUMPTIONS = 2
_MAX_TAINTS = 16
_MAX_ATTRIBUTES = 32
_MAX_VALUE = 64
_MAX_OPTIONS = 10
_MAX_BINDING = 4
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_ONE_PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_ONE_DEVICE_PLACE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_NUMBER = r"(0|[1-9]\d*)"
_PRE = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE}(\.{_PRE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?")


def validate_slice(spec: Obj, old: Obj | None) -> list[Cause]:
    """The spec of a slice; `old` is the stored one on update."""
    out: list[Cause] = []
    pool = spec.get("pool") or {}
    validate_driver_name(out, spec.get("driver", ""), "spec.driver")
    validate_pool_name(out, pool.get("name", ""), "spec.pool.name")
    count, generation = pool.get("resourceSliceCount", 0), pool.get("generation", 0)
    if count <= 0:
        out.append(invalid("spec.pool.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        out.append(invalid("spec.pool.generation", generation, "must be greater than or equal to zero"))
    if old is not None:
        out += immutable(pool.get("name"), (old.get("pool") or {}).get("name"), "spec.pool.name")
        for field in ("driver", "nodeName"):
            out += immutable(spec.get(field), old.get(field), f"spec.{field}")
    _validate_place(out, spec)
    if spec.get("sharedCounters") is not None and spec.get("devices") is not None:
        out.append(invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    _validate_devices(out, spec, old or {})
    _validate_counter_sets(out, spec.get("sharedCounters") or [], _MAX_COUNTER_SETS, "name", "spec.sharedCounters")
    return out


def _validate_place(out: list[Cause], spec: Obj) -> None:
    chosen = []
    node, selector = spec.get("nodeName"), spec.get("nodeSelector")
    if node is not None:
        if node:
            chosen.append("`nodeName`")
            out.extend(invalid("spec.nodeName", node, m) for m in names.is_dns1123_subdomain(node))
        else:
            out.append(invalid("spec.nodeName", node, "must be either unset or set to a non-empty string"))
    if selector is not None:
        chosen.append("`nodeSelector`")
        out.extend(validate_node_selector(selector, "spec.nodeSelector"))
        terms = selector.get("nodeSelectorTerms") or []
        if len(terms) != 1:
            at = "spec.nodeSelector.nodeSelectorTerms"
            out.append(invalid(at, terms, "must have exactly one node selector term"))
    for field in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(field):
            chosen.append(f"`{field}`")
        elif spec.get(field) is False:
            out.append(invalid(f"spec.{field}", False, "must be either unset or set to true"))
    if not chosen:
        out.append(required("spec", _ONE_PLACE))
    elif len(chosen) > 1:
        shown = "{" + ", ".join(chosen) + "}"
        out.append(invalid("spec", shown, f"{_ONE_PLACE}, but multiple fields are set"))


def _validate_devices(out: list[Cause], spec: Obj, old: Obj) -> None:
    devices = spec.get("devices") or []
    special = any(d.get("taints") or d.get("consumesCounters") for d in devices)
    if not listed(out, devices, _MAX_DEVICES_WITH_TAINTS_OR_COUNTERS if special else _MAX_DEVICES, "spec.devices"):
        return
    before = {d.get("name"): d for d in old.get("devices") or ()}
    seen = set()
    for i, device in enumerate(devices):
        at, name = f"spec.devices[{i}]", device.get("name", "")
        _validate_device(out, device, before.get(name), at, bool(spec.get("perDeviceNodeSelection")))
        if name in seen:
            out.append(duplicate(at, name))
        seen.add(name)


def _validate_device(out: list[Cause], device: Obj, old: Obj | None, path: str, placed: bool) -> None:
    name = device.get("name", "")
    out.extend(invalid(f"{path}.name", name, m) for m in names.is_dns1123_label(name))
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    total = len(attributes) + len(capacity)
    if total > _MAX_ATTRIBUTES:
        detail = f"the total number of attributes and capacities must not exceed {_MAX_ATTRIBUTES}"
        out.append(invalid(path, total, detail))
    for key, attribute in attributes.items():
        at = f"{path}.attributes[{key}]"
        out.extend(validate_device_name(key, at))
        _validate_attribute(out, attribute, at)
    for key, amount in capacity.items():
        at = f"{path}.capacity[{key}]"
        out.extend(validate_device_name(key, at))
        if (policy := amount.get("requestPolicy")) is not None:
            if device.get("allowMultipleAllocations"):
                _validate_policy(out, policy, amount.get("value", "0"), f"{at}.requestPolicy")
            else:
                out.append(forbidden(f"{at}.requestPolicy", "allowMultipleAllocations must be true"))
    taints = device.get("taints") or []
    if (old is None or not semantic_equal(old.get("taints"), taints)) and listed(
        out, taints, _MAX_TAINTS, f"{path}.taints"
    ):
        for i, taint in enumerate(taints):
            _validate_taint(out, taint, f"{path}.taints[{i}]")
    consumed = device.get("consumesCounters") or []
    _validate_counter_sets(out, consumed, _MAX_CONSUMPTIONS, "counterSet", f"{path}.consumesCounters")
    _validate_device_place(out, device, path, placed)
    for field in ("bindingConditions", "bindingFailureConditions"):
        listed(out, device.get(field) or [], _MAX_BINDING, f"{path}.{field}")


def _validate_attribute(out: list[Cause], attribute: Obj, path: str) -> None:
    given = [f for f in ("bool", "int", "string", "version") if attribute.get(f) is not None]
    text, version = attribute.get("string"), attribute.get("version")
    if text is not None and len(text) > _MAX_VALUE:
        out.append(too_long(f"{path}.string", _MAX_VALUE))
    if version is not None:
        if not _VERSION.fullmatch(version):
            detail = "must be a string compatible with semver.org spec 2.0.0"
            out.append(invalid(f"{path}.version", version, detail))
        if len(version) > _MAX_VALUE:
            out.append(too_long(f"{path}.version", _MAX_VALUE))
    if len(given) != 1:
        out.append(invalid(path, dict(attribute) if given else "", "exactly one value must be specified"))


def _validate_policy(out: list[Cause], policy: Obj, capacity: Any, path: str) -> None:
    values, span, default = policy.get("validValues") or [], policy.get("validRange"), policy.get("default")
    if values and span is not None:
        detail = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        out.append(forbidden(path, detail))
    elif values:
        if default is None:
            out.append(required(f"{path}.default", "required when validValues is defined"))
        else:
            _validate_values(out, values, default, capacity, f"{path}.validValues")
    elif span is not None:
        if default is None:
            out.append(required(f"{path}.default", "required when validRange is defined"))
        else:
            _validate_range(out, span, default, capacity, f"{path}.validRange")


def _more(a: Any, b: Any) -> bool:
    x, y = parse_any(a), parse_any(b)
    return x is not None and y is not None and quantity.cmp(x, y) > 0


def _validate_values(out: list[Cause], values: list[Any], default: Any, capacity: Any, path: str) -> None:
    for i in range(len(values) - 1):
        if _more(values[i], values[i + 1]):
            detail = "values must be sorted in ascending order"
            out.append(invalid(f"{path}[{i + 1}]", str(values[i + 1]), detail))
    if not listed(out, values, _MAX_OPTIONS, path):
        return
    for i, value in enumerate(values):
        if _more(value, capacity):
            out.append(invalid(f"{path}[{i}]", str(value), f"option is larger than capacity value: {capacity}"))
        if value in values[:i]:
            out.append(duplicate(f"{path}[{i}]", str(value)))
    if all(_more(default, v) or _more(v, default) for v in values):
        out.append(invalid(path, str(default), "default value is not valid according to the requestPolicy"))


def _validate_range(out: list[Cause], span: Obj, default: Any, capacity: Any, path: str) -> None:
    least, most = span.get("min"), span.get("max")
    if least is None:
        out.append(required(f"{path}.min", "required when validRange is defined"))
        return
    if _more(least, capacity):
        out.append(invalid(f"{path}.min", str(least), f"min is larger than capacity value: {capacity}"))
    if _more(least, default):
        out.append(invalid(f"{path}.min", str(default), f"default is less than min: {least}"))
    if most is not None:
        if _more(least, most):
            out.append(invalid(f"{path}.max", str(least), f"min is larger than max: {most}"))
        if _more(most, capacity):
            out.append(invalid(f"{path}.max", str(most), f"max is larger than capacity value: {capacity}"))
        if _more(default, most):
            out.append(invalid(f"{path}.max", str(default), f"default is more than max: {most}"))


def _validate_taint(out: list[Cause], taint: Obj, path: str) -> None:
    out.extend(validate_label_name(taint.get("key", ""), f"{path}.key"))
    if value := taint.get("value"):
        out.extend(invalid(f"{path}.value", value, m) for m in names.is_label_value(value))
    effect = taint.get("effect", "")
    if effect not in EFFECTS:
        at = f"{path}.effect"
        out.append(not_supported(at, effect, EFFECTS) if effect else required(at))


def _validate_counters(out: list[Cause], counters: Obj, path: str) -> None:
    if not counters:
        out.append(required(path))
    elif len(counters) > _MAX_COUNTERS:
        out.append(too_many(path, len(counters), _MAX_COUNTERS))
    else:
        for key in counters:
            out.extend(invalid(f"{path}[{key}]", key, m) for m in names.is_dns1123_label(key))


def _named(out: list[Cause], item: Obj, field: str, path: str) -> None:
    name = item.get(field, "")
    if not name:
        out.append(required(f"{path}.{field}"))
    else:
        out.extend(invalid(f"{path}.{field}", name, m) for m in names.is_dns1123_label(name))


def _validate_counter_sets(out: list[Cause], sets: list[Obj], most: int, named: str, path: str) -> None:
    """Sets of counters, each by another name, which stands in the field `named`."""
    if not listed(out, sets, most, path):
        return
    seen = set()
    for i, one in enumerate(sets):
        _named(out, one, named, f"{path}[{i}]")
        _validate_counters(out, one.get("counters") or {}, f"{path}[{i}].counters")
        if (name := one.get(named, "")) in seen:
            out.append(duplicate(f"{path}[{i}]", name))
        seen.add(name)


def _validate_device_place(out: list[Cause], device: Obj, path: str, placed: bool) -> None:
    given = [f for f in ("nodeName", "nodeSelector", "allNodes") if device.get(f) is not None]
    if not placed:
        if given:
            detail = (
                "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true "
                "in the ResourceSlice spec"
            )
            out.append(invalid(path, None, detail))
        return
    node, selector = device.get("nodeName"), device.get("nodeSelector")
    if node == "":
        out.append(invalid(f"{path}.nodeName", node, "must not be empty"))
    elif node is not None:
        out.extend(invalid(f"{path}.nodeName", node, m) for m in names.is_dns1123_subdomain(node))
    if selector is not None:
        out.extend(validate_node_selector(selector, f"{path}.nodeSelector"))
    if device.get("allNodes") is False:
        out.append(invalid(f"{path}.allNodes", False, "must be either unset or set to true"))
    chosen = [f"`{f}`" for f in given if device.get(f) or f == "nodeSelector"]
    if not chosen:
        out.append(required(path, _ONE_DEVICE_PLACE))
    elif len(chosen) > 1:
        out.append(invalid(path, "{" + ", ".join(chosen) + "}", _ONE_DEVICE_PLACE))
