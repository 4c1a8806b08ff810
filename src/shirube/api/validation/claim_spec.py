"""Validation of a claim's spec, shared by PersistentVolumeClaims, StatefulSets and ephemeral volumes.

Follows core's ``ValidatePersistentVolumeClaimSpec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import names, quantity
from shirube.api.validation.field import Cause, forbidden, invalid, not_supported, required
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.resource_requirements import parse_any, validate_quantity

Obj = Mapping[str, Any]

ACCESS_MODES = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]
VOLUME_MODES = ["Block", "Filesystem"]


def validate_access_modes(
    out: list[Cause], modes: list[str], path: str, none: str = "at least 1 access mode is required"
) -> None:
    """At least one known mode; ReadWriteOncePod stands alone. `none` is what is said when there is none."""
    if not modes:
        out.append(required(path, none))
    for mode in modes:
        if mode not in ACCESS_MODES:
            out.append(not_supported(path, mode, ACCESS_MODES))
    if "ReadWriteOncePod" in modes and any(m in ACCESS_MODES and m != "ReadWriteOncePod" for m in modes):
        out.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))


def validate_capacity(value: Any, path: str) -> list[Cause]:
    """An amount of storage: more than nothing."""
    amount = parse_any(value)
    if amount is None:
        return validate_quantity("storage", value, path)
    causes = []
    if amount.nanos < 0:
        causes.append(invalid(path, quantity.value(amount), "must be a valid resource quantity"))
    if amount.nanos <= 0:
        causes.append(invalid(path, str(value), "must be greater than zero"))
    return causes


def validate_claim_spec(out: list[Cause], spec: Obj, path: str) -> None:
    """What a claim asks for."""
    validate_access_modes(out, spec.get("accessModes") or [], f"{path}.accessModes")
    out.extend(validate_label_selector(spec.get("selector"), f"{path}.selector"))
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    at = f"{path}.resources[storage]"
    if storage is None:
        out.append(required(at))
    else:
        amount = parse_any(storage)
        if amount is not None and amount.nanos <= 0:
            out.append(invalid(at, str(storage), "must be greater than zero"))
        else:
            out.extend(validate_quantity("storage", storage, at))
    if name := spec.get("storageClassName"):
        out.extend(invalid(f"{path}.storageClassName", name, m) for m in names.is_dns1123_subdomain(name))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        out.append(not_supported(f"{path}.volumeMode", mode, VOLUME_MODES))
    _validate_data_sources(out, spec, path)
    if name := spec.get("volumeAttributesClassName"):
        at = f"{path}.volumeAttributesClassName"
        out.extend(invalid(at, name, m) for m in names.is_dns1123_subdomain(name))


def _validate_data_sources(out: list[Cause], spec: Obj, path: str) -> None:
    for field in ("dataSource", "dataSourceRef"):
        source = spec.get(field)
        if source is None:
            continue
        at = f"{path}.{field}"
        if not source.get("name"):
            out.append(required(f"{at}.name"))
        if not source.get("kind"):
            out.append(required(f"{at}.kind"))
        group = source.get("apiGroup") or ""
        if not group and source.get("kind") != "PersistentVolumeClaim":
            out.append(
                invalid(
                    at, source.get("kind", ""), "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
                )
            )
        if group:
            out.extend(invalid(f"{at}.apiGroup", group, m) for m in names.is_dns1123_subdomain(group))
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if reference is not None and (namespace := reference.get("namespace")):
        at = f"{path}.dataSourceRef.namespace"
        out.extend(invalid(at, namespace, m) for m in names.is_dns1123_label(namespace))
        if source is not None:
            detail = "may not be specified when dataSourceRef.namespace is specified"
            out.append(invalid(path, f"{path}.dataSource", detail))
    elif source is not None and reference is not None:
        same = all((source.get(f) or "") == (reference.get(f) or "") for f in ("apiGroup", "kind", "name"))
        if not same:
            out.append(invalid(path, f"{path}.dataSource", "must match dataSourceRef"))
