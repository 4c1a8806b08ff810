"""Validation of the security contexts of pods and containers.

Follows core's ``ValidateSecurityContext`` and ``validatePodSpecSecurityContext``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, duplicate, forbidden, invalid, not_supported, required, too_long
from shirube.api.validation.paths import validate_local_path
from shirube.api.validation.pod_os import validate_windows_options

Obj = Mapping[str, Any]

_MAX_PROFILE = 4095  # PATH_MAX without the byte that ends it
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
SYSCTL_FORMAT = f"({_SYSCTL_SEGMENT}[\\./])*{_SYSCTL_SEGMENT}"
_SYSCTL = re.compile(SYSCTL_FORMAT)


def _validate_ids(out: list[Cause], context: Obj, path: str, fields: tuple[str, ...]) -> None:
    for field in fields:
        if (value := context.get(field)) is not None:
            out.extend(invalid(f"{path}.{field}", value, m) for m in names.is_user_id(value))


def _validate_profile(out: list[Cause], profile: Obj, path: str, *, name: str, field: str) -> None:
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    at = f"{path}.localhostProfile"
    if kind == "Localhost":
        if local is None:
            out.append(required(at, f"must be set when {name} type is Localhost"))
        elif field == "appArmorProfile":
            if not local:
                out.append(required(at, f"must be set when {name} type is Localhost"))
            elif local != local.strip():
                out.append(invalid(at, local, "must not be padded with whitespace"))
            if len(local) > _MAX_PROFILE:
                out.append(too_long(at, _MAX_PROFILE))
        else:
            validate_local_path(out, local, at)
        return
    if local is not None:
        out.append(invalid(at, local, f"can only be set when {name} type is Localhost"))
    if not kind:
        out.append(required(f"{path}.type", f"type is required when {field} is set"))
    elif kind not in ("RuntimeDefault", "Unconfined"):
        out.append(not_supported(f"{path}.type", kind, ["Localhost", "RuntimeDefault", "Unconfined"]))


def _validate_profiles(out: list[Cause], context: Obj, path: str) -> None:
    if (options := context.get("windowsOptions")) is not None:
        validate_windows_options(out, options, f"{path}.windowsOptions")
    if (profile := context.get("seccompProfile")) is not None:
        _validate_profile(out, profile, f"{path}.seccompProfile", name="seccomp", field="seccompProfile")
    if (profile := context.get("appArmorProfile")) is not None:
        _validate_profile(out, profile, f"{path}.appArmorProfile", name="AppArmor", field="appArmorProfile")


def validate_container_context(out: list[Cause], context: Obj, path: str, host_users: bool) -> None:
    """The security context of one container."""
    _validate_ids(out, context, path, ("runAsUser", "runAsGroup"))
    if (mount := context.get("procMount")) is not None:
        if mount not in ("Default", "Unmasked"):
            out.append(not_supported(f"{path}.procMount", mount, ["Default", "Unmasked"]))
        elif mount == "Unmasked" and host_users:
            out.append(invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    _validate_profiles(out, context, path)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            out.append(invalid(path, dict(context), detail))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            out.append(invalid(path, dict(context), detail))


def _validate_sysctls(out: list[Cause], sysctls: list[Obj], spec: Obj, path: str) -> None:
    seen = set()
    for i, sysctl in enumerate(sysctls):
        name, at = sysctl.get("name", ""), f"{path}[{i}].name"
        if not name:
            out.append(required(at))
        elif len(name) > 253 or not _SYSCTL.fullmatch(name):
            detail = f"must have at most 253 characters and match regex {SYSCTL_FORMAT}"
            out.append(invalid(at, name, detail))
        elif name in seen:
            out.append(duplicate(at, name))
        elif name.startswith("net.") and spec.get("hostNetwork"):
            out.append(invalid(at, name, "may not be specified when 'hostNetwork' is true"))
        elif name.startswith(("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")) and spec.get("hostIPC"):
            out.append(invalid(at, name, "may not be specified when 'hostIPC' is true"))
        seen.add(name)


def _enumerated(out: list[Cause], context: Obj, field: str, path: str, values: list[str]) -> None:
    value = context.get(field)
    if value is not None and value not in values:
        out.append(not_supported(f"{path}.{field}", value, values))


def validate_pod_context(out: list[Cause], context: Obj, spec: Obj, path: str) -> None:
    """The security context of the pod as a whole."""
    _validate_ids(out, context, path, ("fsGroup", "runAsUser", "runAsGroup"))
    for i, group in enumerate(context.get("supplementalGroups") or ()):
        out.extend(invalid(f"{path}.supplementalGroups[{i}]", group, m) for m in names.is_group_id(group))
    if sysctls := context.get("sysctls"):
        _validate_sysctls(out, sysctls, spec, f"{path}.sysctls")
    _enumerated(out, context, "fsGroupChangePolicy", path, ["Always", "OnRootMismatch"])
    _enumerated(out, context, "supplementalGroupsPolicy", path, ["Merge", "Strict"])
    _enumerated(out, context, "seLinuxChangePolicy", path, ["MountOption", "Recursive"])
    _validate_profiles(out, context, path)


def validate_host_namespaces(out: list[Cause], spec: Obj, path: str) -> None:
    """Sharing of namespaces with the node, and what excludes what."""
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        out.append(
            invalid(
                f"{path}.securityContext.shareProcessNamespace",
                True,
                "ShareProcessNamespace and HostPID cannot both be enabled",
            )
        )
    if spec.get("hostUsers") is False:
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(field):
                out.append(forbidden(f"{path}.{field}", "when `hostUsers` is false"))
