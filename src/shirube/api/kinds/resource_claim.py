"""Devices: classes of them, claims to them, and what there is on each node.

Follows resource's defaults, ``ValidateResourceClaim``, ``ValidateDeviceClass`` and ``ValidateResourceSlice``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import duplicate, invalid, not_supported, required, too_many
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.volumes import validate_driver_name

_MODES = ["All", "ExactCount"]
_MAX_REQUESTS = 32
_MAX_DEVICES = 128


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


def _validate_claim_spec(causes: list[Cause], spec: Obj, path: str) -> None:
    requests = (spec.get("devices") or {}).get("requests") or []
    if len(requests) > _MAX_REQUESTS:
        causes.append(too_many(f"{path}.devices.requests", len(requests), _MAX_REQUESTS))
    seen = set()
    for i, request in enumerate(requests):
        at, name = f"{path}.devices.requests[{i}]", request.get("name", "")
        if not name:
            causes.append(required(f"{at}.name"))
        else:
            causes.extend(invalid(f"{at}.name", name, m) for m in names.is_dns1123_label(name))
        if name in seen:
            causes.append(duplicate(f"{at}.name", name))
        seen.add(name)
        exactly, choices = request.get("exactly"), request.get("firstAvailable")
        if (exactly is None) == (not choices):
            detail = "exactly one of `exactly` or `firstAvailable` is required"
            causes.append(required(at, detail) if exactly is None else invalid(at, "", detail))
        if exactly is not None:
            _validate_exact(causes, exactly, f"{at}.exactly")
        for j, choice in enumerate(choices or ()):
            _validate_exact(causes, choice, f"{at}.firstAvailable[{j}]")


def _validate_exact(causes: list[Cause], request: Obj, path: str) -> None:
    name, mode, count = request.get("deviceClassName", ""), request.get("allocationMode"), request.get("count", 0)
    if not name:
        causes.append(required(f"{path}.deviceClassName"))
    else:
        causes.extend(invalid(f"{path}.deviceClassName", name, m) for m in names.is_dns1123_subdomain(name))
    if mode not in _MODES:
        causes.append(not_supported(f"{path}.allocationMode", mode or "", _MODES))
    elif mode == "ExactCount" and count <= 0:
        causes.append(invalid(f"{path}.count", count, "must be greater than zero"))
    elif mode == "All" and count:
        detail = "must not be specified when allocationMode is 'All'"
        causes.append(invalid(f"{path}.count", count, detail))
    for i, selector in enumerate(request.get("selectors") or ()):
        if not (selector.get("cel") or {}).get("expression"):
            causes.append(required(f"{path}.selectors[{i}].cel.expression"))


class ResourceClaimStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        _default_claim(obj.setdefault("spec", {}))

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {}

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_claim_spec(causes, obj["spec"], "spec")
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        if not semantic_equal(obj.get("spec"), old.get("spec")):
            causes.append(invalid("spec", obj.get("spec"), "field is immutable"))
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        status, before = obj.get("status") or {}, old.get("status") or {}
        reserved = status.get("reservedFor") or []
        if reserved and status.get("allocation") is None:
            causes.append(invalid("status.reservedFor", reserved, "may not be specified when `allocated` is not set"))
        if before.get("allocation") is not None and status.get("allocation") is not None:
            causes += immutable(status["allocation"], before["allocation"], "status.allocation")
        return causes


class ResourceClaimTemplateStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("metadata", {})
        _default_claim(spec.setdefault("spec", {}))

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_claim_spec(causes, obj["spec"].get("spec") or {}, "spec.spec")
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        if not semantic_equal(obj.get("spec"), old.get("spec")):
            causes.append(invalid("spec", obj.get("spec"), "field is immutable"))
        return causes


class DeviceClassStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_selectors(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_selectors(obj["spec"])


def _validate_selectors(spec: Obj) -> list[Cause]:
    return [
        required(f"spec.selectors[{i}].cel.expression")
        for i, selector in enumerate(spec.get("selectors") or ())
        if not (selector.get("cel") or {}).get("expression")
    ]


class ResourceSliceStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_slice(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old) + _validate_slice(obj["spec"])
        spec, before = obj["spec"], old.get("spec") or {}
        for field in ("nodeName", "driver"):
            causes += immutable(spec.get(field), before.get(field), f"spec.{field}")
        pool, old_pool = spec.get("pool") or {}, before.get("pool") or {}
        return causes + immutable(pool.get("name"), old_pool.get("name"), "spec.pool.name")

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        spec = obj.get("spec") or {}
        return {"spec.nodeName": spec.get("nodeName", ""), "spec.driver": spec.get("driver", "")}


def _validate_slice(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    validate_driver_name(causes, spec.get("driver", ""), "spec.driver")
    pool = spec.get("pool") or {}
    if not pool.get("name"):
        causes.append(required("spec.pool.name"))
    if pool.get("resourceSliceCount", 0) <= 0:
        causes.append(
            invalid("spec.pool.resourceSliceCount", pool.get("resourceSliceCount", 0), "must be greater than zero")
        )
    where = [f for f in ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection") if spec.get(f)]
    if len(where) != 1:
        detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
        causes.append(required("spec", detail) if not where else invalid("spec", "{" + ", ".join(where) + "}", detail))
    devices, seen = spec.get("devices") or [], set()
    if len(devices) > _MAX_DEVICES:
        causes.append(too_many("spec.devices", len(devices), _MAX_DEVICES))
    for i, device in enumerate(devices):
        name = device.get("name", "")
        causes.extend(invalid(f"spec.devices[{i}].name", name, m) for m in names.is_dns1123_label(name))
        if name in seen:
            causes.append(duplicate(f"spec.devices[{i}].name", name))
        seen.add(name)
    return causes
