"""In-place resize, what it means: from what is wanted, granted and in force to the next step. Pure.

Three sets of resources are told apart for a container: *wanted* (the spec in the API), *allocated* (granted by
this node, kept on disk) and *applied* (in force in the runtime). A wish is granted when it fits (else it is
Deferred, or Infeasible on this node for good); what is granted is then applied, by an update of the running
container or by restarting it, as its resize policy says.
Follows https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/ (KEP-1287).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shirube.kubelet import pod as pods
from shirube.kubelet import qos
from shirube.kubelet.admission import lacks

Resources = Mapping[str, Any]
# Container name -> resources; the pod's own are under "".
Allocation = dict[str, Resources]
PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
DEFERRED, INFEASIBLE = "Deferred", "Infeasible"


def resources_of(pod: pods.Pod) -> Allocation:
    found: Allocation = {c["name"]: c.get("resources") or {} for c in _resizable(pod)}
    if pod["spec"].get("resources"):
        found[""] = pod["spec"]["resources"]
    return found


def _resizable(pod: pods.Pod) -> Iterable[pods.Container]:
    return (*pods.init_containers(pod), *pods.app_containers(pod))


def with_resources(pod: pods.Pod, allocation: Mapping[str, Resources]) -> pods.Pod:
    """The pod as it would be with these resources; itself when they are its own."""
    if all(allocation.get(name, own) == own for name, own in resources_of(pod).items()):
        return pod
    spec = dict(pod["spec"])
    for part in ("initContainers", "containers"):
        if spec.get(part):
            spec[part] = [{**c, "resources": allocation.get(c["name"], c.get("resources") or {})} for c in spec[part]]
    if "" in allocation:
        spec["resources"] = allocation[""]
    return {**pod, "spec": spec}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a wish is granted; if not, the condition's reason and message."""

    reason: str = ""
    message: str = ""

    @property
    def granted(self) -> bool:
        return not self.reason


def judge(wanted: pods.Pod, others: Iterable[pods.Pod], allocatable: Mapping[str, str]) -> Verdict:
    if pods.is_static(wanted):
        return Verdict(INFEASIBLE, "In-place resize of static-pods is not supported")
    for lack in lacks(wanted, (), allocatable):
        numbers = f"requested: {lack.requested}, capacity: {lack.capacity}"
        return Verdict(INFEASIBLE, f"Node didn't have enough capacity: {lack.resource}, {numbers}")
    for lack in lacks(wanted, others, allocatable):
        return Verdict(DEFERRED, lack.words)
    return Verdict()


def differs(applied: Resources, allocated: Resources) -> set[str]:
    """The resources (cpu, memory) whose request or limit is not yet in force."""
    return {
        resource
        for resource in ("cpu", "memory")
        for which in ("requests", "limits")
        if qos.amount(applied, which, resource) != qos.amount(allocated, which, resource)
    }


def needs_restart(container: pods.Container, changed: Iterable[str]) -> bool:
    policies = {p["resourceName"]: p["restartPolicy"] for p in container.get("resizePolicy") or ()}
    return any(policies.get(resource) == "RestartContainer" for resource in changed)
