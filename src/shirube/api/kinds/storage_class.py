"""StorageClasses and VolumeAttributesClasses: how volumes are made; mostly immutable.

Follows storage's ``ValidateStorageClass``, ``ValidateVolumeAttributesClass``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import forbidden, invalid, not_supported, required, too_long
from shirube.api.validation.object_meta import immutable

_MAX_PARAMETERS = 512
_MAX_SIZE = 256 * 1024
_RECLAIM = ["Delete", "Retain"]
_BINDING = ["Immediate", "WaitForFirstConsumer"]


class StorageClassStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        if not obj.get("reclaimPolicy"):
            obj["reclaimPolicy"] = "Delete"
        if not obj.get("volumeBindingMode"):
            obj["volumeBindingMode"] = "Immediate"

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        fixed = (
            ("parameters", "updates to parameters are forbidden."),
            ("provisioner", "updates to provisioner are forbidden."),
            ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
        )
        for field, detail in fixed:
            if not semantic_equal(obj.get(field), old.get(field)):
                causes.append(forbidden(field, detail))
        return causes + immutable(obj.get("volumeBindingMode"), old.get("volumeBindingMode"), "volumeBindingMode")


def _validate(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    provisioner = obj.get("provisioner", "")
    if not provisioner:
        causes.append(required("provisioner", ""))
    else:
        causes.extend(invalid("provisioner", provisioner, m) for m in names.is_qualified_name(provisioner.lower()))
    _validate_parameters(causes, obj.get("parameters") or {})
    if obj.get("reclaimPolicy") not in _RECLAIM:
        causes.append(not_supported("reclaimPolicy", obj.get("reclaimPolicy", ""), _RECLAIM))
    if obj.get("volumeBindingMode") not in _BINDING:
        causes.append(not_supported("volumeBindingMode", obj.get("volumeBindingMode", ""), _BINDING))
    for i, term in enumerate(obj.get("allowedTopologies") or ()):
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            at = f"allowedTopologies[{i}].matchLabelExpressions[{j}]"
            key = expression.get("key", "")
            causes.extend(invalid(f"{at}.key", key, m) for m in names.is_qualified_name(key))
            if not expression.get("values"):
                causes.append(required(f"{at}.values"))
    return causes


def _validate_parameters(causes: list[Cause], parameters: Obj) -> None:
    if len(parameters) > _MAX_PARAMETERS:
        causes.append(too_long("parameters", _MAX_PARAMETERS))
    if "" in parameters:
        causes.append(invalid("parameters", "", "field can not be empty."))
    if sum(len(k) + len(v) for k, v in parameters.items()) > _MAX_SIZE:
        causes.append(too_long("parameters", _MAX_SIZE))


class VolumeAttributesClassStrategy(Strategy):
    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        driver = obj.get("driverName", "")
        if not driver:
            causes.append(required("driverName"))
        else:
            causes.extend(invalid("driverName", driver, m) for m in names.is_dns1123_subdomain(driver.lower()))
        if not obj.get("parameters"):
            causes.append(required("parameters", "must contain at least one key/value pair"))
        _validate_parameters(causes, obj.get("parameters") or {})
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        for field in ("driverName", "parameters"):
            causes += immutable(obj.get(field), old.get(field), field)
        return causes
