"""CSI drivers, the nodes that have them, what they can store, and which volume is attached where.

Follows storage's ``ValidateCSIDriver``, ``ValidateCSINode``, ``ValidateCSIStorageCapacity``,
``ValidateVolumeAttachment``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.kinds.pod_defaults import canonical_text
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import duplicate, forbidden, invalid, not_supported, required
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.resource_requirements import validate_quantity
from shirube.api.validation.volumes import validate_driver_name

_GROUP_POLICIES = ["File", "None", "ReadWriteOnceWithFSType"]
_MODES = ["Ephemeral", "Persistent"]


class CSIDriverStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        for field, value in (
            ("attachRequired", True),
            ("podInfoOnMount", False),
            ("storageCapacity", False),
            ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
            ("requiresRepublish", False),
            ("seLinuxMount", False),
        ):
            if spec.get(field) is None:
                spec[field] = value
        if not spec.get("volumeLifecycleModes"):
            spec["volumeLifecycleModes"] = ["Persistent"]

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        validate_driver_name(causes, obj["metadata"].get("name", ""), "name")
        return causes + _validate_driver(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old) + _validate_driver(obj["spec"])
        spec, before = obj["spec"], old.get("spec") or {}
        for field in ("attachRequired", "volumeLifecycleModes"):
            causes += immutable(spec.get(field), before.get(field), f"spec.{field}")
        return causes


def _validate_driver(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    if spec.get("fsGroupPolicy") not in _GROUP_POLICIES:
        causes.append(not_supported("spec.fsGroupPolicy", spec.get("fsGroupPolicy", ""), _GROUP_POLICIES))
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in _MODES:
            causes.append(not_supported("spec.volumeLifecycleModes", mode, _MODES))
    seen = set()
    for i, token in enumerate(spec.get("tokenRequests") or ()):
        at, audience, seconds = f"spec.tokenRequests[{i}]", token.get("audience", ""), token.get("expirationSeconds")
        if audience in seen:
            causes.append(duplicate(f"{at}.audience", audience))
        seen.add(audience)
        if seconds is not None and seconds < 600:
            detail = "may not specify a duration less than 10 minutes"
            causes.append(invalid(f"{at}.expirationSeconds", seconds, detail))
    return causes


class CSINodeStrategy(Strategy):
    allow_unconditional_update = False

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {}).setdefault("drivers", [])

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_node(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old) + _validate_node(obj["spec"])
        now = {d.get("name"): d for d in obj["spec"].get("drivers") or ()}
        for driver in (old.get("spec") or {}).get("drivers") or ():
            changed = now.get(driver.get("name"))
            if changed is not None and not semantic_equal(
                {**changed, "allocatable": None}, {**driver, "allocatable": None}
            ):
                causes.append(invalid("spec.drivers", changed, "field is immutable"))
        return causes


def _validate_node(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    seen = set()
    for i, driver in enumerate(spec.get("drivers") or ()):
        at, name = f"spec.drivers[{i}]", driver.get("name", "")
        validate_driver_name(causes, name, f"{at}.name")
        if not driver.get("nodeID"):
            causes.append(required(f"{at}.nodeID"))
        count = (driver.get("allocatable") or {}).get("count")
        if count is not None and count < 0:
            causes.append(invalid(f"{at}.allocatable.count", count, "must be greater than or equal to 0"))
        if name in seen:
            causes.append(duplicate(f"{at}.name", name))
        seen.add(name)
        for key in driver.get("topologyKeys") or ():
            causes.extend(invalid(f"{at}.topologyKeys", key, m) for m in names.is_qualified_name(key))
    return causes


class CSIStorageCapacityStrategy(Strategy):
    allow_unconditional_update = False

    def default(self, obj: Obj) -> None:
        for field in ("capacity", "maximumVolumeSize"):
            if obj.get(field) is not None:
                obj[field] = canonical_text(str(obj[field]))

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        name = obj.get("storageClassName", "")
        causes.extend(invalid("storageClassName", name, m) for m in names.is_dns1123_subdomain(name))
        causes.extend(validate_label_selector(obj.get("nodeTopology"), "nodeTopology"))
        for field in ("capacity", "maximumVolumeSize"):
            if obj.get(field) is not None:
                causes.extend(validate_quantity("storage", obj[field], field))
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        for field in ("nodeTopology", "storageClassName"):
            causes += immutable(obj.get(field), old.get(field), field)
        return causes


class VolumeAttachmentStrategy(Strategy):
    allow_unconditional_update = False

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {"attached": False}

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        spec = obj.get("spec") or {}
        validate_driver_name(causes, spec.get("attacher", ""), "spec.attacher")
        source = spec.get("source") or {}
        name, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
        if inline is None and name is None:
            causes.append(
                required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
            )
        elif inline is not None and name is not None:
            detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
            causes.append(forbidden("spec.source", detail))
        node = spec.get("nodeName", "")
        causes.extend(invalid("spec.nodeName", node, m) for m in names.is_dns1123_subdomain(node))
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        if not semantic_equal(obj.get("spec"), old.get("spec")):
            causes.append(invalid("spec", obj.get("spec"), "field is immutable"))
        return causes
