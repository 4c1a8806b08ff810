"""StatefulSets: numbered replicas with a name and storage of their own.

Follows k8s.io/kubernetes ``pkg/registry/apps/statefulset/strategy.go`` and apps' ``ValidateStatefulSetSpec``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from shirube.api.errors import Cause
from shirube.api.kinds.persistent_volume_claim import default_claim
from shirube.api.kinds.workload import WorkloadStrategy
from shirube.api.strategy import Obj
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import forbidden, invalid, not_supported, required
from shirube.api.validation.numbers import (
    is_zero,
    validate_at_most_all,
    validate_int_or_percent,
    validate_not_negative,
)
from shirube.api.validation.object_meta import name_is_dns_label, validate_annotations, validate_labels
from shirube.api.validation.workload import (
    validate_collisions,
    validate_counts,
    validate_selected_template,
    validate_selector,
)

_MUTABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
_FORBIDDEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_COUNTS = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
_STATUS_NUMBERS = ("replicas", *_COUNTS, "observedGeneration", "collisionCount")


class StatefulSetStrategy(WorkloadStrategy):
    initial_status: ClassVar[dict[str, Any]] = {"replicas": 0, "availableReplicas": 0}
    name_rule = staticmethod(name_is_dns_label)

    def default_spec(self, spec: Obj) -> None:
        if not spec.get("podManagementPolicy"):
            spec["podManagementPolicy"] = "OrderedReady"
        strategy = spec.setdefault("updateStrategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
        retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        for field in ("whenDeleted", "whenScaled"):
            if not retention.get(field):
                retention[field] = "Retain"
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        spec.setdefault("serviceName", "")
        for claim in spec.get("volumeClaimTemplates") or ():
            claim.setdefault("apiVersion", "v1")
            claim.setdefault("kind", "PersistentVolumeClaim")
            claim.setdefault("metadata", {})
            default_claim(claim)
            claim.setdefault("status", {}).setdefault("phase", "Pending")

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_spec(causes, obj["spec"])
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate_spec(causes, obj["spec"])
        new_rest, old_rest = ({k: v for k, v in o["spec"].items() if k not in _MUTABLE} for o in (obj, old))
        if not semantic_equal(new_rest, old_rest):
            causes.append(forbidden("spec", _FORBIDDEN))
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        status = obj.get("status") or {}
        validate_not_negative(causes, status, _STATUS_NUMBERS, "status")
        validate_counts(causes, status, _COUNTS)
        validate_collisions(causes, status, old.get("status") or {})
        return causes


def _validate_spec(causes: list[Cause], spec: Obj) -> None:
    policy = spec.get("podManagementPolicy", "")
    if not policy:
        causes.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        detail = "must be 'OrderedReady' or 'Parallel'"
        causes.append(invalid("spec.podManagementPolicy", policy, detail))
    _validate_update_strategy(causes, spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        value = retention.get(field, "")
        if value not in ("Delete", "Retain"):
            at = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            causes.append(not_supported(at, value, ["Retain", "Delete"]))
    validate_not_negative(causes, spec, ("replicas", "minReadySeconds", "revisionHistoryLimit"), "spec")
    validate_not_negative(causes, spec.get("ordinals") or {}, ("start",), "spec.ordinals")
    if validate_selector(causes, spec, "statefulset", "spec"):
        validate_selected_template(causes, spec, "spec")
    _validate_template(causes, spec["template"], "spec.template")


def _validate_template(causes: list[Cause], template: Obj, path: str) -> None:
    """Upstream judges the pod spec when pods are made: mounts may name volumes that claims become."""
    metadata, pod = template.get("metadata") or {}, template.get("spec") or {}
    causes.extend(validate_labels(metadata.get("labels") or {}, f"{path}.labels"))
    causes.extend(validate_annotations(metadata.get("annotations") or {}, f"{path}.annotations"))
    policy = pod.get("restartPolicy", "")
    if policy != "Always":
        causes.append(not_supported(f"{path}.spec.restartPolicy", policy, ["Always"]))
    if pod.get("activeDeadlineSeconds") is not None:
        detail = "activeDeadlineSeconds in StatefulSet is not Supported"
        causes.append(forbidden(f"{path}.spec.activeDeadlineSeconds", detail))


def _validate_update_strategy(causes: list[Cause], strategy: Obj) -> None:
    at, kind, rolling = "spec.updateStrategy", strategy.get("type", ""), strategy.get("rollingUpdate")
    if not kind:
        causes.append(required(at))
    elif kind == "OnDelete":
        if rolling is not None:
            detail = "only allowed for updateStrategy 'RollingUpdate'"
            causes.append(invalid(f"{at}.rollingUpdate", rolling, detail))
    elif kind == "RollingUpdate":
        validate_not_negative(causes, rolling or {}, ("partition",), f"{at}.rollingUpdate")
        unavailable = (rolling or {}).get("maxUnavailable")
        if unavailable is not None:
            where = f"{at}.rollingUpdate.maxUnavailable"
            validate_int_or_percent(causes, unavailable, where)
            if is_zero(unavailable):
                causes.append(invalid(where, unavailable, "cannot be 0"))
            validate_at_most_all(causes, unavailable, where)
    else:
        causes.append(invalid(at, dict(strategy), "must be 'RollingUpdate' or 'OnDelete'"))
