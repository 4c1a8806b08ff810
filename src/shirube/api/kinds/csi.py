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
from shirube.api.validation.field import duplicate, forbidden, invalid, not_supported, required, too_long
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.persistent_sources import validate_inline_spec
from shirube.api.validation.resource_requirements import validate_quantity
from shirube.api.validation.volumes import validate_driver_name

_MAX_NODE_ID = 256
_MAX_METADATA = 256 * 1024
_MAX_ERROR = 1024
_GROUP_POLICIES = ["File", "None", "ReadWriteOnceWithFSType"]
_MODES = ["Persistent", "Ephemeral"]


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
        return super().validate(obj) + _validate_driver(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old) + _validate_driver(obj["spec"])
        spec, before = obj["spec"], old.get("spec") or {}
        # upstream reports the first one under another name
        causes += immutable(spec.get("attachRequired"), before.get("attachRequired"), "spec.attachedRequired")
        at = "spec.volumeLifecycleModes"
        return causes + immutable(spec.get("volumeLifecycleModes"), before.get("volumeLifecycleModes"), at)


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
            continue
        seen.add(audience)
        if seconds is not None and seconds < 600:
            detail = "may not specify a duration less than 10 minutes"
            causes.append(invalid(f"{at}.expirationSeconds", seconds, detail))
        if seconds is not None and seconds > 1 << 32:
            detail = "may not specify a duration larger than 2^32 seconds"
            causes.append(invalid(f"{at}.expirationSeconds", seconds, detail))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        at = "spec.nodeAllocatableUpdatePeriodSeconds"
        causes.append(invalid(at, period, "must be greater than or equal to 10 seconds"))
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
        elif len(driver["nodeID"]) > _MAX_NODE_ID:
            causes.append(invalid(f"{at}.nodeID", driver["nodeID"], f"must be {_MAX_NODE_ID} characters or less"))
        count = (driver.get("allocatable") or {}).get("count")
        if count is not None and count < 0:
            causes.append(invalid(f"{at}.allocatable.count", count, "must be greater than or equal to 0"))
        if name in seen:
            causes.append(duplicate(f"{at}.name", name))
        seen.add(name)
        keys = driver.get("topologyKeys") or []
        for j, key in enumerate(keys):
            if not key:
                causes.append(required(at))
            if key in keys[:j]:
                causes.append(duplicate(at, key))
            causes.extend(invalid(at, key, m) for m in names.is_qualified_name(key))
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
        if obj.get("capacity") is not None:
            causes.extend(validate_quantity("storage", obj["capacity"], "capacity"))
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
        causes += _validate_attachment(obj)
        validate_driver_name(causes, spec.get("attacher", ""), "spec.attacher")
        volume = (spec.get("source") or {}).get("persistentVolumeName")
        if volume is not None:
            at = "spec.source.persistentVolumeName"
            causes.extend(invalid(at, volume, m) for m in names.is_dns1123_subdomain(volume))
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old) + _validate_attachment(obj)
        if not semantic_equal(obj.get("spec"), old.get("spec")):
            causes.append(invalid("spec", obj.get("spec"), "field is immutable"))
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return self.validate_update(obj, old)


def _validate_attachment(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if not spec.get("attacher"):
        causes.append(required("spec.attacher"))
    _validate_attached(causes, spec.get("source") or {}, "spec.source")
    node = spec.get("nodeName", "")
    causes.extend(invalid("spec.nodeName", node, m) for m in names.is_dns1123_subdomain(node))
    if sum(len(k) + len(v) for k, v in (status.get("attachmentMetadata") or {}).items()) > _MAX_METADATA:
        causes.append(too_long("status.attachmentMetadata", _MAX_METADATA))
    for field in ("attachError", "detachError"):
        error = status.get(field) or {}
        if len(error.get("message", "")) > _MAX_ERROR:
            causes.append(too_long(f"status.{field}.message", _MAX_METADATA))
        if (code := error.get("errorCode")) is not None and code < 0:
            causes.append(invalid(f"status.{field}.errorCode", code, names.between(0, 2**31 - 1)))
    return causes


def _validate_attached(causes: list[Cause], source: Obj, path: str) -> None:
    name, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    which = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and name is None:
        causes.append(required(path, which))
    elif inline is not None and name is not None:
        causes.append(forbidden(path, which))
    elif inline is not None:
        validate_inline_spec(causes, inline, f"{path}.inlineVolumeSpec")
    elif not name:
        causes.append(required(f"{path}.persistentVolumeName", "must specify non empty persistentVolumeName"))
