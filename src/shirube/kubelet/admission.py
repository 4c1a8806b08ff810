"""Whether this node takes a pod: resources that are free, labels that it requires, pressure. Pure.

The scheduler decides with what it knew; a pod may still come where it does not fit (bound by hand, a race, a
device that is gone). What is refused fails with a reason and upstream's words, and its owner makes another one.
Also judges whether a resize fits. Follows the upstream kubelet's `lifecycle` predicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shirube.api import quantity
from shirube.kubelet import node_selector, qos
from shirube.kubelet import pod as pods


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the node does not run a pod: the failed pod's reason and message."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Lack:
    """A resource of which the node has too little; cpu in millicores, others in units."""

    resource: str
    requested: int
    used: int
    capacity: int

    @property
    def words(self) -> str:
        numbers = f"requested: {self.requested}, used: {self.used}, capacity: {self.capacity}"
        return f"Node didn't have enough resource: {self.resource}, {numbers}"


@dataclass(frozen=True, slots=True)
class NodeView:
    """What admission looks at."""

    node: Mapping[str, Any]
    allocatable: Mapping[str, str]
    pressures: Sequence[str] = field(default_factory=tuple)  # conditions that hold, like MemoryPressure


def lacks(pod: pods.Pod, others: Iterable[pods.Pod], allocatable: Mapping[str, str]) -> list[Lack]:
    """What the pod asks for beyond what `others` leave. Resources that the node never heard of are not judged."""
    others = list(others)
    found = []
    room = quantity.value(allocatable["pods"]) if "pods" in allocatable else None
    if room is not None and len(others) + 1 > room:
        found.append(Lack("pods", 1, len(others), room))
    for resource in requested(pod):
        if resource not in allocatable:
            continue
        measure = quantity.milli if resource == "cpu" else quantity.value
        capacity = measure(allocatable[resource])
        wanted = qos.pod_total(pod, "requests", resource) or 0
        used = qos.total_requests(others, resource)
        if wanted and wanted + used > capacity:
            found.append(Lack(resource, wanted, used, capacity))
    return found


def requested(pod: pods.Pod) -> list[str]:
    """The resources that a pod asks for, cpu and memory first."""
    parts = [pod["spec"].get("resources")]
    parts += [c.get("resources") for c in (*pods.init_containers(pod), *pods.app_containers(pod))]
    names = {name for part in parts for which in ("requests", "limits") for name in (part or {}).get(which) or {}}
    names.update(pod["spec"].get("overhead") or ())
    return sorted(names, key=lambda name: (("cpu", "memory").index(name) if name in ("cpu", "memory") else 2, name))


def judge(pod: pods.Pod, others: Iterable[pods.Pod], view: NodeView) -> Rejection | None:
    """Why the node refuses the pod; None when it takes it."""
    if (system := (pod["spec"].get("os") or {}).get("name") or "linux") != "linux":
        return Rejection("PodOSNotSupported", f"Failed to admit pod as the OS field doesn't match node OS: {system}")
    # Memory pressure keeps only those away that asked for none.
    barred = qos.qos_class(pod) == qos.BEST_EFFORT or list(view.pressures) != ["MemoryPressure"]
    if view.pressures and barred and not is_critical(pod):
        return Rejection("Evicted", f"The node had condition: [{' '.join(view.pressures)}]. ")
    others = list(others)
    for lack in lacks(pod, others, view.allocatable):
        return Rejection(f"OutOf{lack.resource}", f"Pod was rejected: {lack.words}")
    if not node_selector.pod_fits(pod, view.node):
        why = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        return Rejection("NodeAffinity", f"Pod was rejected: {why}")
    if _host_ports(pod) & {port for other in others for port in _host_ports(other)}:
        why = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        return Rejection("NodePorts", f"Pod was rejected: {why}")
    return None


def is_critical(pod: pods.Pod) -> bool:
    """Static pods and those of the system's priority classes stay whatever the node suffers from."""
    return pods.is_static(pod) or (pod["spec"].get("priority") or 0) >= 2_000_000_000


def _host_ports(pod: pods.Pod) -> set[tuple[str, int, str]]:
    return {
        (port.get("protocol") or "TCP", port["hostPort"], port.get("hostIP") or "")
        for container in (*pods.sidecars(pod), *pods.app_containers(pod))
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }
