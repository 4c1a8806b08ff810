"""DaemonSets: one pod on every node that fits.

The template's own generation is kept in an annotation, as upstream shows it in apps/v1.
Follows k8s.io/kubernetes ``pkg/registry/apps/daemonset/strategy.go`` and apps' ``ValidateDaemonSetSpec``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from shirube.api.errors import Cause
from shirube.api.kinds.workload import WorkloadStrategy
from shirube.api.strategy import Obj
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import invalid, not_supported, required
from shirube.api.validation.numbers import (
    is_zero,
    validate_at_most_all,
    validate_int_or_percent,
    validate_not_negative,
)
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.workload import (
    validate_always_running_template,
    validate_collisions,
    validate_selected_template,
    validate_selector,
)

_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_STATUS_NUMBERS = (
    "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
    "observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount",
)  # fmt: skip


class DaemonSetStrategy(WorkloadStrategy):
    initial_status: ClassVar[dict[str, Any]] = {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    }

    def default_spec(self, spec: Obj) -> None:
        strategy = spec.setdefault("updateStrategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", 1)
            rolling.setdefault("maxSurge", 0)
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["metadata"].setdefault("annotations", {}).setdefault(_TEMPLATE_GENERATION, "1")

    def prepare_for_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(obj, old)
        before = (old["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION, "1")
        generation = int(before) if before.isdigit() else 1
        if not semantic_equal(obj["spec"].get("template"), old["spec"].get("template")):
            generation += 1
        obj["metadata"].setdefault("annotations", {})[_TEMPLATE_GENERATION] = str(generation)

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_spec(causes, obj["spec"])
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate_spec(causes, obj["spec"])
        return causes + immutable(obj["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        status = obj.get("status") or {}
        validate_not_negative(causes, status, _STATUS_NUMBERS, "status")
        validate_collisions(causes, status, old.get("status") or {})
        return causes


def _validate_spec(causes: list[Cause], spec: Obj) -> None:
    if validate_selector(causes, spec, "daemonset", "spec"):
        validate_selected_template(causes, spec, "spec")
    validate_always_running_template(causes, spec["template"], "DaemonSet", "spec.template")
    validate_not_negative(causes, spec, ("minReadySeconds", "revisionHistoryLimit"), "spec")
    strategy = spec.get("updateStrategy") or {}
    kind, rolling, at = strategy.get("type", ""), strategy.get("rollingUpdate"), "spec.updateStrategy"
    if kind == "RollingUpdate":
        if rolling is None:
            causes.append(required(f"{at}.rollingUpdate"))
        else:
            _validate_rolling(causes, rolling, f"{at}.rollingUpdate")
    elif kind != "OnDelete":
        causes.append(not_supported(at, dict(strategy), ["RollingUpdate", "OnDelete"]))


def _validate_rolling(causes: list[Cause], rolling: Obj, path: str) -> None:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    for field, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        validate_int_or_percent(causes, value, f"{path}.{field}")
        validate_at_most_all(causes, value, f"{path}.{field}")
    if not is_zero(unavailable) and not is_zero(surge):
        causes.append(invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    if is_zero(unavailable) and is_zero(surge):
        causes.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
