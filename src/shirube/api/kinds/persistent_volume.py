"""PersistentVolumes: storage that is there, from exactly one source that does not change.

Follows core's ``ValidatePersistentVolume`` and ``ValidatePersistentVolumeUpdate``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.kinds.pod_defaults import canonical_resources
from shirube.api.kinds.volume_defaults import default_source
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.claim_spec import VOLUME_MODES, validate_access_modes
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import forbidden, invalid, not_supported, required
from shirube.api.validation.labels import validate_node_selector
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.paths import validate_no_backsteps
from shirube.api.validation.resource_requirements import validate_quantity
from shirube.api.validation.volumes import SOURCES, validate_driver_name

_RECLAIM = ["Delete", "Recycle", "Retain"]


class PersistentVolumeStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("persistentVolumeReclaimPolicy"):
            spec["persistentVolumeReclaimPolicy"] = "Retain"
        if not spec.get("volumeMode"):
            spec["volumeMode"] = "Filesystem"
        canonical_resources(spec.get("capacity"))
        default_source(spec)

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {"phase": "Pending"}

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_spec(causes, obj["spec"])
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        spec, before = obj["spec"], old["spec"]
        _validate_spec(causes, spec)
        for field in _sources(spec) | _sources(before):
            if not semantic_equal(spec.get(field), before.get(field)) and field != "csi":
                detail = "spec.persistentvolumesource is immutable after creation"
                causes.append(forbidden("spec.persistentvolumesource", detail))
                break
        causes += immutable(spec.get("volumeMode"), before.get("volumeMode"), "spec.volumeMode")
        if before.get("nodeAffinity") is not None:
            causes += immutable(spec.get("nodeAffinity"), before.get("nodeAffinity"), "spec.nodeAffinity")
        return causes

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"name": obj["metadata"].get("name", "")}


def _sources(spec: Obj) -> set[str]:
    return {f for f in spec if f in SOURCES or f == "local"}


def _validate_spec(causes: list[Cause], spec: Obj) -> None:
    validate_access_modes(causes, spec.get("accessModes") or [], "spec.accessModes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        causes.append(required("spec.capacity"))
    elif "storage" not in capacity or len(capacity) > 1:
        causes.append(not_supported("spec.capacity", capacity, ["storage"]))
    for name, value in capacity.items():
        found = validate_quantity(name, value, f"spec.capacity[{name}]")
        if not found and str(value) == "0":
            found = [invalid(f"spec.capacity[{name}]", str(value), "must be greater than zero")]
        causes.extend(found)
    policy = spec.get("persistentVolumeReclaimPolicy", "")
    if policy and policy not in _RECLAIM:
        causes.append(not_supported("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM))
    if affinity := (spec.get("nodeAffinity") or {}).get("required"):
        causes.extend(validate_node_selector(affinity, "spec.nodeAffinity.required"))
    _validate_source(causes, spec)
    if name := spec.get("storageClassName"):
        causes.extend(invalid("spec.storageClassName", name, m) for m in names.is_dns1123_subdomain(name))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        causes.append(not_supported("spec.volumeMode", mode, VOLUME_MODES))


def _validate_source(causes: list[Cause], spec: Obj) -> None:
    found = sorted(_sources(spec))
    if not found:
        causes.append(required("spec", "must specify a volume type"))
        return
    for field in found[1:]:
        causes.append(forbidden(f"spec.{field}", "may not specify more than 1 volume type"))
    field, source = found[0], spec[found[0]]
    at = f"spec.{field}"
    if field == "local":
        if not source.get("path"):
            causes.append(required(f"{at}.path"))
        else:
            validate_no_backsteps(causes, source["path"], f"{at}.path")
        if not (spec.get("nodeAffinity") or {}).get("required"):
            causes.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    elif field == "csi":
        validate_driver_name(causes, source.get("driver", ""), f"{at}.driver")
        if not source.get("volumeHandle"):
            causes.append(required(f"{at}.volumeHandle"))
    else:
        SOURCES[field](causes, source, at)
    path = (spec.get("hostPath") or {}).get("path")
    if path == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        causes.append(forbidden("spec.persistentVolumeReclaimPolicy", detail))
