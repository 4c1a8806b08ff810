"""Validation of volume mounts and volume devices against the volumes of the pod.

Follows core's ``ValidateVolumeMounts`` and ``ValidateVolumeDevices``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api.validation.field import Cause, forbidden, invalid, not_found, not_supported, required
from shirube.api.validation.paths import validate_local_path

Obj = Mapping[str, Any]

_PROPAGATIONS = ["Bidirectional", "HostToContainer", "None"]
_RECURSIVE = ["Disabled", "Enabled", "IfPossible"]


def validate_mounts(out: list[Cause], mounts: list[Obj], container: Obj, volumes: Mapping[str, Obj], path: str) -> None:
    """Every mount names a volume and a place of its own."""
    devices = container.get("volumeDevices") or ()
    device_names = {d.get("name") for d in devices}
    device_paths = {d.get("devicePath") for d in devices}
    places = set()
    for i, mount in enumerate(mounts):
        name, place = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            out.append(required(f"{path}[{i}].name"))
        if name not in volumes:
            out.append(not_found(f"{path}[{i}].name", name))
        if not place:
            out.append(required(f"{path}[{i}].mountPath"))
        if place in places:
            out.append(invalid(f"{path}[{i}].mountPath", place, "must be unique"))
        places.add(place)
        if name in device_names:
            out.append(invalid(f"{path}[{i}].name", name, "must not already exist in volumeDevices"))
        if place in device_paths:
            detail = "must not already exist as a path in volumeDevices"
            out.append(invalid(f"{path}[{i}].mountPath", place, detail))
        if len(mount) > 2:
            _validate_options(out, mount, container, path, i)


def _validate_options(out: list[Cause], mount: Obj, container: Obj, path: str, i: int) -> None:
    sub, expression = mount.get("subPath"), mount.get("subPathExpr")
    if sub:
        validate_local_path(out, sub, f"{path}.subPath")
    if expression:
        if sub:
            detail = "subPathExpr and subPath are mutually exclusive"
            out.append(invalid(f"{path}[{i}].subPathExpr", expression, detail))
        validate_local_path(out, expression, f"{path}.subPathExpr")
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        if propagation not in _PROPAGATIONS:
            out.append(not_supported(f"{path}.mountPropagation", propagation, _PROPAGATIONS))
        elif propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
            detail = "Bidirectional mount propagation is available only to privileged containers"
            out.append(forbidden(f"{path}.mountPropagation", detail))
    recursive = mount.get("recursiveReadOnly")
    if recursive is None:
        return
    at = f"{path}.recursiveReadOnly"
    if recursive not in _RECURSIVE:
        out.append(not_supported(at, recursive, _RECURSIVE))
    elif recursive != "Disabled":
        if not mount.get("readOnly"):
            out.append(forbidden(at, "may only be specified when readOnly is true"))
        if propagation not in (None, "None"):
            out.append(forbidden(at, "may only be specified when mountPropagation is None or not specified"))


def validate_devices(
    out: list[Cause], devices: list[Obj], container: Obj, volumes: Mapping[str, Obj], path: str
) -> None:
    """Raw block devices come from claims."""
    mounted = {m.get("mountPath") for m in container.get("volumeMounts") or ()}
    mounts = {m.get("name") for m in container.get("volumeMounts") or ()}
    paths, seen = set(), set()
    for i, device in enumerate(devices):
        name, place = device.get("name", ""), device.get("devicePath", "")
        at = f"{path}[{i}]"
        if not name:
            out.append(required(f"{at}.name"))
        if name in seen:
            out.append(invalid(f"{at}.name", name, "must be unique"))
        seen.add(name)
        volume = volumes.get(name)
        if volume is None:
            out.append(not_found(f"{at}.name", name))
        elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            out.append(invalid(f"{at}.name", name, detail))
        if not place:
            out.append(required(f"{at}.devicePath"))
        if place in paths:
            out.append(invalid(f"{at}.devicePath", place, "must be unique"))
        paths.add(place)
        if ".." in place.split("/"):
            out.append(invalid(f"{at}.devicePath", place, "can not contain backsteps ('..')"))
        if place in mounted:
            out.append(invalid(f"{at}.devicePath", place, "must not already exist as a path in volumeMounts"))
        if name in mounts:
            out.append(invalid(f"{at}.name", name, "must not already exist in volumeMounts"))
