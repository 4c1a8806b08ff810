"""What a user should know about a pod that is accepted: duplicated names, deprecated fields.

Follows k8s.io/kubernetes ``pkg/api/pod/warnings.go``; the same for templates, with their path before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Obj = Mapping[str, Any]

_DEPRECATED_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}
_DEPRECATED_VOLUMES = {
    "gitRepo": "deprecated in v1.11",
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}


def pod_warnings(spec: Obj, path: str) -> list[str]:
    """The warnings of a pod (path "") or of a template (path "spec.template.")."""
    out: list[str] = []
    at = f"{path}spec"
    for label in spec.get("nodeSelector") or ():
        if label in _DEPRECATED_LABELS:
            out.append(f"{at}.nodeSelector[{label}]: {_DEPRECATED_LABELS[label]}")
    for i, alias in enumerate(spec.get("imagePullSecrets") or ()):
        if not alias.get("name"):
            out.append(f'{at}.imagePullSecrets[{i}].name: invalid empty name ""')
    for i, volume in enumerate(spec.get("volumes") or ()):
        for field in volume:
            if field in _DEPRECATED_VOLUMES:
                out.append(f"{at}.volumes[{i}].{field}: {_DEPRECATED_VOLUMES[field]}")
    _duplicate_host_aliases(out, spec, at)
    for field in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(field) or ()):
            _container_warnings(out, container, f"{at}.{field}[{i}]")
    _port_warnings(out, spec, at)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        out.append(
            f"{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )
    return out


def _duplicate_host_aliases(out: list[str], spec: Obj, at: str) -> None:
    seen: dict[str, int] = {}
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        address = alias.get("ip", "")
        if address in seen:
            out.append(f'{at}.hostAliases[{seen[address]}].ip: duplicate ip "{address}"')
        seen.setdefault(address, i)


def _container_warnings(out: list[str], container: Obj, at: str) -> None:
    seen: set[str] = set()
    for i, variable in enumerate(container.get("env") or ()):
        name, value = variable.get("name", ""), variable.get("value", "")
        if name in seen and f"$({name})" not in value:
            out.append(f'{at}.env[{i}]: hides previous definition of "{name}", which may be dropped when using apply')
        seen.add(name)
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        for name, value in (resources.get(kind) or {}).items():
            if name in ("memory", "ephemeral-storage") and isinstance(value, str) and value.endswith("m"):
                out.append(
                    f'{at}.resources.{kind}[{name}]: fractional byte value "{value}" is invalid, must be an integer'
                )


def _port_warnings(out: list[str], spec: Obj, at: str) -> None:
    """The same container port and protocol twice in a container, the same name twice in a pod."""
    found = [
        (field, i, j, port)
        for field in ("initContainers", "containers")
        for i, container in enumerate(spec.get(field) or ())
        for j, port in enumerate(container.get("ports") or ())
    ]
    if len(found) < 2:
        return
    used: dict[tuple[Any, ...], str] = {}
    names: dict[str, str] = {}
    for field, i, j, port in found:
        where = f"{at}.{field}[{i}].ports[{j}]"
        key = (field, i, port.get("containerPort"), port.get("protocol"), port.get("hostIP"), port.get("hostPort"))
        if key in used:
            out.append(f"{where}: duplicate port definition with {used[key]}")
        used.setdefault(key, where)
        name = port.get("name")
        if name and name in names:
            out.append(
                f'{where}: duplicate port name "{name}" with {names[name]}, services and probes that '
                f"select ports by name will use {names[name]}"
            )
        elif name:
            names[name] = where
