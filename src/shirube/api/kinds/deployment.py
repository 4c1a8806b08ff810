"""Deployments: replicas that are rolled from one template to the next.

Follows k8s.io/kubernetes ``pkg/registry/apps/deployment/strategy.go`` and apps' ``ValidateDeploymentSpec``.
"""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.kinds.workload import WorkloadStrategy, keep_labels
from shirube.api.strategy import Obj
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import forbidden, invalid, not_supported, required
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
    validate_counts,
    validate_selected_template,
    validate_selector,
)

_COUNTS = ("updatedReplicas", "readyReplicas", "availableReplicas")
_STATUS_NUMBERS = (
    "observedGeneration",
    "replicas",
    *_COUNTS,
    "unavailableReplicas",
    "terminatingReplicas",
    "collisionCount",
)


class DeploymentStrategy(WorkloadStrategy):
    def default_spec(self, spec: Obj) -> None:
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        strategy = spec.setdefault("strategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        if spec.get("progressDeadlineSeconds") is None:
            spec["progressDeadlineSeconds"] = 600

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        # annotations are copied to replica sets, so the controller has to look again
        return super().spec_changed(obj, old) or not semantic_equal(
            obj["metadata"].get("annotations"), old["metadata"].get("annotations")
        )

    def prepare_for_status_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_status_update(obj, old)
        keep_labels(obj, old)

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
        validate_counts(causes, status, _COUNTS)
        validate_collisions(causes, status, old.get("status") or {})
        return causes


def _validate_spec(causes: list[Cause], spec: Obj) -> None:
    validate_not_negative(causes, spec, ("replicas",), "spec")
    if validate_selector(causes, spec, "deployment", "spec"):
        validate_selected_template(causes, spec, "spec")
    # upstream judges the template with the rules of the ReplicaSets that it becomes, and says so
    validate_always_running_template(causes, spec["template"], "ReplicaSet", "spec.template")
    _validate_strategy(causes, spec.get("strategy") or {}, "spec.strategy")
    fields = ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    validate_not_negative(causes, spec, fields, "spec")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        causes.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))


def _validate_strategy(causes: list[Cause], strategy: Obj, path: str) -> None:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    at = f"{path}.rollingUpdate"
    if kind == "Recreate":
        if rolling is not None:
            causes.append(forbidden(at, "may not be specified when strategy `type` is 'Recreate'"))
    elif kind == "RollingUpdate":
        if rolling is None:
            causes.append(required(at, "this should be defaulted and never be nil"))
        else:
            _validate_rolling(causes, rolling, at)
    else:
        causes.append(not_supported(path, dict(strategy), ["Recreate", "RollingUpdate"]))


def _validate_rolling(causes: list[Cause], rolling: Obj, path: str) -> None:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    validate_int_or_percent(causes, unavailable, f"{path}.maxUnavailable")
    validate_int_or_percent(causes, surge, f"{path}.maxSurge")
    if is_zero(unavailable) and is_zero(surge):
        causes.append(invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    validate_at_most_all(causes, unavailable, f"{path}.maxUnavailable")
