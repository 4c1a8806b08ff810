"""The Node object and its status, as the agent reports them. Pure.

Follows https://kubernetes.io/docs/reference/node/node-status/; condition reasons and messages are upstream's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shirube import KUBERNETES_VERSION
from shirube.api import quantity
from shirube.foundation.clock import rfc3339
from shirube.kubelet import huge_pages
from shirube.kubelet.node_info import MachineInfo
from shirube.kubelet.runtime_features import Features, node_features

MAX_IMAGES = 50
# What this agent can do that others may not: without exclusive CPUs a guaranteed pod can be resized, too.
DECLARED_FEATURES = ("GuaranteedQoSPodCPUResize",)


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    name: str
    ips: tuple[str, ...]
    port: int
    max_pods: int
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reserve:
    """What pods do not get of a machine: for the system and the agent, and to stay clear of eviction."""

    cpu: int = 0  # millicores
    memory: int = 0  # bytes, as the next
    storage: int = 0


def reserve(machine: MachineInfo, parts: Sequence[Mapping[str, str]], hard: Mapping[str, str]) -> Reserve:
    """Of reserved resources and hard eviction thresholds (amounts or percentages)."""

    def given(resource: str, measure: Callable[[Any], int]) -> int:
        return sum(measure(part[resource]) for part in parts if resource in part)

    def threshold(signal: str, capacity: int) -> int:
        text = hard.get(signal, "0")
        return capacity * int(text[:-1]) // 100 if text.endswith("%") else quantity.value(text)

    return Reserve(
        given("cpu", quantity.milli),
        given("memory", quantity.value) + threshold("memory.available", machine.memory),
        given("ephemeral-storage", quantity.value) + threshold("nodefs.available", machine.disk),
    )


@dataclass(frozen=True, slots=True)
class Extended:
    """Resources of device plugins: what there is, and what of it is healthy."""

    capacity: Mapping[str, int] = field(default_factory=dict)
    allocatable: Mapping[str, int] = field(default_factory=dict)


_NOTHING_KEPT, _NO_DEVICES, _FEWEST = Reserve(), Extended(), Features()


@dataclass(frozen=True, slots=True)
class RuntimeReport:
    """What the runtime says of itself."""

    name: str = "containerd"
    version: str = ""
    # Why the node is not ready; none when it is.
    problems: tuple[str, ...] = ()
    images: tuple[tuple[tuple[str, ...], int], ...] = ()  # (names, bytes)
    features: Features = _FEWEST


def node_object(identity: NodeIdentity, machine: MachineInfo) -> dict[str, Any]:
    """What registration creates (its status follows by a patch)."""
    built_in = {
        "kubernetes.io/hostname": identity.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": identity.name,
            "labels": {**built_in, **identity.labels},
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {},
    }


def capacity(identity: NodeIdentity, machine: MachineInfo) -> dict[str, str]:
    return {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory // 1024}Ki",
        "ephemeral-storage": f"{machine.disk // 1024}Ki",
        **{name: huge_pages.amount(total) for name, total in huge_pages.resources(machine.huge_pages).items()},
        "pods": str(identity.max_pods),
    }


def allocatable(identity: NodeIdentity, machine: MachineInfo, kept: Reserve) -> dict[str, str]:
    milli = max(machine.cpus * 1000 - kept.cpu, 0)
    return {
        **capacity(identity, machine),
        "cpu": str(milli // 1000) if milli % 1000 == 0 else f"{milli}m",
        # Huge pages are taken from the memory, whoever uses them.
        "memory": f"{max(machine.memory - kept.memory - sum(machine.huge_pages.values()), 0) // 1024}Ki",
        "ephemeral-storage": str(max(machine.disk - kept.storage, 0)),
    }


def node_status(
    identity: NodeIdentity,
    machine: MachineInfo,
    runtime: RuntimeReport,
    known: Sequence[Mapping[str, Any]],
    now: float,
    kept: Reserve = _NOTHING_KEPT,
    pressures: Sequence[str] = (),
    extended: Extended = _NO_DEVICES,
) -> dict[str, Any]:
    """The status. `known` are the conditions that the API holds: a transition's time is kept."""
    return {
        "capacity": {**capacity(identity, machine), **_amounts(extended.capacity)},
        "allocatable": {**allocatable(identity, machine, kept), **_amounts(extended.allocatable)},
        "addresses": [
            *({"type": "InternalIP", "address": ip} for ip in identity.ips),
            {"type": "Hostname", "address": identity.name},
        ],
        "conditions": _conditions(runtime, known, now, pressures),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": identity.port}},
        "nodeInfo": {
            "machineID": machine.machine_id,
            "systemUUID": machine.system_uuid,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel,
            "osImage": machine.os_image,
            "containerRuntimeVersion": f"{runtime.name}://{runtime.version}",
            "kubeletVersion": KUBERNETES_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": machine.architecture,
            **({"swap": {"capacity": machine.swap}} if machine.swap else {}),
        },
        "images": [{"names": list(names), "sizeBytes": size} for names, size in runtime.images[:MAX_IMAGES]],
        **node_features(runtime.features),
        "declaredFeatures": list(DECLARED_FEATURES),
    }


def _amounts(resources: Mapping[str, int]) -> dict[str, str]:
    return {name: str(count) for name, count in resources.items()}


# Condition -> (reason, message) when it holds, then when it does not.
_PRESSURES = {
    "MemoryPressure": (
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ),
    "DiskPressure": (
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ),
    "PIDPressure": (
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ),
}


def _conditions(
    runtime: RuntimeReport, known: Sequence[Mapping[str, Any]], now: float, pressures: Sequence[str]
) -> list[dict[str, Any]]:
    ready = not runtime.problems
    problems = runtime.problems[0] if len(runtime.problems) == 1 else f"[{', '.join(runtime.problems)}]"
    rows = [
        *((kind, kind in pressures, *words[kind not in pressures]) for kind, words in _PRESSURES.items()),
        (
            "Ready",
            ready,
            "KubeletReady" if ready else "KubeletNotReady",
            "kubelet is posting ready status" if ready else problems,
        ),
    ]
    before = {condition["type"]: condition for condition in known}
    stamp = rfc3339(now)
    conditions = []
    for kind, holds, reason, message in rows:
        status = "True" if holds else "False"
        old = before.get(kind)
        same = old is not None and old.get("status") == status
        changed = old.get("lastTransitionTime") if same and old is not None else stamp
        conditions.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": stamp,
                "lastTransitionTime": changed or stamp,
                "reason": reason,
                "message": message,
            }
        )
    return conditions


def without_heartbeat(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status without what changes by itself: two of these differ when something happened."""
    conditions = [
        {key: value for key, value in condition.items() if key not in ("lastHeartbeatTime", "lastTransitionTime")}
        for condition in status["conditions"]
    ]
    return {**status, "conditions": conditions}
