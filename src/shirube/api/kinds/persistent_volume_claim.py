"""PersistentVolumeClaims: storage that is asked for; immutable once bound but for its size.

Follows core's ``ValidatePersistentVolumeClaimUpdate``.
"""

from __future__ import annotations

from typing import Any

from shirube.api import names, quantity
from shirube.api.errors import Cause
from shirube.api.kinds.pod_defaults import canonical_resources
from shirube.api.quantity import Quantity
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.claim_spec import validate_claim_spec
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import forbidden, invalid, not_supported, required
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.resource_requirements import is_native, parse_any, validate_quantity

_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
_RESIZE_STATES = [
    "ControllerResizeFailed", "ControllerResizeInProgress", "NodeResizeFailed", "NodeResizeInProgress",
    "NodeResizePending",
]  # fmt: skip
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
        now, was = ((o["metadata"].get("annotations") or {}).get(_OLD_CLASS, "") for o in (obj, old))
        if now != was:
            causes.append(Cause.immutable(f"metadata.annotations.{_OLD_CLASS}", now))
        _validate_spec_update(causes, obj["spec"], old["spec"], old.get("status") or {}, was)
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        if not obj["metadata"].get("resourceVersion"):
            causes.append(required("resourceVersion"))
        if not obj["spec"].get("accessModes"):
            causes.append(required("Spec.accessModes"))
        _validate_status(causes, obj.get("status") or {})
        return causes

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        # the old alias of metadata.name
        return {"name": obj["metadata"].get("name", "")}


def _validate_status(causes: list[Cause], status: Obj) -> None:
    for name, value in (status.get("capacity") or {}).items():
        causes.extend(_not_negative(value, f"status.capacity[{name}]"))
    at = "status.allocatedResourceStatus"
    for name, state in (status.get("allocatedResourceStatuses") or {}).items():
        causes.extend(_validate_key(name, at))
        if state not in _RESIZE_STATES:
            causes.append(not_supported(at, name, _RESIZE_STATES))
    at = "status.allocatedResources"
    for name, value in (status.get("allocatedResources") or {}).items():
        causes.extend(_validate_key(name, at) or _not_negative(value, f"{at}[{name}]"))


def _not_negative(value: Any, path: str) -> list[Cause]:
    amount = parse_any(value)
    if amount is None:
        return validate_quantity("storage", value, path)
    return [invalid(path, quantity.value(amount), "must be a valid resource quantity")] if amount.nanos < 0 else []


def _validate_key(name: str, path: str) -> list[Cause]:
    """What is resized is storage, or something of somebody's own."""
    if messages := names.is_qualified_name(name):
        return [invalid(path, name, m) for m in messages]
    return [not_supported(path, name, ["storage"])] if is_native(name) and name != "storage" else []


def _validate_spec_update(causes: list[Cause], new: Obj, old: Obj, status: Obj, old_class: str) -> None:
    new_rest = {k: v for k, v in new.items() if k != "volumeAttributesClassName"}
    old_rest = {k: v for k, v in old.items() if k != "volumeAttributesClassName"}
    if not old_rest.get("volumeName"):
        # the binder sets the volume once
        old_rest["volumeName"] = new_rest.get("volumeName", "")
    wanted = new_rest.get("storageClassName")
    if old_rest.get("storageClassName") is None and wanted is not None and old_class in ("", wanted):
        # claims made before there was a default class get it later
        old_rest["storageClassName"] = wanted
    size, before = (_storage(o) for o in (new, old))
    if status.get("phase") == "Bound":
        new_rest["resources"] = _with_storage(new_rest.get("resources") or {}, old)
    if not semantic_equal(new_rest, old_rest):
        causes.append(forbidden("spec", _IMMUTABLE))
    if size is not None and before is not None and size < before:
        capacity = parse_any((status.get("capacity") or {}).get("storage", "0"))
        if capacity is None or size <= capacity:
            detail = "field can not be less than status.capacity"
            causes.append(forbidden("spec.resources.requests.storage", detail))
    now, was, at = (
        new.get("volumeAttributesClassName"),
        old.get("volumeAttributesClassName"),
        "spec.volumeAttributesClassName",
    )
    if was is not None and now is None:
        causes.append(forbidden(at, "update from non-nil value to nil is forbidden"))
    elif was and not now:
        causes.append(forbidden(at, "update from non-nil value to an empty string is forbidden"))
    causes += immutable(new.get("volumeMode"), old.get("volumeMode"), "volumeMode")


def _storage(spec: Obj) -> Quantity | None:
    return parse_any(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))


def _with_storage(resources: Obj, old: Obj) -> Obj:
    """The new resources with the old size: the one thing that a bound claim may change there."""
    if resources.get("requests") is None:
        return resources
    size = ((old.get("resources") or {}).get("requests") or {}).get("storage")
    return {**resources, "requests": {**resources["requests"], "storage": size}}
