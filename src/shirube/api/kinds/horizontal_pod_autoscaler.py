"""HorizontalPodAutoscalers (in v2 form): replicas that follow metrics.

Follows autoscaling's ``ValidateHorizontalPodAutoscaler`` and its v2 defaults.
"""

from __future__ import annotations

from collections.abc import Callable

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import forbidden, invalid, not_supported, required
from shirube.api.validation.resource_requirements import container_resource_messages, parse_any

_SOURCES = {
    "Object": "object", "Pods": "pods", "Resource": "resource", "External": "external",
    "ContainerResource": "containerResource",
}  # fmt: skip
_TARGETS = ("Utilization", "AverageValue", "Value")
_SELECT = ["Disabled", "Max", "Min"]
_MAX_WINDOW = 3600
_MAX_PERIOD = 1800


class HorizontalPodAutoscalerStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if spec.get("minReplicas") is None:
            spec["minReplicas"] = 1
        if not spec.get("metrics"):
            target = {"type": "Utilization", "averageUtilization": 80}
            spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
        if (behavior := spec.get("behavior")) is not None:
            _default_behavior(behavior)

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {"desiredReplicas": 0}

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate(obj["spec"])

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        for field in ("currentReplicas", "desiredReplicas"):
            value = (obj.get("status") or {}).get(field, 0)
            if value < 0:
                causes.append(invalid(f"status.{field}", value, "must be greater than or equal to 0"))
        return causes


def _default_behavior(behavior: Obj) -> None:
    """Up: at once, by 4 pods or 100 % in 15 s; down: after 5 minutes, all at once (the controller's default)."""
    up = behavior.setdefault("scaleUp", {})
    up.setdefault("stabilizationWindowSeconds", 0)
    up.setdefault("selectPolicy", "Max")
    if up.get("policies") is None:
        up["policies"] = [
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]
    down = behavior.setdefault("scaleDown", {})
    down.setdefault("selectPolicy", "Max")
    if down.get("policies") is None:
        down["policies"] = [{"type": "Percent", "value": 100, "periodSeconds": 15}]


def _validate(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 1:
        causes.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        causes.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        detail = "must be greater than or equal to `minReplicas`"
        causes.append(invalid("spec.maxReplicas", most, detail))
    _validate_target(causes, spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    for i, metric in enumerate(spec.get("metrics") or ()):
        _validate_metric(causes, metric, f"spec.metrics[{i}]")
    for field in ("scaleUp", "scaleDown"):
        if (rules := (spec.get("behavior") or {}).get(field)) is not None:
            _validate_rules(causes, rules, f"spec.behavior.{field}")
    return causes


def _validate_target(causes: list[Cause], target: Obj, path: str) -> None:
    for field in ("kind", "name"):
        value = target.get(field, "")
        if not value:
            causes.append(required(f"{path}.{field}"))
        else:
            causes.extend(invalid(f"{path}.{field}", value, m) for m in names.is_path_segment_name(value))


def _validate_metric(causes: list[Cause], metric: Obj, path: str) -> None:
    kind = metric.get("type", "")
    if not kind:
        causes.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in _SOURCES:
        # upstream says it twice: once of the type, once of what the type asks for
        causes += [not_supported(f"{path}.type", kind, sorted(_SOURCES))] * 2
    given = [field for field in _CHECKS if metric.get(field) is not None]
    if given:
        _CHECKS[given[0]](causes, metric[given[0]], f"{path}.{given[0]}")
    wanted = _SOURCES.get(kind, "")
    if wanted and metric.get(wanted) is None:
        causes.append(required(f"{path}.{wanted}", "must populate information for the given metric source"))
    if len(given) > 1:
        for field in given:
            if field != wanted:
                causes.append(forbidden(f"{path}.{field}", "must populate the given metric source only"))


def _object(causes: list[Cause], source: Obj, path: str) -> None:
    _validate_target(causes, source.get("describedObject") or {}, f"{path}.describedObject")
    _identifier(causes, source, path)
    target = _amount(causes, source, path)
    if target.get("value") is None and target.get("averageValue") is None:
        causes.append(required(f"{path}.target.averageValue", "must set either a target value or averageValue"))


def _external(causes: list[Cause], source: Obj, path: str) -> None:
    _identifier(causes, source, path)
    target = _amount(causes, source, path)
    value, average = target.get("value"), target.get("averageValue")
    if value is None and average is None:
        detail = "must set either a target value for metric or a per-pod target"
        causes.append(required(f"{path}.target.averageValue", detail))
    if value is not None and average is not None:
        detail = "may not set both a target value for metric and a per-pod target"
        causes.append(forbidden(f"{path}.target.value", detail))


def _pods(causes: list[Cause], source: Obj, path: str) -> None:
    _identifier(causes, source, path)
    if _amount(causes, source, path).get("averageValue") is None:
        causes.append(required(f"{path}.target.averageValue", "must specify a positive target averageValue"))


def _resource(causes: list[Cause], source: Obj, path: str) -> None:
    if not source.get("name"):
        causes.append(required(f"{path}.name", "must specify a resource name"))
    _usage(causes, source, path)


def _container_resource(causes: list[Cause], source: Obj, path: str) -> None:
    name, container = source.get("name", ""), source.get("container", "")
    if not name:
        causes.append(required(f"{path}.name", "must specify a resource name"))
    else:
        causes.extend(invalid(f"{path}.name", name, m) for m in container_resource_messages(name))
    if not container:
        causes.append(required(f"{path}.container", "must specify a container"))
    else:
        causes.extend(invalid(f"{path}.container", container, m) for m in names.is_dns1123_label(container))
    _usage(causes, source, path)


def _usage(causes: list[Cause], source: Obj, path: str) -> None:
    target = _amount(causes, source, path)
    utilization, average = target.get("averageUtilization"), target.get("averageValue")
    if utilization is None and average is None:
        detail = "must set either a target raw value or a target utilization"
        causes.append(required(f"{path}.target.averageUtilization", detail))
    if utilization is not None and average is not None:
        detail = "may not set both a target raw value and a target utilization"
        causes.append(forbidden(f"{path}.target.averageValue", detail))


def _identifier(causes: list[Cause], source: Obj, path: str) -> None:
    name = (source.get("metric") or {}).get("name", "")
    if not name:
        causes.append(required(f"{path}.metric.name", "must specify a metric name"))
    else:
        causes.extend(invalid(f"{path}.metric.name", name, m) for m in names.is_path_segment_name(name))


def _amount(causes: list[Cause], source: Obj, path: str) -> Obj:
    """The target, checked for what is common to all sources."""
    target: Obj = source.get("target") or {}
    at, kind = f"{path}.target", target.get("type", "")
    if not kind:
        causes.append(required(f"{at}.type", "must specify a metric target type"))
    if kind not in _TARGETS:
        causes.append(invalid(f"{at}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for field in ("value", "averageValue"):
        given = target.get(field)
        parsed = parse_any(given) if given is not None else None
        if parsed is not None and parsed.nanos <= 0:
            causes.append(invalid(f"{at}.{field}", str(given), "must be positive"))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        causes.append(invalid(f"{at}.averageUtilization", utilization, "must be greater than 0"))
    return target


# in upstream's order: the first that is there is judged
_CHECKS: dict[str, Callable[[list[Cause], Obj, str], None]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _container_resource,
}


def _validate_rules(causes: list[Cause], rules: Obj, path: str) -> None:
    window, select = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    at = f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        causes.append(invalid(at, window, "must be greater than or equal to zero"))
    elif window is not None and window > _MAX_WINDOW:
        causes.append(invalid(at, window, f"must be less than or equal to {_MAX_WINDOW}"))
    if select is not None and select not in _SELECT:
        causes.append(not_supported(f"{path}.selectPolicy", select, _SELECT))
    policies = rules.get("policies") or []
    if not policies:
        causes.append(required(f"{path}.policies", "must specify at least one Policy"))
    for i, policy in enumerate(policies):
        where = f"{path}.policies[{i}]"
        if policy.get("type") not in ("Percent", "Pods"):
            causes.append(not_supported(f"{where}.type", policy.get("type", ""), ["Percent", "Pods"]))
        if policy.get("value", 0) <= 0:
            causes.append(invalid(f"{where}.value", policy.get("value", 0), "must be greater than zero"))
        period = policy.get("periodSeconds", 0)
        if period <= 0:
            causes.append(invalid(f"{where}.periodSeconds", period, "must be greater than zero"))
        elif period > _MAX_PERIOD:
            detail = f"must be less than or equal to {_MAX_PERIOD}"
            causes.append(invalid(f"{where}.periodSeconds", period, detail))
