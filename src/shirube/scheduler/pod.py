"""What the scheduler needs to know of a pod, read once when the pod enters the queue. Pure.

Requests follow upstream's `PodRequests`: the sum of containers and sidecars, or the largest moment while init
containers run, whichever is more, plus overhead; pod-level resources win where they are set (KEP-2837).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shirube.api import quantity

Object = dict[str, Any]
Port = tuple[str, str, int]  # (host IP, protocol, port)

CPU, MEMORY, EPHEMERAL, PODS = "cpu", "memory", "ephemeral-storage", "pods"
# What a container without requests is counted as when scores (not filters) compare nodes.
_DEFAULT_CPU = 100
_DEFAULT_MEMORY = 200 * 1024 * 1024


@dataclass(slots=True)
class PodInfo:
    """A pod to place. Amounts: CPU in milli-cores, everything else in its own unit."""

    key: str
    uid: str
    name: str
    namespace: str
    priority: int
    requests: dict[str, int]
    nonzero_cpu: int
    nonzero_memory: int
    node_name: str
    selector: dict[str, str]
    required_terms: list[Object] | None
    preferred_terms: list[Object]
    tolerations: list[Object]
    ports: frozenset[Port]
    scheduler_name: str
    gates: list[str] = field(default_factory=list)


def key_of(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def project(pod: Object) -> Object:
    """The part of a pod that the scheduler keeps in memory."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    kept_metadata = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp", "creationTimestamp")
    kept_spec = (
        "nodeName", "nodeSelector", "affinity", "tolerations", "schedulerName", "priority", "overhead", "resources",
        "schedulingGates",
    )  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {k: metadata[k] for k in kept_metadata if k in metadata},
        "spec": {
            **{k: spec[k] for k in kept_spec if k in spec},
            "hostNetwork": spec.get("hostNetwork", False),
            "containers": [_container(c) for c in spec.get("containers") or []],
            "initContainers": [_container(c) for c in spec.get("initContainers") or []],
        },
        "status": {
            "phase": status.get("phase", ""),
            "conditions": [c for c in status.get("conditions") or [] if c["type"] == "PodScheduled"],
        },
    }


def _container(container: Object) -> Object:
    return {k: container[k] for k in ("resources", "ports", "restartPolicy") if k in container}


def read(pod: Object) -> PodInfo:
    """A pod (whole or projected) as the plugins want it. Raises ValueError for quantities that are none."""
    metadata, spec = pod["metadata"], pod["spec"]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    total = requests(spec)
    nonzero_cpu, nonzero_memory = _nonzero(spec)
    return PodInfo(
        key=key_of(pod),
        uid=metadata["uid"],
        name=metadata["name"],
        namespace=metadata["namespace"],
        priority=spec.get("priority") or 0,
        requests=total,
        nonzero_cpu=nonzero_cpu,
        nonzero_memory=nonzero_memory,
        node_name=spec.get("nodeName", ""),
        selector=spec.get("nodeSelector") or {},
        required_terms=None if required is None else required.get("nodeSelectorTerms") or [],
        preferred_terms=affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or [],
        tolerations=spec.get("tolerations") or [],
        ports=frozenset(_host_ports(spec)),
        scheduler_name=spec.get("schedulerName", "default-scheduler"),
        gates=[g["name"] for g in spec.get("schedulingGates") or []],
    )


def amounts(resources: Object | None) -> dict[str, int]:
    """`requests` as integers."""
    found = {}
    for name, text in (resources or {}).items():
        found[name] = quantity.milli(text) if name == CPU else quantity.value(text)
    return found


def requests(spec: Object) -> dict[str, int]:
    """The pod's effective requests."""
    running: dict[str, int] = {}
    for container in spec.get("containers") or []:
        _add(running, amounts((container.get("resources") or {}).get("requests")))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or []:
        own = amounts((container.get("resources") or {}).get("requests"))
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            _add(running, own)
            own = {}
        at_that_time = dict(sidecars)
        _add(at_that_time, own)
        for name, amount in at_that_time.items():
            peak[name] = max(peak.get(name, 0), amount)
    total = {name: max(running.get(name, 0), peak.get(name, 0)) for name in running.keys() | peak.keys()}
    total.update(amounts((spec.get("resources") or {}).get("requests")))
    _add(total, amounts(spec.get("overhead")))
    return total


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _nonzero(spec: Object) -> tuple[int, int]:
    cpu = memory = 0
    for container in spec.get("containers") or []:
        own = amounts((container.get("resources") or {}).get("requests"))
        cpu += own.get(CPU, _DEFAULT_CPU)
        memory += own.get(MEMORY, _DEFAULT_MEMORY)
    overhead = amounts(spec.get("overhead"))
    return cpu + overhead.get(CPU, 0), memory + overhead.get(MEMORY, 0)


def _host_ports(spec: Object) -> list[Port]:
    found = []
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                found.append((port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), port["hostPort"]))  # noqa: S104
    return found
