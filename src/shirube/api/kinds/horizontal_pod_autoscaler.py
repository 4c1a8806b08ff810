"""HorizontalPodAutoscalers (in v2 form): replicas that follow metrics.

Follows autoscaling's ``ValidateHorizontalPodAutoscaler`` and its v2 defaults.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import forbidden, invalid, not_supported, required

_SOURCES = {
    "Object": "object", "Pods": "pods", "Resource": "resource", "External": "external",
    "ContainerResource": "containerResource",
}  # fmt: skip
_TARGETS = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}
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
    if kind not in _SOURCES:
        known = sorted(_SOURCES)
        causes.append(
            not_supported(f"{path}.type", kind, known)
            if kind
            else required(f"{path}.type", "must specify a metric source type")
        )
        return
    wanted = _SOURCES[kind]
    for field in _SOURCES.values():
        if field != wanted and metric.get(field) is not None:
            detail = "must populate the given metric source only"
            causes.append(forbidden(f"{path}.{field}", detail))
    source = metric.get(wanted)
    if source is None:
        detail = "must populate information for the given metric source"
        causes.append(required(f"{path}.{wanted}", detail))
        return
    at = f"{path}.{wanted}"
    if wanted in ("resource", "containerResource"):
        if not source.get("name"):
            causes.append(required(f"{at}.name", "must specify a resource name"))
        if wanted == "containerResource" and not source.get("container"):
            causes.append(required(f"{at}.container", "must specify a container"))
    elif not (source.get("metric") or {}).get("name"):
        causes.append(required(f"{at}.metric.name", "must specify a metric name"))
    if wanted == "object":
        _validate_target(causes, source.get("describedObject") or {}, f"{at}.describedObject")
    _validate_amount(causes, source.get("target") or {}, f"{at}.target")


def _validate_amount(causes: list[Cause], target: Obj, path: str) -> None:
    kind = target.get("type", "")
    if kind not in _TARGETS:
        where = f"{path}.type"
        causes.append(
            not_supported(where, kind, sorted(_TARGETS))
            if kind
            else required(where, "must specify a metric target type")
        )
        return
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        causes.append(invalid(f"{path}.averageUtilization", utilization, "must be greater than 0"))
    if all(target.get(f) is None for f in _TARGETS.values()):
        causes.append(required(f"{path}.{_TARGETS[kind]}", "must set a target value"))


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
