"""Validation of environment variables and of the references by which a container reads its own pod.

Follows core's ``ValidateEnv``, ``ValidateEnvFrom`` and ``validateObjectFieldSelector``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, invalid, not_supported, required
from shirube.api.validation.object_meta import name_is_dns_subdomain
from shirube.api.validation.paths import validate_local_path
from shirube.api.validation.resource_requirements import parse_any

Obj = Mapping[str, Any]

ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")

# what a field path may name at all; some of it only in other places than these two
_KNOWN_FIELDS = {*ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"}
_SUBSCRIPT = re.compile(r"(.*)\['(.*)'\]")

_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
_MEMORY_DIVISORS = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"
_DIVISORS = {
    "cpu": ("1m", "1"),
    "memory": tuple(_MEMORY_DIVISORS.split(", ")),
    "ephemeral-storage": tuple(_MEMORY_DIVISORS.split(", ")),
}
_ONE_SOURCE = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
_AT_MOST_ONE = "may not have more than one field specified at a time"


def validate_field_ref(out: list[Cause], ref: Obj, path: str, allowed: Collection[str]) -> None:
    """A reference to a field of the pod itself."""
    version, field = ref.get("apiVersion", ""), ref.get("fieldPath", "")
    if not version:
        out.append(required(f"{path}.apiVersion"))
        return
    if not field:
        out.append(required(f"{path}.fieldPath"))
        return
    if version != "v1":
        out.append(
            invalid(f"{path}.fieldPath", field, f"error converting fieldPath: unsupported pod version: {version}")
        )
        return
    if match := _SUBSCRIPT.fullmatch(field):
        _validate_subscript(out, match[1], match[2], field, path)
    elif field not in _KNOWN_FIELDS and field != "spec.host":
        detail = f"error converting fieldPath: field label not supported: {field}"
        out.append(invalid(f"{path}.fieldPath", field, detail))
    elif field not in allowed and field != "spec.host":
        out.append(not_supported(f"{path}.fieldPath", field, sorted(allowed)))


def _validate_subscript(out: list[Cause], base: str, key: str, field: str, path: str) -> None:
    if base == "metadata.annotations":
        out.extend(invalid(path, key, m) for m in names.is_qualified_name(key.lower()))
    elif base == "metadata.labels":
        out.extend(invalid(path, key, m) for m in names.is_qualified_name(key))
    else:
        detail = f'error converting fieldPath: field label does not support subscript: "{field}"'
        out.append(invalid(f"{path}.fieldPath", field, detail))


def validate_resource_field_ref(out: list[Cause], ref: Obj, path: str, *, volume: bool) -> None:
    """A reference to a container's own request or limit."""
    resource = ref.get("resource", "")
    if volume and not ref.get("containerName"):
        out.append(required(f"{path}.containerName"))
    elif not resource:
        out.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        out.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    divisor = ref.get("divisor")
    if divisor is None or not resource:
        return
    amount = parse_any(divisor)
    if amount is not None and not amount:
        return
    name = resource.partition(".")[2]
    shown = "memory" if name.startswith("hugepages-") else name
    known = _DIVISORS.get(shown)
    if known and str(divisor) not in known and str(amount) not in known:
        wanted = "1m and 1" if name == "cpu" else _MEMORY_DIVISORS
        named = {"ephemeral-storage": "local ephemeral storage"}.get(name, name)
        if shown != name:
            named = "hugepages"
        out.append(
            invalid(f"{path}.divisor", name, f"only divisor's values {wanted} are supported with the {named} resource")
        )


def _validate_key_ref(out: list[Cause], ref: Obj, path: str) -> None:
    name = ref.get("name", "")
    out.extend(invalid(f"{path}.name", name, m) for m in names.is_dns1123_subdomain(name))
    key = ref.get("key", "")
    if not key:
        out.append(required(f"{path}.key"))
    else:
        out.extend(invalid(f"{path}.key", key, m) for m in names.is_config_map_key(key))


def _validate_file_ref(out: list[Cause], ref: Obj, path: str, volumes: Mapping[str, Obj]) -> None:
    key, volume, file = ref.get("key", ""), ref.get("volumeName", ""), ref.get("path", "")
    if not key:
        out.append(required(f"{path}.key"))
    else:
        out.extend(invalid(f"{path}.key", key, m) for m in names.is_relaxed_env_var_name(key))
    if not volume:
        out.append(required(f"{path}.volumeName"))
    elif volume not in volumes:
        out.append(invalid(f"{path}.volumeName", volume, "volume does not exist"))
    elif "emptyDir" not in volumes[volume]:
        out.append(invalid(f"{path}.volumeName", volume, "referenced volume must be of type emptyDir"))
    if not file:
        out.append(required(f"{path}.path"))
    else:
        validate_local_path(out, file, f"{path}.path")


def _validate_source(out: list[Cause], env: Obj, path: str, volumes: Mapping[str, Obj]) -> None:
    source = env["valueFrom"]
    count = 0
    if (ref := source.get("fieldRef")) is not None:
        count += 1
        validate_field_ref(out, ref, f"{path}.fieldRef", ENV_FIELDS)
    if (ref := source.get("resourceFieldRef")) is not None:
        count += 1
        validate_resource_field_ref(out, ref, f"{path}.resourceFieldRef", volume=False)
    for field in ("configMapKeyRef", "secretKeyRef"):
        if (ref := source.get(field)) is not None:
            count += 1
            _validate_key_ref(out, ref, f"{path}.{field}")
    if (ref := source.get("fileKeyRef")) is not None:
        count += 1
        _validate_file_ref(out, ref, f"{path}.fileKeyRef", volumes)
    if count == 0:
        out.append(invalid(path, "", _ONE_SOURCE))
    if env.get("value"):
        if count:
            out.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        out.append(invalid(path, "", _AT_MOST_ONE))


def validate_env(out: list[Cause], env: list[Obj], path: str, volumes: Mapping[str, Obj]) -> None:
    """The variables of one container."""
    for i, variable in enumerate(env):
        name = variable.get("name", "")
        if not name:
            out.append(required(f"{path}[{i}].name"))
        elif not (name.isascii() and name.isidentifier()):  # the usual name needs no closer look
            out.extend(invalid(f"{path}[{i}].name", name, m) for m in names.is_relaxed_env_var_name(name))
        if variable.get("valueFrom") is not None:
            _validate_source(out, variable, f"{path}[{i}].valueFrom", volumes)


def validate_env_from(out: list[Cause], sources: list[Obj], path: str) -> None:
    """ConfigMaps and Secrets taken whole."""
    for i, source in enumerate(sources):
        at = f"{path}[{i}]"
        if prefix := source.get("prefix"):
            out.extend(invalid(f"{at}.prefix", prefix, m) for m in names.is_relaxed_env_var_name(prefix))
        count = 0
        for field in ("configMapRef", "secretRef"):
            if (ref := source.get(field)) is not None:
                count += 1
                if not (name := ref.get("name", "")):
                    out.append(required(f"{at}.{field}.name"))
                else:
                    out.extend(invalid(f"{at}.{field}.name", name, m) for m in name_is_dns_subdomain(name, True))
        if count == 0:
            out.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif count > 1:
            out.append(invalid(path, "", _AT_MOST_ONE))
