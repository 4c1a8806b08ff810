"""The sandbox of one worker's pod: its configuration, its control group, and the runtime handler that makes it."""

from __future__ import annotations

from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import RUNTIMECLASSES
from shirube.kubelet import pod as pods
from shirube.kubelet.cri.client import CriError
from shirube.kubelet.node_services import NodeServices
from shirube.kubelet.sandbox_config import sandbox_config


class WorkerSandbox:
    def __init__(self, services: NodeServices) -> None:
        self._services = services
        self._cgroup = ""

    def reset(self) -> None:
        """The pod's control group has been removed."""
        self._cgroup = ""

    def config(self, pod: pods.Pod, attempt: int) -> dict[str, Any]:
        """CRI's `PodSandboxConfig`. Makes the pod's control group."""
        services = self._services
        if not self._cgroup:
            self._cgroup = services.cgroups.create_pod(pod)
        return sandbox_config(pod, attempt, paths=services.paths, cluster=services.cluster, cgroup_parent=self._cgroup)

    async def run(self, pod: pods.Pod, attempt: int) -> None:
        """Make it. Raises CriError, ApiError."""
        services = self._services
        services.paths.pod_logs(pod).mkdir(parents=True, exist_ok=True)
        try:
            await services.runtime.call(
                "RunPodSandbox",
                deadline=240,
                config=self.config(pod, attempt),
                runtime_handler=await self._runtime_handler(pod),
            )
        except CriError as error:
            services.tell(pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            raise

    async def _runtime_handler(self, pod: pods.Pod) -> str:
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        try:
            found = await self._services.client.get(RUNTIMECLASSES, name)
        except ApiError as error:
            message = f'Failed to create pod sandbox: failed to find runtime class "{name}": {error.message}'
            self._services.tell(pod, "Warning", "FailedCreatePodSandBox", message)
            raise
        return str(found.get("handler") or "")
