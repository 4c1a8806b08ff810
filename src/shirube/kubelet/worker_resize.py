"""One worker's resizing: keeps what was granted, grants what fits, and puts it in force.

What was granted and what is in force is kept in the pod's directory, so that a restarted agent neither grants
twice nor takes a wish for what is there. The decisions are `pod_resize`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from shirube.kubelet import pod as pods
from shirube.kubelet import pod_resize, qos
from shirube.kubelet.cri.client import CriError
from shirube.kubelet.node_services import NodeServices
from shirube.kubelet.pod_resize import Allocation, Resources
from shirube.kubelet.runtime_state import PodRuntime

_RETRY_DEFERRED = 10.0


class WorkerResize:
    def __init__(self, services: NodeServices, pod: pods.Pod) -> None:
        self._services = services
        self._file = services.paths.pod(pods.uid(pod)) / "resources.json"
        self._wanted = pod
        self._told: tuple[str, str] = ("", "")
        # Condition type -> (reason, message) of what holds now.
        self.conditions: dict[str, tuple[str, str]] = {}
        self._allocated, self._applied = _read(self._file)

    @property
    def next_round(self) -> float | None:
        """Seconds until a deferred or failed resize is worth another look."""
        return _RETRY_DEFERRED if self.conditions else None

    @property
    def is_waiting(self) -> bool:
        return pod_resize.PENDING in self.conditions

    def take(self, pod: pods.Pod) -> pods.Pod:
        """A newer version from the API, as this node runs it: with the resources that were granted."""
        self._wanted = pod
        return pod_resize.with_resources(pod, self._allocated)

    def resources(self, container_id: str) -> Resources | None:
        """What is in force for a container; None for what its spec says."""
        return self._applied.get(container_id)

    # -- granting

    def grant(self, pod: pods.Pod) -> pods.Pod:
        """The pod with its wish granted if it can be; `conditions` tell what became of it."""
        wish = pod_resize.resources_of(self._wanted)
        if not self._allocated:
            self._allocated = wish
            self._save()
        if all(self._allocated.get(name) == resources for name, resources in wish.items()):
            self.conditions.pop(pod_resize.PENDING, None)
            return pod
        services = self._services
        others = services.other_pods(pod)
        verdict = pod_resize.judge(self._wanted, others, services.node().allocatable)
        if not verdict.granted:
            self.conditions[pod_resize.PENDING] = (verdict.reason, verdict.message)
            self._tell("Warning", f"Resize{verdict.reason}", f"Pod resize {verdict.reason}: {verdict.message}")
            return pod
        self.conditions.pop(pod_resize.PENDING, None)
        self._allocated = wish
        self._save()
        granted = pod_resize.with_resources(self._wanted, self._allocated)
        # The pod's group must hold the larger of both while containers change.
        services.cgroups.widen_pod(pod, granted)
        return granted

    # -- applying

    async def apply(self, pod: pods.Pod, runtime: PodRuntime) -> list[tuple[str, str]]:
        """Put what is granted in force. The containers (ID, name) that must be restarted for it."""
        restart: list[tuple[str, str]] = []
        failed = ""
        started = False
        for record in runtime.running():
            container = pods.container_named(pod, record.name)
            applied = self._applied.get(record.id)
            if container is None or record.name not in self._allocated:
                continue
            allocated = container.get("resources") or {}
            if applied is None:
                self._applied[record.id] = allocated
                continue
            if applied == allocated:
                continue
            started = True
            changed = pod_resize.differs(applied, allocated)
            self._tell("Normal", "ResizeStarted", "Pod resize started")
            if pod_resize.needs_restart(container, changed):
                restart.append((record.id, record.name))
                continue
            failed = await self._update(pod, container, record.id, allocated) or failed
        if failed:
            self.conditions[pod_resize.IN_PROGRESS] = ("Error", failed)
        elif restart:
            self.conditions[pod_resize.IN_PROGRESS] = ("", "")
        else:
            self._finish(pod, started)
        self._forget(runtime)
        return restart

    async def _update(self, pod: pods.Pod, container: pods.Container, container_id: str, allocated: Resources) -> str:
        """Change a running container; why it could not be."""
        services = self._services
        linux = qos.linux_resources(pod, container, services.memory_capacity)
        # What had a limit and has none now must be told so.
        linux.setdefault("cpu_period", qos.PERIOD)
        linux.setdefault("cpu_quota", -1)
        try:
            await services.runtime.call("UpdateContainerResources", container_id=container_id, linux=linux)
        except CriError as error:
            return f"cannot resize container {container['name']}: {error.message}"
        self._applied[container_id] = allocated
        self._save()
        return ""

    def _finish(self, pod: pods.Pod, started: bool) -> None:
        was = self.conditions.pop(pod_resize.IN_PROGRESS, None)
        if started or was is not None:
            self._services.cgroups.create_pod(pod)
            self._tell("Normal", "ResizeCompleted", "Pod resize completed")

    def started(self, container_id: str, container: pods.Container) -> None:
        """A container was started with what is granted now."""
        self._applied[container_id] = container.get("resources") or {}
        self._save()

    # -- keeping

    def _tell(self, type: str, reason: str, message: str) -> None:
        if self._told != (reason, message):
            self._services.tell(self._wanted, type, reason, message)
            self._told = (reason, message)

    def _forget(self, runtime: PodRuntime) -> None:
        alive = {record.id for record in runtime.containers}
        for gone in self._applied.keys() - alive:
            del self._applied[gone]

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_bytes(orjson.dumps({"allocated": self._allocated, "applied": self._applied}))
        new.rename(self._file)


def _read(file: Path) -> tuple[Allocation, dict[str, Any]]:
    try:
        found = orjson.loads(file.read_bytes())
        return dict(found["allocated"]), dict(found["applied"])
    except (OSError, ValueError, KeyError, TypeError):
        # Not there yet, or cut short by a power failure: the spec is granted as it is.
        return {}, {}
