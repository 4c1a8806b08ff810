"""Which devices a container gets, and the book of who has which. Pure but for the book's file.

The book survives restarts of the agent: a container that is started again gets the devices that it had, with what
the plugin said of them then, whether or not the plugin is there at the moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from shirube.api import quantity
from shirube.kubelet import pod as pods


class DeviceError(Exception):
    """A container cannot have the devices that it asks for."""


@dataclass(slots=True)
class Grant:
    """What a container is given for its devices of one resource."""

    device_ids: list[str]
    envs: dict[str, str] = field(default_factory=dict)
    mounts: list[dict[str, Any]] = field(default_factory=list)  # CRI `Mount`s, as the next are CRI `Device`s
    devices: list[dict[str, Any]] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Book:
    """Grants by pod UID, container name and resource; and the resources that plugins ever registered."""

    file: Path
    grants: dict[str, dict[str, dict[str, Grant]]] = field(default_factory=dict)
    resources: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, file: Path) -> Book:
        try:
            found = orjson.loads(file.read_bytes())
            grants = {
                uid: {
                    name: {resource: Grant(**grant) for resource, grant in of_container.items()}
                    for name, of_container in of_pod.items()
                }
                for uid, of_pod in found["grants"].items()
            }
            return cls(file, grants, set(found["resources"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # None yet, or cut short by a power failure: nothing of it is running then.
            return cls(file)

    def save(self) -> None:
        grants = {
            uid: {name: {r: asdict(g) for r, g in by.items()} for name, by in of_pod.items()}
            for uid, of_pod in self.grants.items()
        }
        new = self.file.with_suffix(".new")
        new.write_bytes(orjson.dumps({"grants": grants, "resources": sorted(self.resources)}))
        new.rename(self.file)

    def of(self, pod_uid: str, container: str) -> dict[str, Grant]:
        return self.grants.get(pod_uid, {}).get(container, {})

    def give(self, pod_uid: str, container: str, resource: str, grant: Grant) -> None:
        self.grants.setdefault(pod_uid, {}).setdefault(container, {})[resource] = grant
        self.save()

    def release(self, pod_uid: str) -> None:
        if self.grants.pop(pod_uid, None) is not None:
            self.save()

    def taken(self, resource: str) -> set[str]:
        return {
            device
            for of_pod in self.grants.values()
            for by in of_pod.values()
            if resource in by
            for device in by[resource].device_ids
        }

    def reusable(self, pod: pods.Pod, resource: str) -> list[str]:
        """Devices of the pod's init containers that have ended by the time app containers start."""
        ended = [c["name"] for c in pods.init_containers(pod) if not pods.is_sidecar(c)]
        others = {c["name"] for c in (*pods.sidecars(pod), *pods.app_containers(pod))}
        of_pod = self.grants.get(pods.uid(pod), {})
        held = {d for name in others for d in _ids(of_pod, name, resource)}
        return [d for name in ended for d in _ids(of_pod, name, resource) if d not in held]


def _ids(of_pod: Mapping[str, Mapping[str, Grant]], name: str, resource: str) -> list[str]:
    grant = of_pod.get(name, {}).get(resource)
    return grant.device_ids if grant is not None else []


def wanted(container: pods.Container) -> dict[str, int]:
    """How many of each extended resource a container asks for."""
    limits = (container.get("resources") or {}).get("limits") or {}
    return {name: quantity.value(text) for name, text in limits.items() if "/" in name}


def choose(resource: str, count: int, healthy: Iterable[str], taken: set[str], reusable: Iterable[str]) -> list[str]:
    """`count` devices, those that may be used again first. Raises DeviceError."""
    healthy = set(healthy)
    found = [device for device in dict.fromkeys(reusable) if device in healthy]
    free = sorted(healthy - taken - set(found))
    if len(found) + len(free) < count:
        available = len(found) + len(free)
        raise DeviceError(
            f"Allocate failed due to requested number of devices unavailable for {resource}. "
            f"Requested: {count}, Available: {available}, which is unexpected"
        )
    return (found + free)[:count]
