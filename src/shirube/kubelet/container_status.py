"""One container's status, from the runtime's records of it and what the worker knows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shirube.foundation.clock import rfc3339
from shirube.kubelet import pod as pods
from shirube.kubelet.plan import Waiting
from shirube.kubelet.runtime_state import CREATED, EXITED, NANO, RUNNING, Container, PodRuntime
from shirube.kubelet.volumes import kernel_mounts


@dataclass(frozen=True, slots=True)
class View:
    """What statuses are made from, beside the pod."""

    runtime: PodRuntime
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    started: Callable[[str], bool] = lambda _id: True
    ready: Callable[[str], bool] = lambda _id: True
    messages: Mapping[str, str] = field(default_factory=dict)  # container ID -> termination message
    runtime_name: str = "containerd"
    # The pod has ended or is ending: what has no record will not start any more.
    ending: bool = False
    # The resources in force for a container ID; None for what its spec says.
    resources: Callable[[str], Mapping[str, Any] | None] = lambda _id: None
    # The devices that the container of a name was given, with their health: `allocatedResourcesStatus`.
    devices: Callable[[str], list[dict[str, Any]]] = lambda _name: []


def container_status(
    pod: pods.Pod, kind: str, container: pods.Container, view: View, default_waiting: str
) -> dict[str, Any]:
    """A `ContainerStatus`."""
    name = container["name"]
    records = view.runtime.attempts(name)
    current = records[0] if records else None
    state, last = _states(pod, name, records, view, default_waiting)
    status: dict[str, Any] = {
        "name": name,
        "state": state,
        "lastState": last,
        "ready": False,
        "restartCount": current.attempt if current else _known_restarts(pod, name),
        "image": current.image if current and current.image else container.get("image", ""),
        "imageID": current.image_ref if current else "",
        "started": False,
    }
    if current is not None:
        status["containerID"] = f"{view.runtime_name}://{current.id}"
        if current.state == RUNNING:
            started = view.started(current.id)
            status["started"] = started
            if kind in (pods.APP, pods.SIDECAR):
                status["ready"] = started and view.ready(current.id)
        elif kind == pods.INIT and current.state == EXITED and "terminated" in state:
            status["ready"] = current.exit_code == 0
    if current is not None and kind != pods.EPHEMERAL and "running" in state and container.get("resources"):
        status["resources"] = view.resources(current.id) or container["resources"]
        if requests := container["resources"].get("requests"):
            status["allocatedResources"] = requests
    if devices := view.devices(name):
        status["allocatedResourcesStatus"] = devices
    if signal := (container.get("lifecycle") or {}).get("stopSignal"):
        status["stopSignal"] = signal
    if current is not None and (mounts := container.get("volumeMounts")):
        status["volumeMounts"] = [_mount_status(mount) for mount in mounts]
    return status


def _mount_status(mount: Mapping[str, Any]) -> dict[str, Any]:
    status: dict[str, Any] = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        status |= {"readOnly": True, "recursiveReadOnly": _recursive(mount)}
    return status


def _recursive(mount: Mapping[str, Any]) -> str:
    wanted = mount.get("recursiveReadOnly") in ("Enabled", "IfPossible") and kernel_mounts.can_lock_recursively()
    return "Enabled" if wanted else "Disabled"


def _known_restarts(pod: pods.Pod, name: str) -> int:
    known = known_status(pod, name)
    return int(known.get("restartCount") or 0) if known else 0


def known_status(pod: pods.Pod, name: str) -> Mapping[str, Any] | None:
    """What the API holds about the container."""
    status = pod.get("status") or {}
    for part in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        found: Mapping[str, Any]
        for found in status.get(part) or ():
            if found["name"] == name:
                return found
    return None


def _states(
    pod: pods.Pod, name: str, records: list[Container], view: View, default_waiting: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state, lastState)."""
    waiting = view.waiting.get(name)
    current = records[0] if records else None
    previous = next((r for r in records[1:] if r.state == EXITED), None)
    last = _terminated(previous, view) if previous else {}
    if current is None:
        known = known_status(pod, name)
        if known and "terminated" in (known.get("state") or {}) and waiting is None:
            # Removed from the runtime meanwhile: what was told about its end stays true.
            return dict(known["state"]), dict(known.get("lastState") or {})
        if known and known.get("containerID") and view.ending:
            return _vanished(known), dict(known.get("lastState") or {})
        last = dict((known or {}).get("lastState") or {})
        return _waiting(waiting or Waiting(default_waiting, "")), last
    if current.state == RUNNING:
        return {"running": {"startedAt": rfc3339(current.started_at / NANO)}}, last
    if current.state == CREATED:
        return _waiting(waiting or Waiting(default_waiting, "")), last
    ended = _terminated(current, view)
    if waiting is not None:
        return _waiting(waiting), ended
    return ended, last


def _waiting(waiting: Waiting) -> dict[str, Any]:
    return {"waiting": {"reason": waiting.reason, **({"message": waiting.message} if waiting.message else {})}}


def _terminated(record: Container, view: View) -> dict[str, Any]:
    reason = record.reason or ("Completed" if record.exit_code == 0 else "Error")
    message = view.messages.get(record.id, record.message)
    ended: dict[str, Any] = {
        "exitCode": record.exit_code,
        "reason": reason,
        "startedAt": rfc3339(record.started_at / NANO) if record.started_at > 0 else None,
        "finishedAt": rfc3339(record.finished_at / NANO) if record.finished_at > 0 else None,
        "containerID": f"{view.runtime_name}://{record.id}",
    }
    if message:
        ended["message"] = message
    return {"terminated": ended}


def _vanished(known: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "terminated": {
            "exitCode": 137,
            "reason": "ContainerStatusUnknown",
            "message": "The container could not be located when the pod was terminated",
            "startedAt": None,
            "finishedAt": None,
            "containerID": known["containerID"],
        }
    }
