"""Validation of what a pod may set given its operating system, and of the options that Windows has for itself.

Follows core's ``validateOS``, ``validateLinux``, ``validateWindows`` and ``validateWindowsSecurityContextOptions``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, forbidden, invalid, not_supported, required

Obj = Mapping[str, Any]

_NOT_ON_WINDOWS = "cannot be set for a windows pod"
_POD_CONTEXT = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "runAsUser", "runAsGroup",
    "supplementalGroups", "supplementalGroupsPolicy",
)  # fmt: skip
_CONTAINER_CONTEXT = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip
_MAX_SPEC_KIB = 64
_MAX_DOMAIN = 256
_MAX_USER = 104
_NET_BIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_DNS_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DNS = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_BAD_USER = re.compile(r'["/\\:;|=,+*?<>@\[\]]')


def containers_of(spec: Obj, path: str) -> Iterator[tuple[Obj, str]]:
    """Every container with its path, in the order in which upstream visits them."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            yield container, f"{path}.{field}[{i}]"


def validate_os(out: list[Cause], spec: Obj, path: str) -> None:
    """``spec.os`` is there: nothing that only the other system knows may be set."""
    os = (spec.get("os") or {}).get("name", "")
    if not os:
        out.append(required(f"{path}.os.name", "cannot be empty"))
    elif os not in ("linux", "windows"):
        out.append(not_supported(f"{path}.os", os, ["linux", "windows"]))
    elif os == "linux":
        _validate_linux(out, spec, path)
    else:
        _validate_windows(out, spec, path)


def _validate_linux(out: list[Cause], spec: Obj, path: str) -> None:
    detail = "windows options cannot be set for a linux pod"
    if (spec.get("securityContext") or {}).get("windowsOptions") is not None:
        out.append(forbidden(f"{path}.securityContext.windowsOptions", detail))
    for container, at in containers_of(spec, path):
        if (container.get("securityContext") or {}).get("windowsOptions") is not None:
            out.append(forbidden(f"{at}.securityContext.windowsOptions", detail))


def _validate_windows(out: list[Cause], spec: Obj, path: str) -> None:
    context = spec.get("securityContext") or {}
    out.extend(
        forbidden(f"{path}.securityContext.{f}", _NOT_ON_WINDOWS) for f in _POD_CONTEXT if context.get(f) is not None
    )
    if context.get("sysctls"):
        out.append(forbidden(f"{path}.securityContext.sysctls", _NOT_ON_WINDOWS))
    for field in ("hostUsers", "shareProcessNamespace"):
        if spec.get(field) is not None:
            out.append(forbidden(f"{path}.{field}", _NOT_ON_WINDOWS))
    for field in ("hostPID", "hostIPC"):
        if spec.get(field):
            out.append(forbidden(f"{path}.{field}", _NOT_ON_WINDOWS))
    for container, at in containers_of(spec, path):
        context = container.get("securityContext") or {}
        for field in _CONTAINER_CONTEXT:
            if context.get(field) is not None:
                out.append(forbidden(f"{at}.securityContext.{field}", _NOT_ON_WINDOWS))


def validate_windows_options(out: list[Cause], options: Obj, path: str) -> None:
    """Group-managed accounts, and the user that a container runs as."""
    name, text, user = (options.get(f) for f in ("gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName"))
    if name is not None:
        out.extend(invalid(f"{path}.gmsaCredentialSpecName", name, m) for m in names.is_dns1123_subdomain(name))
    at = f"{path}.gmsaCredentialSpec"
    if text is not None and not text:
        out.append(invalid(at, text, "gmsaCredentialSpec cannot be an empty string"))
    elif text is not None and len(text) > _MAX_SPEC_KIB * 1024:
        out.append(invalid(at, text, f"gmsaCredentialSpec size must be under {_MAX_SPEC_KIB} KiB"))
    if user is not None:
        out.extend(invalid(f"{path}.runAsUserName", user, p) for p in _user_problems(user))


def _user_problems(text: str) -> list[str]:
    if not text:
        return ["runAsUserName cannot be an empty string"]
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        return ["runAsUserName cannot contain control characters"]
    domain, backslash, user = text.rpartition("\\")
    if "\\" in domain:
        return ["runAsUserName cannot contain more than one backslash"]
    problems = []
    if len(domain) >= _MAX_DOMAIN:
        problems.append(f"runAsUserName's Domain length must be under {_MAX_DOMAIN} characters")
    if backslash and not (_NET_BIOS.fullmatch(domain) or _DNS.fullmatch(domain)):
        problems.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    if not user:
        problems.append("runAsUserName's User cannot be empty")
    elif len(user) > _MAX_USER:
        problems.append(f"runAsUserName's User length must not be longer than {_MAX_USER} characters")
    if user and not user.strip(". "):
        problems.append("runAsUserName's User cannot contain only periods or spaces")
    if _BAD_USER.search(user):
        problems.append(r"runAsUserName" + "'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return problems


def validate_host_process(out: list[Cause], spec: Obj, path: str) -> None:
    """Containers that are processes of a Windows host: all of a pod's or none, and in the host's network."""
    chosen = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    total = on_host = 0
    for container, at in containers_of(spec, path):
        total += 1
        own = ((container.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
        if chosen is not None and own is not None and chosen != own:
            detail = f"pod hostProcess value must be identical if both are specified, was {str(chosen).lower()}"
            out.append(invalid(f"{at}.securityContext.windowsOptions.hostProcess", own, detail))
        on_host += bool(own if own is not None else chosen)
    if not on_host:
        return
    if on_host != total:
        detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        out.append(invalid(path, "", detail))
    if not spec.get("hostNetwork"):
        detail = "hostNetwork must be true if pod contains any hostProcess containers"
        out.append(invalid(f"{path}.hostNetwork", False, detail))
