"""LimitRanges: bounds and defaults for single pods, containers and claims.

Follows core's ``ValidateLimitRange`` and ``SetDefaults_LimitRangeItem``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.kinds.pod_defaults import canonical_resources
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import duplicate, forbidden, invalid, required
from shirube.api.validation.resource_requirements import (
    container_resource_messages,
    is_huge_page,
    is_native,
    parse_any,
    resource_name_messages,
)

_FIELDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


class LimitRangeStrategy(Strategy):
    allow_create_on_update = True

    def default(self, obj: Obj) -> None:
        for item in obj.setdefault("spec", {}).setdefault("limits", []):
            for field in _FIELDS:
                canonical_resources(item.get(field))
            if item.get("type") == "Container":
                _default_container(item)

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate(obj["spec"])


def _default_container(item: Obj) -> None:
    """A default limit is the maximum, a default request the default limit or the minimum."""
    for source, target in (("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")):
        if values := item.get(source):
            into = item.setdefault(target, {})
            for name, value in values.items():
                into.setdefault(name, value)


def _validate(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    seen = set()
    for i, item in enumerate(spec.get("limits") or ()):
        at, kind = f"spec.limits[{i}]", item.get("type", "")
        if kind not in ("Container", "Pod", "PersistentVolumeClaim"):
            messages = names.is_qualified_name(kind)
            if not messages and "/" not in kind:
                messages = ["must be a standard limit type or fully qualified"]
            causes.extend(invalid(f"{at}.type", kind, m) for m in messages)
        if kind in seen:
            causes.append(duplicate(f"{at}.type", kind))
        seen.add(kind)
        _validate_item(causes, item, kind, at)
    return causes


def _validate_item(causes: list[Cause], item: Obj, kind: str, path: str) -> None:
    for field in _FIELDS:
        for name in item.get(field) or ():
            if kind == "Pod" and field in ("default", "defaultRequest"):
                continue
            rule = container_resource_messages if kind in ("Container", "Pod") else resource_name_messages
            causes.extend(invalid(f"{path}.{field}[{name}]", name, m) for m in rule(name))
    if kind == "Pod":
        for field in ("default", "defaultRequest"):
            if item.get(field):
                causes.append(forbidden(f"{path}.{field}", f"may not be specified when `type` is '{kind}'"))
    if kind == "PersistentVolumeClaim" and not any("storage" in (item.get(f) or {}) for f in ("min", "max")):
        detail = "either minimum or maximum storage value is required, but neither was provided"
        causes.append(required(f"{path}.limits", detail))
    every = {n for f in _FIELDS for n in item.get(f) or ()}
    for name in sorted(every):
        _validate_bounds(causes, item, name, path)


_ORDER = (
    ("min", "max", "min", "min value {0} is greater than max value {1}"),
    ("min", "defaultRequest", "defaultRequest", "min value {0} is greater than default request value {1}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {0} is greater than max value {1}"),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "default request value {0} is greater than default limit value {1}",
    ),
    ("min", "default", "default", "min value {0} is greater than default value {1}"),
    ("default", "max", "default", "default value {0} is greater than max value {1}"),
)


def _validate_bounds(causes: list[Cause], item: Obj, name: str, path: str) -> None:
    for low, high, field, text in _ORDER:
        a, b = (item.get(low) or {}).get(name), (item.get(high) or {}).get(name)
        if a is None or b is None:
            continue
        x, y = parse_any(a), parse_any(b)
        if x is not None and y is not None and x > y:
            # upstream shows the bound that was passed, not always the value of the field
            shown = a if (low, high) == ("min", "default") else b if (low, high) == ("default", "max") else None
            shown = (item.get(field) or {}).get(name) if shown is None else shown
            causes.append(invalid(f"{path}.{field}[{name}]", str(shown), text.format(a, b)))
    ratio = (item.get("maxLimitRequestRatio") or {}).get(name)
    parsed = parse_any(ratio) if ratio is not None else None
    at = f"{path}.maxLimitRequestRatio[{name}]"
    if parsed is not None and parsed.milli < 1000:
        causes.append(invalid(at, str(ratio), f"ratio {ratio} is less than 1"))
    least, most = ((item.get(f) or {}).get(name) for f in ("min", "max"))
    bounds = [parse_any(v) if v is not None else None for v in (least, most)]
    if parsed is not None and None not in bounds and bounds[0]:
        highest = bounds[1].milli / bounds[0].milli if bounds[0].milli else 0.0  # type: ignore[union-attr]
        if parsed.milli / 1000 > highest:
            causes.append(invalid(at, str(ratio), f"ratio {ratio} is greater than max/min = {highest:.6f}"))
    limit, request = (item.get("default") or {}).get(name), (item.get("defaultRequest") or {}).get(name)
    fixed = not is_native(name) or is_huge_page(name)
    if fixed and limit is not None and request is not None and parse_any(limit) != parse_any(request):
        detail = f"default value {limit} must equal to defaultRequest value {request} in {name}"
        causes.append(invalid(f"{path}.defaultRequest[{name}]", str(request), detail))
