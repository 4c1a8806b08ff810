"""A pod's status: phase, conditions, container statuses, addresses. Pure.

Follows https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/; reasons and messages are upstream's.
Conditions that others own (readiness gates, DisruptionTarget) are neither made nor dropped here: the status is
written as a patch that names only the agent's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shirube.foundation.clock import rfc3339
from shirube.kubelet import pod as pods
from shirube.kubelet import qos
from shirube.kubelet.container_status import View, container_status
from shirube.kubelet.pod_resize import IN_PROGRESS, PENDING

Status = dict[str, Any]
PASSING_CONDITIONS = (PENDING, IN_PROGRESS)
OWN_CONDITIONS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
)


@dataclass(frozen=True, slots=True)
class Overall:
    """What holds for the pod as a whole."""

    host_ips: tuple[str, ...]
    now: float
    finished: bool = False  # no container will run again
    # A verdict on the whole pod (DeadlineExceeded, Evicted …): it fails with this reason and message.
    reason: str = ""
    message: str = ""
    # Conditions that hold only for a time: type -> (reason, message).
    passing: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def pod_status(pod: pods.Pod, view: View, overall: Overall) -> Status:
    """The status that the agent reports; only fields that it owns."""
    default = "PodInitializing" if pods.init_containers(pod) else "ContainerCreating"
    by_kind: dict[str, list[Status]] = {"init": [], "app": [], "ephemeral": []}
    for kind, container in pods.containers(pod):
        part = "init" if kind in (pods.INIT, pods.SIDECAR) else kind
        by_kind[part].append(container_status(pod, kind, container, view, default))
    phase = _phase(pod, by_kind["init"], by_kind["app"], view, overall)
    status: Status = {
        "phase": phase,
        "conditions": _conditions(pod, phase, by_kind, view, overall),
        "hostIP": overall.host_ips[0] if overall.host_ips else None,
        "hostIPs": [{"ip": ip} for ip in overall.host_ips],
        "startTime": (pod.get("status") or {}).get("startTime") or rfc3339(overall.now),
        "qosClass": (pod.get("status") or {}).get("qosClass") or qos.qos_class(pod),
        "containerStatuses": by_kind["app"],
        "observedGeneration": pod["metadata"].get("generation", 1),
        "reason": overall.reason or (pod.get("status") or {}).get("reason"),
        "message": overall.message or (pod.get("status") or {}).get("message"),
    }
    if by_kind["init"]:
        status["initContainerStatuses"] = by_kind["init"]
    if by_kind["ephemeral"]:
        status["ephemeralContainerStatuses"] = by_kind["ephemeral"]
    ips = pod_ips(pod, view, overall.host_ips)
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]
    return status


def rejected_status(pod: pods.Pod, overall: Overall) -> Status:
    """Of a pod that this node never took: there is nothing to tell but why."""
    return {
        "phase": "Failed",
        "reason": overall.reason,
        "message": overall.message,
        "startTime": (pod.get("status") or {}).get("startTime") or rfc3339(overall.now),
        "qosClass": (pod.get("status") or {}).get("qosClass") or qos.qos_class(pod),
        "observedGeneration": pod["metadata"].get("generation", 1),
    }


def pod_ips(pod: pods.Pod, view: View, host_ips: Sequence[str]) -> tuple[str, ...]:
    """The pod's addresses: its sandbox's, the node's on the host's network, else the last known."""
    if pods.is_host_network(pod):
        return tuple(host_ips)
    sandbox = view.runtime.sandbox
    if sandbox is not None and sandbox.ips:
        return sandbox.ips
    known = (pod.get("status") or {}).get("podIPs") or ()
    return tuple(entry["ip"] for entry in known)


# -- phase


def _phase(pod: pods.Pod, init: Sequence[Status], apps: Sequence[Status], view: View, overall: Overall) -> str:
    if pods.is_terminal(pod):
        # Nothing leads out of a final phase, whoever set it.
        return pods.phase(pod)
    app_ran = any(not _never_started(status) for status in apps)
    if overall.reason:
        wanted = "Failed"
    else:
        wanted = _phase_of_containers(pod, init, apps, overall.finished)
    if wanted in ("Succeeded", "Failed") and view.runtime.running():
        # Final means that nothing runs: until then the pod is what it was.
        return "Pending" if pods.phase(pod) == "Pending" and not app_ran else "Running"
    return wanted


def _phase_of_containers(pod: pods.Pod, init: Sequence[Status], apps: Sequence[Status], finished: bool) -> str:
    sidecars = {c["name"] for c in pods.sidecars(pod)}
    app_seen = any(not _never_started(status) for status in apps)
    if not app_seen:
        for status in init:
            failed = (status["state"].get("terminated") or {}).get("exitCode", 0) != 0
            if status["name"] not in sidecars and failed and finished:
                return "Failed"
        if any(not _init_done(status, status["name"] in sidecars) for status in init):
            return "Failed" if finished else "Pending"
    if any(_never_started(status) for status in apps):
        return "Failed" if finished else "Pending"
    if any("running" in status["state"] for status in apps) or not finished:
        return "Running"
    codes = [
        (status["state"].get("terminated") or status["lastState"].get("terminated") or {}).get("exitCode", 1)
        for status in apps
    ]
    return "Succeeded" if all(code == 0 for code in codes) else "Failed"


def _never_started(status: Status) -> bool:
    return "waiting" in status["state"] and not status["lastState"].get("terminated")


def _init_done(status: Status, sidecar: bool) -> bool:
    if sidecar:
        return bool(status["started"])
    return "terminated" in status["state"] and status["state"]["terminated"]["exitCode"] == 0


# -- conditions


def _conditions(
    pod: pods.Pod, phase: str, by_kind: Mapping[str, list[Status]], view: View, overall: Overall
) -> list[Status]:
    sandbox = view.runtime.sandbox
    has_sandbox = sandbox is not None and sandbox.ready and bool(sandbox.ips or pods.is_host_network(pod))
    containers_ready = _containers_ready(pod, phase, by_kind, view)
    conditions = [
        _condition("PodReadyToStartContainers", has_sandbox),
        _initialized(pod, phase, by_kind["init"], by_kind["app"]),
        _ready(pod, phase, containers_ready),
        containers_ready,
        _condition("PodScheduled", True),
    ]
    conditions += [
        _condition(kind, True, reason or None, text or None) for kind, (reason, text) in overall.passing.items()
    ]
    known = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    generation = pod["metadata"].get("generation", 1)
    for condition in conditions:
        before = known.get(condition["type"])
        if before is not None and before.get("status") == condition["status"]:
            condition["lastTransitionTime"] = before.get("lastTransitionTime") or rfc3339(overall.now)
        else:
            condition["lastTransitionTime"] = rfc3339(overall.now)
        condition["observedGeneration"] = generation
    over = [kind for kind in PASSING_CONDITIONS if kind in known and kind not in overall.passing]
    return conditions + [{"type": kind, "$patch": "delete"} for kind in over]


def _condition(kind: str, holds: bool, reason: str | None = None, message: str | None = None) -> Status:
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "lastProbeTime": None,
        "reason": reason,
        "message": message,
    }


def _initialized(pod: pods.Pod, phase: str, init: Sequence[Status], apps: Sequence[Status]) -> Status:
    if phase == "Succeeded":
        return _condition("Initialized", True, "PodCompleted")
    if any(not _never_started(status) for status in apps):
        return _condition("Initialized", True)
    sidecars = {c["name"] for c in pods.sidecars(pod)}
    pending = [s["name"] for s in init if not _init_done(s, s["name"] in sidecars)]
    if not pending:
        return _condition("Initialized", True)
    message = f"containers with incomplete status: [{' '.join(pending)}]"
    return _condition("Initialized", False, "ContainersNotInitialized", message)


def _containers_ready(pod: pods.Pod, phase: str, by_kind: Mapping[str, list[Status]], view: View) -> Status:
    if phase in ("Succeeded", "Failed"):
        return _condition("ContainersReady", False, "PodCompleted" if phase == "Succeeded" else "PodFailed")
    sidecars = {c["name"] for c in pods.sidecars(pod)}
    watched = [s for s in by_kind["init"] if s["name"] in sidecars] + by_kind["app"]
    unready = [s["name"] for s in watched if not s["ready"]]
    if not unready:
        return _condition("ContainersReady", True)
    message = f"containers with unready status: [{' '.join(unready)}]"
    return _condition("ContainersReady", False, "ContainersNotReady", message)


def _ready(pod: pods.Pod, phase: str, containers_ready: Status) -> Status:
    if containers_ready["status"] != "True":
        return _condition("Ready", False, containers_ready["reason"], containers_ready["message"])
    known = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    missing = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in known:
            missing.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif known[kind].get("status") != "True":
            found = known[kind].get("status")
            missing.append(f'the status of pod readiness gate "{kind}" is not "True", but {found}')
    if missing:
        message = missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]"
        return _condition("Ready", False, "ReadinessGatesNotReady", message)
    return _condition("Ready", True)
