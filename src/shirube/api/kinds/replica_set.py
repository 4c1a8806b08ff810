"""ReplicaSets and ReplicationControllers: as many pods of one template as asked for.

Follows k8s.io/kubernetes ``pkg/registry/apps/replicaset``, ``pkg/registry/core/replicationcontroller``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from shirube.api.errors import Cause
from shirube.api.kinds.workload import WorkloadStrategy
from shirube.api.strategy import Obj
from shirube.api.validation.field import invalid, required
from shirube.api.validation.numbers import validate_not_negative
from shirube.api.validation.object_meta import immutable, validate_labels
from shirube.api.validation.workload import (
    DOES_NOT_MATCH,
    validate_always_running_template,
    validate_counts,
    validate_selected_template,
    validate_selector,
)

_COUNTS = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
_STATUS_NUMBERS = ("replicas", *_COUNTS, "observedGeneration")


class _Replicas(WorkloadStrategy):
    initial_status: ClassVar[dict[str, Any]] = {"replicas": 0}

    def default_spec(self, spec: Obj) -> None:
        if spec.get("replicas") is None:
            spec["replicas"] = 1

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        status = obj.get("status") or {}
        validate_not_negative(causes, status, _STATUS_NUMBERS, "status")
        validate_counts(causes, status, _COUNTS)
        return causes


def _validate_replica_set_spec(causes: list[Cause], spec: Obj) -> None:
    validate_not_negative(causes, spec, ("replicas", "minReadySeconds"), "spec")
    if validate_selector(causes, spec, "deployment", "spec"):
        validate_selected_template(causes, spec, "spec")
    validate_always_running_template(causes, spec["template"], "ReplicaSet", "spec.template")


class ReplicaSetStrategy(_Replicas):
    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_replica_set_spec(causes, obj["spec"])
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate_replica_set_spec(causes, obj["spec"])
        return causes + immutable(obj["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"status.replicas": str((obj.get("status") or {}).get("replicas", 0))}


def _validate_controller_spec(causes: list[Cause], spec: Obj) -> None:
    validate_not_negative(causes, spec, ("minReadySeconds",), "spec")
    selector = spec.get("selector") or {}
    if not selector:
        causes.append(required("spec.selector"))
    causes.extend(validate_labels(selector, "spec.selector"))
    validate_not_negative(causes, spec, ("replicas",), "spec")
    labels = spec["template"]["metadata"].get("labels") or {}
    if any(labels.get(k) != v for k, v in selector.items()):
        causes.append(invalid("spec.template.metadata.labels", dict(labels), DOES_NOT_MATCH))
    validate_always_running_template(causes, spec["template"], "ReplicationController", "spec.template")


class ReplicationControllerStrategy(_Replicas):
    default_propagation = "Orphan"  # what it was before there was a garbage collector

    def default(self, obj: Obj) -> None:
        super().default(obj)
        spec = obj["spec"]
        labels = spec["template"]["metadata"].get("labels")
        if labels:
            if not spec.get("selector"):
                spec["selector"] = dict(labels)
            if not obj["metadata"].get("labels"):
                obj["metadata"]["labels"] = dict(labels)

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_controller_spec(causes, obj["spec"])
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate_controller_spec(causes, obj["spec"])
        return causes

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"status.replicas": str((obj.get("status") or {}).get("replicas", 0))}
