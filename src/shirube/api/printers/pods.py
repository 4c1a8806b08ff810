"""Rows of pods: the one word that says how a pod is.

Follows k8s.io/kubernetes ``pkg/printers/internalversion`` (printPod).
"""

from __future__ import annotations

from typing import Any

from shirube.api.printers.cell_text import NONE, containers_text, labels_text
from shirube.api.printers.column import AGE as AGE_COLUMN
from shirube.api.printers.column import NAME, Column, Obj, Printer, wide
from shirube.api.printers.duration import age, since

_COLUMNS = (
    NAME,
    Column("Ready", "How many of the containers are ready, of how many."),
    Column("Status", "What the pod is doing: its phase, or the reason why it is not running."),
    Column("Restarts", "How often containers were restarted, and when last."),
    AGE_COLUMN,
    wide("IP", "Address of the pod."),
    wide("Node", "Node that the pod is bound to."),
    wide("Nominated Node", "Node on which room is being made for the pod."),
    wide("Readiness Gates", "How many of the readiness gates are open."),
)
_FINISHED = {
    "Succeeded": ("Succeeded", "The pod has completed successfully."),
    "Failed": ("Failed", "The pod failed."),
}


def _terminated_reason(state: Obj, prefix: str = "") -> str:
    if reason := state.get("reason"):
        return f"{prefix}{reason}"
    if signal := state.get("signal"):
        return f"{prefix}Signal:{signal}"
    return f"{prefix}ExitCode:{state.get('exitCode', 0)}"


class _Summary:
    """What is gathered while the container statuses are read."""

    def __init__(self, pod: Obj) -> None:
        self.spec: Obj = pod.get("spec") or {}
        self.status: Obj = pod.get("status") or {}
        self.reason: str = self.status.get("reason") or self.status.get("phase", "")
        self.ready = 0
        self.total = len(self.spec.get("containers") or ())
        self.restarts = 0
        self.last_restart = ""

    def condition(self, kind: str) -> Obj:
        return next((c for c in self.status.get("conditions") or () if c.get("type") == kind), {})

    def count(self, status: Obj) -> None:
        self.restarts += status.get("restartCount", 0)
        finished = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.last_restart = max(self.last_restart, finished)

    def read_init_containers(self) -> bool:
        """Whether initialisation is still going on, or has failed."""
        specs = self.spec.get("initContainers") or []
        sidecars = {c.get("name") for c in specs if c.get("restartPolicy") == "Always"}
        self.total += len(sidecars)
        of_sidecars = _Summary({})
        initializing = False
        for i, status in enumerate(self.status.get("initContainerStatuses") or ()):
            self.count(status)
            if status.get("name") in sidecars:
                of_sidecars.count(status)
            state = status.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting") or {}
            if terminated is not None and terminated.get("exitCode", 0) == 0:
                continue
            if status.get("name") in sidecars and status.get("started"):
                self.ready += 1 if status.get("ready") else 0
                continue
            initializing = True
            if terminated is not None:
                self.reason = _terminated_reason(terminated, "Init:")
            elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
                self.reason = f"Init:{waiting['reason']}"
            else:
                self.reason = f"Init:{i}/{len(specs)}"
            break
        if not initializing or self.condition("Initialized").get("status") == "True":
            self.restarts, self.last_restart = of_sidecars.restarts, of_sidecars.last_restart
            return False
        return True

    def read_containers(self) -> None:
        running = False
        for status in reversed(self.status.get("containerStatuses") or []):
            self.count(status)
            state = status.get("state") or {}
            waiting, terminated = state.get("waiting") or {}, state.get("terminated")
            if waiting.get("reason"):
                self.reason = waiting["reason"]
            elif terminated is not None:
                self.reason = _terminated_reason(terminated)
            elif status.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed" and running:
            ready = self.condition("Ready").get("status") == "True"
            self.reason = "Running" if ready else "NotReady"


def pod_summary(pod: Obj) -> _Summary:
    """Status word, readiness and restarts of a pod."""
    summary = _Summary(pod)
    if summary.condition("PodScheduled").get("reason") == "SchedulingGated":
        summary.reason = "SchedulingGated"
    if not summary.read_init_containers():
        summary.read_containers()
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        if summary.status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif summary.status.get("phase") not in ("Succeeded", "Failed"):
            summary.reason = "Terminating"
    return summary


def _gates(summary: _Summary) -> str:
    gates = summary.spec.get("readinessGates") or []
    if not gates:
        return NONE
    opened = sum(1 for g in gates if summary.condition(g.get("conditionType", "")).get("status") == "True")
    return f"{opened}/{len(gates)}"


def _pod(pod: Obj, now: float) -> list[Any]:
    summary = pod_summary(pod)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts += f" ({since(summary.last_restart, now)} ago)"
    addresses = summary.status.get("podIPs") or [{"ip": summary.status.get("podIP", "")}]
    return [
        pod["metadata"].get("name", ""),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        age(pod, now),
        addresses[0].get("ip") or NONE,
        summary.spec.get("nodeName") or NONE,
        summary.status.get("nominatedNodeName") or NONE,
        _gates(summary),
    ]


def _conditions(pod: Obj) -> list[dict[str, str]]:
    finished = _FINISHED.get((pod.get("status") or {}).get("phase", ""))
    if finished is None:
        return []
    return [{"type": "Completed", "status": "True", "reason": finished[0], "message": finished[1]}]


def _pod_template(obj: Obj, now: float) -> list[Any]:
    template = obj.get("template") or {}
    names, images = containers_text(template.get("spec"))
    labels = (template.get("metadata") or {}).get("labels")
    return [obj["metadata"].get("name", ""), names, images, labels_text(labels)]


PRINTERS = {
    ("", "pods"): Printer(_COLUMNS, _pod, _conditions),
    ("", "podtemplates"): Printer(
        (
            NAME,
            Column("Containers", "Names of the containers in the template."),
            Column("Images", "Images of the containers in the template."),
            Column("Pod Labels", "Labels that pods made from the template get."),
        ),
        _pod_template,
    ),
}
