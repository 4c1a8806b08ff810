"""Devices: classes of them, claims to them, and what there is on each node.

Follows resource's defaults, ``ValidateResourceClaim``, ``ValidateDeviceClass`` and ``ValidateResourceSlice``.
"""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.device_claims import (
    listed,
    same_spec,
    validate_claim_status,
    validate_configuration,
    validate_device_claim,
    validate_device_selectors,
)
from shirube.api.validation.device_slices import validate_slice
from shirube.api.validation.field import invalid
from shirube.api.validation.object_meta import validate_template_metadata
from shirube.api.validation.resource_requirements import is_extended

_MAX_CONFIG = 32


def _default_claim(spec: Obj) -> None:
    for request in (spec.get("devices") or {}).get("requests") or ():
        for one in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if one is None:
                continue
            one.setdefault("allocationMode", "ExactCount")
            if one["allocationMode"] == "ExactCount":
                one.setdefault("count", 1)
            for toleration in one.get("tolerations") or ():
                toleration.setdefault("operator", "Equal")


class ResourceClaimStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        _default_claim(obj.setdefault("spec", {}))

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {}

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        validate_device_claim(causes, obj["spec"].get("devices") or {}, "spec.devices")
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + same_spec(obj, old)

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_status_update(obj, old) + validate_claim_status(obj, old)


class ResourceClaimTemplateStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("metadata", {})
        _default_claim(spec.setdefault("spec", {}))

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        validate_template_metadata(causes, obj["spec"].get("metadata") or {}, "spec.metadata")
        devices = (obj["spec"].get("spec") or {}).get("devices") or {}
        validate_device_claim(causes, devices, "spec.spec.devices")
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + same_spec(obj, old)


class DeviceClassStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_class(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_class(obj["spec"])


def _validate_class(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    validate_device_selectors(causes, spec.get("selectors") or [], "spec.selectors")
    configs = spec.get("config") or []
    if listed(causes, configs, _MAX_CONFIG, "spec.config"):
        for i, config in enumerate(configs):
            validate_configuration(causes, config, f"spec.config[{i}]")
    name = spec.get("extendedResourceName")
    if name is not None and not is_extended(name):
        causes.append(invalid("spec.extendedResourceName", name, "must be a valid extended resource name"))
    return causes


class ResourceSliceStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + validate_slice(obj["spec"], None)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + validate_slice(obj["spec"], old.get("spec") or {})

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        spec = obj.get("spec") or {}
        return {"spec.nodeName": spec.get("nodeName", ""), "spec.driver": spec.get("driver", "")}
