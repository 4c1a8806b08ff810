"""StorageClasses and VolumeAttributesClasses: how volumes are made; mostly immutable.

Follows storage's ``ValidateStorageClass``, ``ValidateVolumeAttributesClass``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import duplicate, forbidden, invalid, not_supported, required, too_long
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
        provisioner = provisioner.lower()
        causes.extend(invalid("provisioner", provisioner, m) for m in names.is_qualified_name(provisioner))
    _validate_parameters(causes, obj.get("parameters") or {})
    if obj.get("reclaimPolicy") not in _RECLAIM:
        causes.append(not_supported("reclaimPolicy", obj.get("reclaimPolicy", ""), _RECLAIM))
    if obj.get("volumeBindingMode") not in _BINDING:
        causes.append(not_supported("volumeBindingMode", obj.get("volumeBindingMode", ""), _BINDING))
    _validate_topologies(causes, obj.get("allowedTopologies") or [])
    return causes


def _validate_topologies(causes: list[Cause], terms: list[Obj]) -> None:
    """Every term once, every key of a term once, every value of a key once."""
    seen: list[dict[str, set[str]]] = []
    for i, term in enumerate(terms):
        keys: dict[str, set[str]] = {}
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            at = f"allowedTopologies[{i}].matchLabelExpressions[{j}]"
            key, values = expression.get("key", ""), expression.get("values") or []
            if not values:
                causes.append(required(f"{at}.values"))
            for k, value in enumerate(values):
                if value in values[:k]:
                    causes.append(duplicate(f"{at}.values[{k}]", value))
            causes.extend(invalid(f"{at}.key", key, m) for m in names.is_qualified_name(key))
            if key in keys:
                causes.append(duplicate(f"{at}.key", key))
            keys[key] = set(values)
        if keys in seen:
            causes.append(duplicate(f"allowedTopologies[{i}].matchLabelExpressions", ""))
        seen.append(keys)


def _validate_parameters(causes: list[Cause], parameters: Obj, *, allow_empty: bool = True) -> None:
    if len(parameters) > _MAX_PARAMETERS:
        causes.append(too_long("parameters", _MAX_PARAMETERS))
        return
    if not parameters and not allow_empty:
        causes.append(required("parameters", "must contain at least one key/value pair"))
    if "" in parameters:
        causes.append(invalid("parameters", "", "field can not be empty."))
    if sum(len(k) + len(v) for k, v in parameters.items()) > _MAX_SIZE:
        causes.append(too_long("parameters", _MAX_SIZE))


class VolumeAttributesClassStrategy(Strategy):
    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_attributes(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        for field in ("driverName", "parameters"):
            if not semantic_equal(obj.get(field), old.get(field)):
                causes.append(forbidden(field, f"updates to {field} are forbidden."))
        return causes + _validate_attributes(obj)


def _validate_attributes(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    driver = obj.get("driverName", "")
    if not driver:
        causes.append(required("driverName"))
    else:
        causes.extend(invalid("driverName", driver.lower(), m) for m in names.is_qualified_name(driver.lower()))
    _validate_parameters(causes, obj.get("parameters") or {}, allow_empty=False)
    return causes
