"""Validation of annotations that mean something to pods: what was an alpha field once, and who mirrors what.

Follows core's ``ValidatePodSpecificAnnotations`` and ``ValidatePodSpecificAnnotationUpdates``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shirube.api.errors import quote
from shirube.api.validation.field import Cause, forbidden, invalid
from shirube.api.validation.paths import validate_local_path

Obj = Mapping[str, Any]

_MIRROR = "kubernetes.io/config.mirror"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_PREFIXES = ("kubernetes.io/", "controller.", "seccomp.", "container.")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def validate_pod_annotations(out: list[Cause], annotations: Mapping[str, str], spec: Obj, path: str) -> None:
    """Of a pod, or of the template that pods are made from."""
    for key, value in annotations.items():
        if not key.startswith(_PREFIXES):
            continue
        if key == _MIRROR and not spec.get("nodeName"):
            detail = "must set spec.nodeName if mirror pod annotation is set"
            out.append(invalid(f"{path}[{key}]", value, detail))
        elif key == _DELETION_COST:
            # leading zeros and a plus sign would be read, but not written back so
            plain = _INTEGER.fullmatch(value) and (value == "0" or value.lstrip("-")[:1] not in ("0", "+"))
            if not plain or not -(2**31) <= int(value) < 2**31:
                out.append(invalid(f"{path}[{key}]", value, "must be a 32bit integer"))
        elif key == _SECCOMP_POD or key.startswith(_SECCOMP_CONTAINER):
            _validate_seccomp(out, value, f"{path}.{key}")
        elif key.startswith(_APP_ARMOR):
            _validate_app_armor(out, key, value, spec, path)


def _validate_seccomp(out: list[Cause], profile: str, path: str) -> None:
    if profile in ("runtime/default", "docker/default", "unconfined"):
        return
    if profile.startswith("localhost/"):
        validate_local_path(out, profile.removeprefix("localhost/"), path)
    else:
        out.append(invalid(path, profile, "must be a valid seccomp profile"))


def _validate_app_armor(out: list[Cause], key: str, profile: str, spec: Obj, path: str) -> None:
    name = key.removeprefix(_APP_ARMOR)
    if all(c.get("name") != name for f in _CONTAINERS for c in spec.get(f) or ()):
        out.append(invalid(f"{path}[{key}]", name, "container not found"))
    if profile not in ("", "runtime/default", "unconfined") and not profile.startswith("localhost/"):
        out.append(invalid(f"{path}[{key}]", profile, f"invalid AppArmor profile name: {quote(profile)}"))


def validate_pod_annotations_update(
    out: list[Cause], new: Mapping[str, str], old: Mapping[str, str], path: str
) -> None:
    """AppArmor profiles and what a pod mirrors are settled when it is made."""
    for key in old:
        if new.get(key) == old[key]:
            continue
        if key.startswith(_APP_ARMOR):
            out.append(forbidden(f"{path}[{key}]", "may not remove or update AppArmor annotations"))
        if key == _MIRROR:
            out.append(forbidden(f"{path}[{key}]", "may not remove or update mirror pod annotation"))
    for key in new:
        if key in old:
            continue
        if key.startswith(_APP_ARMOR):
            out.append(forbidden(f"{path}[{key}]", "may not add AppArmor annotations"))
        if key == _MIRROR:
            out.append(forbidden(f"{path}[{key}]", "may not add mirror pod annotation"))
