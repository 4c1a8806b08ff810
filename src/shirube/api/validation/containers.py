"""Validation of containers: app, init, sidecar and ephemeral ones.

Follows core's ``validateContainers``, ``validateInitContainers`` and ``validateEphemeralContainers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shirube.api import names
from shirube.api.validation.environment import validate_env, validate_env_from
from shirube.api.validation.field import (
    Cause,
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
    too_long,
)
from shirube.api.validation.mounts import validate_devices, validate_mounts
from shirube.api.validation.probes import validate_lifecycle, validate_probes
from shirube.api.validation.resource_requirements import validate_requirements
from shirube.api.validation.security import validate_container_context

Obj = Mapping[str, Any]

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ["Always", "IfNotPresent", "Never"]
_MESSAGE_POLICIES = ["File", "FallbackToLogsOnError"]
_RESTART_POLICIES = ["Always", "Never", "OnFailure"]
_RESTART_ACTIONS = ["Restart", "RestartAllContainers"]
_RESIZE_POLICIES = ["NotRequired", "RestartContainer"]
_MAX_RESTART_RULES = 20
_MAX_EXIT_CODES = 255
_NOT_EPHEMERAL = (
    "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy",
    "restartPolicy", "restartPolicyRules",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What containers are checked against."""

    volumes: Mapping[str, Obj]
    claim_names: frozenset[str]
    restart_policy: str
    grace: int
    os: str
    host_users: bool


def _validate_ports(out: list[Cause], ports: list[Obj], path: str) -> None:
    seen = set()
    for i, port in enumerate(ports):
        if name := port.get("name"):
            if messages := names.is_port_name(name):
                out.extend(invalid(f"{path}[{i}].name", name, m) for m in messages)
            elif name in seen:
                out.append(duplicate(f"{path}[{i}].name", name))
            else:
                seen.add(name)
        number = port.get("containerPort", 0)
        if number == 0:
            out.append(required(f"{path}[{i}].containerPort"))
        elif not 0 < number < 65536:
            out.extend(invalid(f"{path}[{i}].containerPort", number, m) for m in names.is_port_number(number))
        host = port.get("hostPort", 0)
        if host and not 0 < host < 65536:
            out.extend(invalid(f"{path}[{i}].hostPort", host, m) for m in names.is_port_number(host))
        protocol = port.get("protocol", "")
        if not protocol:
            out.append(required(f"{path}[{i}].protocol"))
        elif protocol not in _PROTOCOLS:
            out.append(not_supported(f"{path}[{i}].protocol", protocol, _PROTOCOLS))


def _check_host_ports(out: list[Cause], containers: list[Obj], path: str) -> None:
    seen = set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or ()):
            if host := port.get("hostPort"):
                used = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{host}"
                if used in seen:
                    out.append(duplicate(f"{path}[{i}].ports[{j}].hostPort", used))
                seen.add(used)


def _validate_restart(out: list[Cause], container: Obj, path: str) -> None:
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    if policy is not None and policy not in _RESTART_POLICIES:
        out.append(not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES))
    if rules and policy is None:
        detail = "must specify restartPolicy when restart rules are used"
        out.append(required(f"{path}.restartPolicy", detail))
    if len(rules) > _MAX_RESTART_RULES:
        out.append(too_long(f"{path}.restartPolicyRules", _MAX_RESTART_RULES))
    for i, rule in enumerate(rules):
        at = f"{path}.restartPolicyRules[{i}]"
        if rule.get("action") not in _RESTART_ACTIONS:
            out.append(not_supported(f"{at}.action", rule.get("action", ""), _RESTART_ACTIONS))
        codes = rule.get("exitCodes")
        if codes is None:
            out.append(required(f"{at}.exitCodes", "must be specified"))
            continue
        if codes.get("operator") not in ("In", "NotIn"):
            out.append(not_supported(f"{at}.exitCodes.operator", codes.get("operator", ""), ["In", "NotIn"]))
        if len(codes.get("values") or ()) > _MAX_EXIT_CODES:
            out.append(too_long(f"{at}.exitCodes.values", _MAX_EXIT_CODES))


def _validate_resize(out: list[Cause], policies: list[Obj], path: str, restart_policy: str) -> None:
    seen = set()
    for i, policy in enumerate(policies):
        name, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if name in seen:
            out.append(duplicate(f"{path}[{i}]", name))
        seen.add(name)
        if name not in ("cpu", "memory"):
            out.append(not_supported(path, name, ["cpu", "memory"]) if name else required(path))
        if restart not in _RESIZE_POLICIES:
            out.append(not_supported(path, restart, _RESIZE_POLICIES) if restart else required(path))
        if restart_policy == "Never" and restart != "NotRequired":
            out.append(invalid(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'"))


def _validate_common(out: list[Cause], container: Obj, path: str, pod: PodFacts) -> None:
    """What every container, of whatever sort, must satisfy."""
    get = container.get
    name = get("name", "")
    if not name:
        out.append(required(f"{path}.name"))
    elif messages := names.is_dns1123_label(name):
        out.extend(invalid(f"{path}.name", name, m) for m in messages)
    if not get("image"):
        out.append(required(f"{path}.image"))
    if (policy := get("terminationMessagePolicy", "")) not in _MESSAGE_POLICIES:
        at = f"{path}.terminationMessagePolicy"
        out.append(not_supported(at, policy, _MESSAGE_POLICIES) if policy else required(at))
    if ports := get("ports"):
        _validate_ports(out, ports, f"{path}.ports")
    if env := get("env"):
        validate_env(out, env, f"{path}.env", pod.volumes)
    if env_from := get("envFrom"):
        validate_env_from(out, env_from, f"{path}.envFrom")
    if mounts := get("volumeMounts"):
        validate_mounts(out, mounts, container, pod.volumes, f"{path}.volumeMounts")
    if devices := get("volumeDevices"):
        validate_devices(out, devices, container, pod.volumes, f"{path}.volumeDevices")
    if (pull := get("imagePullPolicy", "")) not in _PULL_POLICIES:
        at = f"{path}.imagePullPolicy"
        out.append(not_supported(at, pull, _PULL_POLICIES) if pull else required(at))
    if resources := get("resources"):
        validate_requirements(out, resources, f"{path}.resources", pod.claim_names)
    if resize := get("resizePolicy"):
        _validate_resize(out, resize, f"{path}.resizePolicy", pod.restart_policy)
    if context := get("securityContext"):
        validate_container_context(out, context, f"{path}.securityContext", pod.host_users)


def _validate_running(out: list[Cause], container: Obj, path: str, pod: PodFacts) -> None:
    """Hooks and probes: for containers that keep running."""
    if lifecycle := container.get("lifecycle"):
        validate_lifecycle(out, lifecycle, f"{path}.lifecycle", pod.grace, pod.os)
    validate_probes(out, container, path, pod.grace)


def validate_app_containers(out: list[Cause], containers: list[Obj], path: str, pod: PodFacts) -> set[str]:
    """The containers that do the pod's work; gives back their names."""
    seen: set[str] = set()
    if not containers:
        out.append(required(path))
    for i, container in enumerate(containers):
        at = f"{path}[{i}]"
        _validate_common(out, container, at, pod)
        name = container.get("name", "")
        if name in seen:
            out.append(duplicate(f"{at}.name", name))
        seen.add(name)
        _validate_running(out, container, at, pod)
        _validate_restart(out, container, at)
    _check_host_ports(out, containers, path)
    return seen


def validate_init_containers(
    out: list[Cause], containers: list[Obj], path: str, pod: PodFacts, app_names: set[str]
) -> set[str]:
    """Containers that run before; those with restartPolicy Always are sidecars and may have probes."""
    seen = set(app_names)
    for i, container in enumerate(containers):
        at = f"{path}[{i}]"
        _validate_common(out, container, at, pod)
        name = container.get("name", "")
        if name in seen:
            out.append(duplicate(f"{at}.name", name))
        elif name:
            seen.add(name)
        _validate_restart(out, container, at)
        _check_host_ports(out, [container], path)
        if container.get("restartPolicy") == "Always":
            _validate_running(out, container, at, pod)
            continue
        for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(field) is not None:
                detail = "may not be set for init containers without restartPolicy=Always"
                out.append(forbidden(f"{at}.{field}", detail))
        if container.get("resizePolicy"):
            out.append(invalid(f"{at}.resizePolicy", container["resizePolicy"], "must not be set for init containers"))
    return seen


def validate_ephemeral_containers(
    out: list[Cause], containers: list[Obj], path: str, pod: PodFacts, app_names: set[str], all_names: set[str]
) -> None:
    """Containers for debugging: no ports, probes, resources; names that nobody else has."""
    seen = set(all_names)
    for i, container in enumerate(containers):
        at = f"{path}[{i}]"
        _validate_common(out, container, at, pod)
        name = container.get("name", "")
        if name in seen:
            out.append(duplicate(f"{at}.name", name))
        seen.add(name)
        target = container.get("targetContainerName")
        if target and target not in all_names:
            out.append(not_found(f"{at}.targetContainerName", target))
        for field in _NOT_EPHEMERAL:
            if container.get(field):
                out.append(forbidden(f"{at}.{field}", "cannot be set for an Ephemeral Container"))
        for j, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    where = f"{at}.volumeMounts[{j}].{field}"
                    out.append(forbidden(where, "cannot be set for an Ephemeral Container"))
