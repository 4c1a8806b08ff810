"""Between served versions of one stored kind.

Two kinds are served in two versions each: horizontal pod autoscalers (autoscaling/v1, stored as v2) and events
(events.k8s.io/v1, stored as core v1). Events differ in the names of fields only. What autoscaling/v1 has no field for
travels in annotations, in upstream's format, so that an object survives being read and written back as v1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from shirube.api.resources import Resource

Object = dict[str, Any]
_Conversion = Callable[[Object], Object]


def convert(obj: Object, from_resource: Resource, to_resource: Resource) -> Object:
    """The object in another served version; itself when nothing differs. The given object is not changed, but the
    answer shares with it what both versions have in common."""
    if from_resource.api_version == to_resource.api_version:
        return obj
    rule = _RULES.get((from_resource.kind, from_resource.api_version, to_resource.api_version))
    converted = rule(obj) if rule else dict(obj)
    return {**_IDENTITY, **converted, "apiVersion": to_resource.api_version}


_IDENTITY: Final = {"apiVersion": "", "kind": ""}  # these two come first, whatever the rule did

# Events: core v1 field to events.k8s.io/v1 field.
_EVENT_FIELDS: Final = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}


def _renamed(names: Mapping[str, str]) -> _Conversion:
    return lambda obj: {names.get(key, key): value for key, value in obj.items()}


# Autoscalers: the annotations in which v1 keeps what only v2 has fields for.
METRICS: Final = "autoscaling.alpha.kubernetes.io/metrics"
CURRENT_METRICS: Final = "autoscaling.alpha.kubernetes.io/current-metrics"
CONDITIONS: Final = "autoscaling.alpha.kubernetes.io/conditions"
BEHAVIOR: Final = "autoscaling.alpha.kubernetes.io/behavior"
DEFAULT_CPU_UTILIZATION: Final = 80

# The member of a metric that holds its source, by type.
_SOURCES: Final = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "External": "external",
}
# (v1 field, path in v2) of a source or status; "…" stands for target or current.
_METRIC_PATHS: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "Object": (
        ("target", ("describedObject",)),
        ("metricName", ("metric", "name")),
        ("selector", ("metric", "selector")),
        ("{}Value", ("…", "value")),
        ("averageValue", ("…", "averageValue")),
    ),
    "Pods": (
        ("metricName", ("metric", "name")),
        ("selector", ("metric", "selector")),
        ("{}AverageValue", ("…", "averageValue")),
    ),
    "Resource": (
        ("name", ("name",)),
        ("{}AverageUtilization", ("…", "averageUtilization")),
        ("{}AverageValue", ("…", "averageValue")),
    ),
    "ContainerResource": (
        ("name", ("name",)),
        ("container", ("container",)),
        ("{}AverageUtilization", ("…", "averageUtilization")),
        ("{}AverageValue", ("…", "averageValue")),
    ),
    "External": (
        ("metricName", ("metric", "name")),
        ("metricSelector", ("metric", "selector")),
        ("{}Value", ("…", "value")),
        ("{}AverageValue", ("…", "averageValue")),
    ),
}


def _metric_to_v1(metric: Object, part: str) -> Object:
    """A v2 metric as v1's annotation has it; `part` is "target" for a spec, "current" for a status."""
    kind = metric.get("type", "")
    source = metric.get(_SOURCES.get(kind, ""), {})
    flat: Object = {}
    for field, path in _METRIC_PATHS.get(kind, ()):
        value: Any = source
        for step in path:
            value = value.get(part if step == "…" else step) if isinstance(value, dict) else None
        if value is not None:
            flat[field.format(part)] = value
    return {"type": kind, _SOURCES.get(kind, "object"): flat}


def _metric_from_v1(metric: Object, part: str) -> Object:
    kind = metric.get("type", "")
    flat = metric.get(_SOURCES.get(kind, ""), {})
    source: Object = {}
    for field, path in _METRIC_PATHS.get(kind, ()):
        value = flat.get(field.format(part))
        if value is None:
            continue
        place = source
        for step in path[:-1]:
            place = place.setdefault(part if step == "…" else step, {})
        place[path[-1]] = value
    if part == "target" and kind in _SOURCES:
        source["target"] = {"type": _target_type(kind, source.get("target", {})), **source.get("target", {})}
    return {"type": kind, _SOURCES.get(kind, "object"): source}


def _target_type(kind: str, target: Object) -> str:
    if kind in ("Resource", "ContainerResource"):
        return "Utilization" if "averageUtilization" in target else "AverageValue"
    if kind == "Pods" or (kind == "Object" and "averageValue" in target):
        return "AverageValue"
    return "Value" if kind == "Object" or "value" in target else "AverageValue"


def _is_cpu_utilization(metric: Object, part: str) -> bool:
    resource = metric.get("resource") or {}
    return (
        metric.get("type") == "Resource"
        and resource.get("name") == "cpu"
        and (resource.get(part) or {}).get("averageUtilization") is not None
    )


def _autoscaler_to_v1(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    notes: dict[str, Any] = {}
    others = []
    for metric in spec.pop("metrics", None) or ():
        if _is_cpu_utilization(metric, "target"):
            spec["targetCPUUtilizationPercentage"] = metric["resource"]["target"]["averageUtilization"]
        else:
            others.append(_metric_to_v1(metric, "target"))
    notes[METRICS] = others
    notes[BEHAVIOR] = spec.pop("behavior", None)
    current = status.pop("currentMetrics", None) or ()
    for metric in current:
        if _is_cpu_utilization(metric, "current"):
            status["currentCPUUtilizationPercentage"] = metric["resource"]["current"]["averageUtilization"]
    notes[CURRENT_METRICS] = [_metric_to_v1(metric, "current") for metric in current]
    notes[CONDITIONS] = status.pop("conditions", None)
    added = {key: orjson.dumps(value).decode() for key, value in notes.items() if value}
    return _autoscaler(obj, spec, status, added)


def _autoscaler_from_v1(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    metrics = [_metric_from_v1(metric, "target") for metric in _noted_list(annotations, METRICS)]
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is None and not metrics:
        target = DEFAULT_CPU_UTILIZATION  # v1's implicit default, which v2 wants to see
    if target is not None:
        metrics.append(_cpu("target", {"type": "Utilization", "averageUtilization": target}))
    spec["metrics"] = metrics
    behavior = _noted(annotations, BEHAVIOR)
    if isinstance(behavior, dict):
        spec["behavior"] = behavior
    used = status.pop("currentCPUUtilizationPercentage", None)
    current = [_metric_from_v1(metric, "current") for metric in _noted_list(annotations, CURRENT_METRICS)]
    if not current and used is not None:
        current = [_cpu("current", {"averageUtilization": used})]
    if current:
        status["currentMetrics"] = current
    if conditions := _noted_list(annotations, CONDITIONS):
        status["conditions"] = conditions
    return _autoscaler(obj, spec, status, {})


def _cpu(part: str, value: Object) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", part: value}}


def _noted(annotations: Mapping[str, Any], key: str) -> Any:
    """What an annotation holds; None when it is not there or was broken by hand, as if it were not there."""
    try:
        return orjson.loads(annotations[key])
    except (KeyError, ValueError, TypeError):
        return None


def _noted_list(annotations: Mapping[str, Any], key: str) -> list[Object]:
    value = _noted(annotations, key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _autoscaler(obj: Object, spec: Object, status: Object, added: Mapping[str, str]) -> Object:
    """The object with another spec and status, and with these in place of the annotations of ours."""
    made = {**obj, "spec": spec}
    if status:
        made["status"] = status
    metadata = dict(obj.get("metadata") or {})
    old = metadata.pop("annotations", None) or {}
    ours = (METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR)
    annotations = {**{k: v for k, v in old.items() if k not in ours}, **added}
    if annotations:
        metadata["annotations"] = annotations
    if "metadata" in obj or metadata:
        made["metadata"] = metadata
    return made


_RULES: Final[dict[tuple[str, str, str], _Conversion]] = {
    ("Event", "v1", "events.k8s.io/v1"): _renamed(_EVENT_FIELDS),
    ("Event", "events.k8s.io/v1", "v1"): _renamed({new: old for old, new in _EVENT_FIELDS.items()}),
    ("HorizontalPodAutoscaler", "autoscaling/v2", "autoscaling/v1"): _autoscaler_to_v1,
    ("HorizontalPodAutoscaler", "autoscaling/v1", "autoscaling/v2"): _autoscaler_from_v1,
}
