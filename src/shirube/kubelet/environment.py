"""The environment of a container: services, envFrom, env, the downward API, in upstream's order.

Pure: the ConfigMaps and Secrets that it names are fetched before (`references` says which). What cannot be
resolved is a `ConfigError`, shown as CreateContainerConfigError until it can.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shirube.kubelet import downward
from shirube.kubelet import pod as pods
from shirube.kubelet.expansion import expand_from


class ConfigError(Exception):
    """A container cannot be configured: shown as CreateContainerConfigError with this message."""


Reference = tuple[str, str]  # ("configmaps" | "secrets", name)


@dataclass(frozen=True, slots=True)
class Sources:
    """What values come from. `objects` holds what `references` named and could be found."""

    objects: Mapping[Reference, Mapping[str, Any]]
    services: Mapping[str, str]
    node: downward.NodeFacts
    pod_ips: tuple[str, ...]


def references(container: pods.Container) -> set[Reference]:
    """The ConfigMaps and Secrets that the container's environment names."""
    found: set[Reference] = set()
    for source in container.get("envFrom") or ():
        if (ref := source.get("configMapRef")) is not None:
            found.add(("configmaps", ref["name"]))
        if (ref := source.get("secretRef")) is not None:
            found.add(("secrets", ref["name"]))
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        if (ref := source.get("configMapKeyRef")) is not None:
            found.add(("configmaps", ref["name"]))
        if (ref := source.get("secretKeyRef")) is not None:
            found.add(("secrets", ref["name"]))
    return found


def environment(pod: pods.Pod, container: pods.Container, sources: Sources) -> dict[str, str]:
    """The container's variables. Raises ConfigError."""
    result: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        result.update(_from_whole_object(pod, source, sources))
    declared: dict[str, str] = {}
    for variable in container.get("env") or ():
        value = variable.get("value") or ""
        if value:
            value = expand_from(value, declared, result, sources.services)
        elif given := variable.get("valueFrom"):
            found = _value_from(pod, container, given, sources)
            if found is None:
                continue
            value = found
        declared[variable["name"]] = value
        result[variable["name"]] = value
    return {**{k: v for k, v in sources.services.items() if k not in result}, **result}


def _from_whole_object(pod: pods.Pod, source: Mapping[str, Any], sources: Sources) -> Iterable[tuple[str, str]]:
    kind = "configmaps" if source.get("configMapRef") is not None else "secrets"
    ref = source.get("configMapRef") if kind == "configmaps" else source.get("secretRef")
    if ref is None:
        return []
    obj = sources.objects.get((kind, ref["name"]))
    if obj is None:
        if ref.get("optional"):
            return []
        raise ConfigError(_not_found(kind, ref["name"]))
    prefix = source.get("prefix") or ""
    data = obj.get("data") or {}
    return [(prefix + key, _text(kind, data[key])) for key in sorted(data)]


def _value_from(pod: pods.Pod, container: pods.Container, source: Mapping[str, Any], sources: Sources) -> str | None:
    try:
        if (ref := source.get("fieldRef")) is not None:
            return downward.pod_field(pod, ref["fieldPath"], sources.node, sources.pod_ips)
        if (ref := source.get("resourceFieldRef")) is not None:
            return downward.resource_field(pod, ref, container["name"], sources.node)
    except downward.FieldError as error:
        raise ConfigError(str(error)) from error
    for kind, word, field in (
        ("configmaps", "ConfigMap", "configMapKeyRef"),
        ("secrets", "Secret", "secretKeyRef"),
    ):
        if (ref := source.get(field)) is not None:
            return _key(pod, kind, word, ref, sources)
    raise ConfigError(f"unsupported source of an environment variable: {', '.join(sorted(source))}")


def _key(pod: pods.Pod, kind: str, word: str, ref: Mapping[str, Any], sources: Sources) -> str | None:
    obj = sources.objects.get((kind, ref["name"]))
    optional = bool(ref.get("optional"))
    if obj is None:
        if optional:
            return None
        raise ConfigError(_not_found(kind, ref["name"]))
    found = (obj.get("data") or {}).get(ref["key"])
    if found is None:
        if optional:
            return None
        raise ConfigError(f"couldn't find key {ref['key']} in {word} {pods.namespace(pod)}/{ref['name']}")
    return _text(kind, found)


def _not_found(kind: str, name: str) -> str:
    return f'{kind.removesuffix("s")} "{name}" not found'


def _text(kind: str, value: str) -> str:
    if kind == "configmaps":
        return value
    return base64.b64decode(value).decode("utf-8", "surrogateescape")


# -- services


def service_environment(services: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Upstream's `NAME_SERVICE_HOST` and Docker-link variables of services with a cluster IP."""
    found: dict[str, str] = {}
    for service in services:
        spec = service.get("spec") or {}
        ip, ports = spec.get("clusterIP"), spec.get("ports") or []
        if not ip or ip == "None" or not ports:
            continue
        prefix = _variable_name(service["metadata"]["name"])
        found[f"{prefix}_SERVICE_HOST"] = ip
        found[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                found[f"{prefix}_SERVICE_PORT_{_variable_name(port['name'])}"] = str(port["port"])
        address = f"[{ip}]" if ":" in ip else ip
        for position, port in enumerate(ports):
            protocol = port.get("protocol") or "TCP"
            url = f"{protocol.lower()}://{address}:{port['port']}"
            if position == 0:
                found[f"{prefix}_PORT"] = url
            link = f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
            found[link] = url
            found[f"{link}_PROTO"] = protocol.lower()
            found[f"{link}_PORT"] = str(port["port"])
            found[f"{link}_ADDR"] = ip
    return found


def services_for(pod: pods.Pod, services: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The services that the pod hears of: its namespace's when it wants links, and the API server's always."""
    links = pod["spec"].get("enableServiceLinks", True)
    chosen: dict[str, Mapping[str, Any]] = {}
    for service in services:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        if namespace == "default" and name == "kubernetes":
            chosen.setdefault(name, service)
        elif links and namespace == pods.namespace(pod):
            chosen[name] = service
    return [chosen[name] for name in sorted(chosen)]


def _variable_name(name: str) -> str:
    return name.upper().replace("-", "_")
