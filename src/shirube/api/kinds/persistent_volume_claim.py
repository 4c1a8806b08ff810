"""PersistentVolumeClaims: storage that is asked for; immutable once bound but for its size.

Follows core's ``ValidatePersistentVolumeClaimUpdate``.
"""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.kinds.pod_defaults import canonical_resources
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.claim_spec import validate_claim_spec
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import forbidden, required
from shirube.api.validation.resource_requirements import parse_any, validate_quantity

_IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def default_claim(claim: Obj) -> None:
    """Also for claims inside StatefulSets."""
    spec = claim.setdefault("spec", {})
    if not spec.get("volumeMode"):
        spec["volumeMode"] = "Filesystem"
    resources = spec.setdefault("resources", {})
    canonical_resources(resources.get("requests"))
    canonical_resources(resources.get("limits"))
    _pair_data_sources(spec)


def _pair_data_sources(spec: Obj) -> None:
    """``dataSource`` and ``dataSourceRef`` say the same unless another namespace is meant."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif source is None and reference is not None and not reference.get("namespace"):
        group = reference.get("apiGroup") or ""
        kind = reference.get("kind")
        if (group, kind) in (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")):
            spec["dataSource"] = dict(reference)


class PersistentVolumeClaimStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        default_claim(obj)

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {"phase": "Pending"}

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        validate_claim_spec(causes, obj["spec"], "spec")
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        validate_claim_spec(causes, obj["spec"], "spec")
        _validate_spec_update(causes, obj["spec"], old["spec"], old.get("status") or {})
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        status = obj.get("status") or {}
        if old["spec"].get("resources") != obj["spec"].get("resources"):
            causes.append(forbidden("spec.resources", "may not be changed through the status"))
        for name, value in (status.get("capacity") or {}).items():
            causes.extend(validate_quantity(name, value, f"status.capacity[{name}]"))
        for i, condition in enumerate(status.get("conditions") or ()):
            if not condition.get("type"):
                causes.append(required(f"status.conditions[{i}].type"))
        return causes

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        # the old alias of metadata.name
        return {"name": obj["metadata"].get("name", "")}


def _validate_spec_update(causes: list[Cause], new: Obj, old: Obj, status: Obj) -> None:
    bound = status.get("phase") == "Bound"
    judged = ("resources", "volumeAttributesClassName")
    new_rest = {k: v for k, v in new.items() if k not in judged}
    old_rest = {k: v for k, v in old.items() if k not in judged}
    if not old_rest.get("volumeName"):
        # the binder sets the volume once
        old_rest["volumeName"] = new_rest.get("volumeName", "")
    if not old_rest.get("storageClassName") and new_rest.get("storageClassName"):
        # claims made before there was a default class get it later
        old_rest["storageClassName"] = new_rest["storageClassName"]
    if not semantic_equal(new_rest, old_rest):
        causes.append(forbidden("spec", _IMMUTABLE))
        return
    size = parse_any(((new.get("resources") or {}).get("requests") or {}).get("storage", "0"))
    before = parse_any(((old.get("resources") or {}).get("requests") or {}).get("storage", "0"))
    if size is None or before is None or size == before:
        return
    if not bound:
        causes.append(forbidden("spec", _IMMUTABLE))
    elif size < before:
        capacity = parse_any((status.get("capacity") or {}).get("storage", "0"))
        if capacity is None or size <= capacity:
            detail = "field can not be less than status.capacity"
            causes.append(forbidden("spec.resources.requests.storage", detail))
