"""PersistentVolumes: storage that is there, from exactly one source that does not change.

Follows core's ``ValidatePersistentVolume`` and ``ValidatePersistentVolumeUpdate``.
"""

from __future__ import annotations

import posixpath

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.kinds.pod_defaults import canonical_resources
from shirube.api.kinds.volume_defaults import default_source
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.claim_spec import VOLUME_MODES, validate_access_modes, validate_capacity
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import forbidden, invalid, not_supported, required
from shirube.api.validation.labels import validate_node_selector
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.persistent_sources import sources_of, validate_persistent_source

_EXPAND = "controllerExpandSecretRef"
_OFFICIAL = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}
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
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": obj["metadata"].get("creationTimestamp")}

    keeps_times = True

    def stamp(self, obj: Obj, old: Obj, now: str) -> None:
        """Since when it has been in its phase, unless the writer says so."""
        status, before = obj.get("status") or {}, old.get("status") or {}
        since = status.get("lastPhaseTransitionTime")
        if status.get("phase") != before.get("phase") and since in (None, before.get("lastPhaseTransitionTime")):
            status["lastPhaseTransitionTime"] = now

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_spec(causes, obj["spec"], obj["metadata"].get("name", ""))
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        spec, before = obj["spec"], old["spec"]
        _validate_spec(causes, spec, obj["metadata"].get("name", ""))
        if not semantic_equal(_judged_sources(spec, before), _judged_sources(before, before)):
            detail = "spec.persistentvolumesource is immutable after creation"
            causes.append(forbidden("spec.persistentvolumesource", detail))
        causes += immutable(spec.get("volumeMode"), before.get("volumeMode"), "volumeMode")
        if before.get("nodeAffinity") is not None and not _same_affinity(
            spec.get("nodeAffinity"), before["nodeAffinity"]
        ):
            detail = "field is immutable, except for updating from beta label to GA"
            causes.append(invalid("nodeAffinity", spec.get("nodeAffinity"), detail))
        if before.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
            causes.append(forbidden("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden"))
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        if not obj["metadata"].get("resourceVersion"):
            causes.append(required("resourceVersion"))
        return causes

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"name": obj["metadata"].get("name", "")}


def _judged_sources(spec: Obj, before: Obj) -> Obj:
    """The sources of a spec; the secret that expands a CSI volume may be set once."""
    sources = {field: spec[field] for field in sources_of(spec)}
    csi = sources.get("csi")
    if csi is not None and (before.get("csi") or {}).get(_EXPAND) is None:
        sources["csi"] = {k: v for k, v in csi.items() if k != _EXPAND}
    return sources


def _same_affinity(new: Obj | None, old: Obj) -> bool:
    """Equal, but for keys of labels that have become official names since."""
    terms = ((o or {}).get("required") or {} for o in (new, old))
    now, was = ([_renamed(t) for t in o.get("nodeSelectorTerms") or ()] for o in terms)
    return semantic_equal(now, was)


def _renamed(term: Obj) -> Obj:
    expressions = [
        {**e, "key": _OFFICIAL.get(e.get("key", ""), e.get("key"))} for e in term.get("matchExpressions") or ()
    ]
    return {**term, "matchExpressions": expressions}


def _validate_spec(causes: list[Cause], spec: Obj, name: str) -> None:
    validate_access_modes(causes, spec.get("accessModes") or [], "spec.accessModes", "")
    capacity = spec.get("capacity") or {}
    if not capacity:
        causes.append(required("spec.capacity"))
    if "storage" not in capacity or len(capacity) > 1:
        causes.append(not_supported("spec.capacity", capacity, ["storage"]))
    for resource, value in capacity.items():
        causes.extend(validate_capacity(value, f"spec.capacity[{resource}]"))
    policy = spec.get("persistentVolumeReclaimPolicy", "")
    if policy and policy not in _RECLAIM:
        causes.append(not_supported("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM))
    if (affinity := spec.get("nodeAffinity")) is not None:
        if affinity.get("required") is None:
            causes.append(required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            causes.extend(validate_node_selector(affinity["required"], "spec.nodeAffinity.required"))
    validate_persistent_source(causes, spec, "spec", name)
    path = (spec.get("hostPath") or {}).get("path")
    if path and posixpath.normpath(path) == "/" and policy == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        causes.append(forbidden("spec.persistentVolumeReclaimPolicy", detail))
    if storage_class := spec.get("storageClassName"):
        at = "spec.storageClassName"
        causes.extend(invalid(at, storage_class, m) for m in names.is_dns1123_subdomain(storage_class))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        causes.append(not_supported("spec.volumeMode", mode, VOLUME_MODES))
    if (attributes := spec.get("volumeAttributesClassName")) is not None:
        at = "spec.volumeAttributesClassName"
        if not attributes:
            causes.append(required(at, "an empty string is disallowed"))
        else:
            causes.extend(invalid(at, attributes, m) for m in names.is_dns1123_subdomain(attributes))
        if spec.get("csi") is None:
            causes.append(required("spec.csi", "has to be specified when using volumeAttributesClassName"))
