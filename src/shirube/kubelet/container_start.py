"""Starting one container: image, environment, mounts, create, start, postStart.

What cannot be done is a `StartFailed` with the reason that the container's status then waits for; the worker
holds the container and tries again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from shirube.api.errors import ApiError
from shirube.kubelet import dns, security
from shirube.kubelet import environment as environments
from shirube.kubelet import pod as pods
from shirube.kubelet.container_config import Inputs, container_config
from shirube.kubelet.container_stop import StopRequest, hook_target, stop_container
from shirube.kubelet.cri.client import CriError
from shirube.kubelet.device_allocation import DeviceError
from shirube.kubelet.environment import ConfigError
from shirube.kubelet.hooks import HookError, run_hook
from shirube.kubelet.images import ImageError
from shirube.kubelet.node_services import NodeServices
from shirube.kubelet.plan import Start
from shirube.kubelet.runtime_state import PodRuntime
from shirube.kubelet.volumes.mounts import volume_devices, volume_mounts
from shirube.kubelet.volumes.volume import Made

# Runs something that may take long; ends early with `Interrupted` when the pod is to end.
Interruptible = Callable[[Awaitable[Any]], Awaitable[Any]]


class StartFailed(Exception):
    """A container could not be started."""

    def __init__(self, reason: str, message: str, retry_at: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at


class ContainerStart:
    """One start of one container of a pod."""

    def __init__(
        self,
        services: NodeServices,
        pod: pods.Pod,
        start: Start,
        runtime: PodRuntime,
        volumes: Mapping[str, Made],
        pod_ips: tuple[str, ...],
        sandbox_config: Mapping[str, Any],
    ) -> None:
        container = pods.container_named(pod, start.name)
        assert container is not None, "the plan names containers of the pod"
        assert runtime.sandbox is not None, "the plan makes a sandbox first"
        self._services, self._pod, self._container = services, pod, container
        self._start, self._runtime, self._volumes = start, runtime, volumes
        self._pod_ips = pod_ips
        self._sandbox = runtime.sandbox
        self._sandbox_config = sandbox_config

    @property
    def container(self) -> pods.Container:
        return self._container

    async def run(self, interruptible: Interruptible) -> str:
        """The new container's ID. Raises StartFailed."""
        image = await self._image(interruptible)
        try:
            security.check_image_user(self._pod, self._container, image)
            await self._services.devices.before_start(self._pod, self._container)
            config = await self._config(image)
        except (ConfigError, DeviceError, security.SecurityError) as error:
            self._tell("Warning", "Failed", f"Error: {error}")
            raise StartFailed("CreateContainerConfigError", str(error)) from error
        container_id = await self._create_and_start(config)
        await self._post_start(container_id, interruptible)
        return container_id

    def _tell(self, type: str, reason: str, message: str) -> None:
        self._services.tell(self._pod, type, reason, message, self._start.name)

    # -- image

    async def _image(self, interruptible: Interruptible) -> Any:
        namespace = pods.namespace(self._pod)
        names = [ref["name"] for ref in self._pod["spec"].get("imagePullSecrets") or () if ref.get("name")]
        wanted = [("secrets", name) for name in names]
        try:
            found = await self._services.objects.get_all(namespace, wanted) if wanted else {}
            pull_secrets = [found[ref] for ref in wanted if ref in found]
            ensure = self._services.images.ensure(pods.uid(self._pod), self._container, pull_secrets, self._tell)
            return await interruptible(ensure)
        except ImageError as error:
            raise StartFailed(error.reason, error.message, error.retry_at) from error
        except (CriError, ApiError) as error:
            raise StartFailed("ErrImagePull", str(error)) from error

    # -- configuration

    async def _config(self, image: Any) -> dict[str, Any]:
        pod, container, services = self._pod, self._container, self._services
        references = environments.references(container)
        try:
            objects = await services.objects.get_all(pods.namespace(pod), references) if references else {}
        except ApiError as error:
            raise ConfigError(str(error)) from error
        service_environment = services.services_for(pod)
        sources = environments.Sources(objects, service_environment, services.node(), self._pod_ips)
        variables = environments.environment(pod, container, sources)
        grants = [*services.devices.grants(pod, container), *await services.claims.grants(pod, container)]
        inputs = Inputs(
            attempt=self._start.attempt,
            image_ref=image.id,
            # What the container itself says wins over its device plugins.
            environment={**{k: v for g in grants for k, v in g.envs.items()}, **variables},
            service_environment=service_environment,
            mounts=self._mounts(variables) + [m for g in grants for m in g.mounts],
            memory_capacity=services.memory_capacity,
            seccomp_dir=str(services.paths.seccomp),
            target_id=self._target_id(),
            devices=[*volume_devices(container, self._volumes), *(d for g in grants for d in g.devices)],
            annotations={k: v for g in grants for k, v in g.annotations.items()},
        )
        return container_config(pod, container, inputs)

    def _target_id(self) -> str:
        target = self._container.get("targetContainerName")
        if not target:
            return ""
        found = self._runtime.latest(target)
        if found is None:
            raise ConfigError(f'unable to find target container "{target}"')
        return found.id

    def _mounts(self, variables: Mapping[str, str]) -> list[dict[str, Any]]:
        pod, paths = self._pod, self._services.paths
        try:
            mounts = volume_mounts(pod, self._container, self._volumes, variables, paths)
            taken = {mount["container_path"].rstrip("/") for mount in mounts}
            if "/etc/hosts" not in taken:
                mounts.append(_mount("/etc/hosts", self._hosts_file()))
            message_path = self._container.get("terminationMessagePath") or "/dev/termination-log"
            if message_path not in taken:
                mounts.append(_mount(message_path, self._message_file()))
        except OSError as error:
            raise ConfigError(f"cannot prepare the container's files: {error}") from error
        return mounts

    def _hosts_file(self) -> Path:
        path = self._services.paths.hosts_file(pods.uid(self._pod))
        text = dns.hosts_file(self._pod, self._pod_ips, self._services.cluster.domain)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            # Written in place: running containers have this very file mounted.
            path.write_text(text)
            path.chmod(0o644)
        return path

    def _message_file(self) -> Path:
        directory = self._services.paths.container(pods.uid(self._pod), self._start.name)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / secrets.token_hex(4)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        # Whatever user the container runs as may write it, whatever our umask is.
        path.chmod(0o666)
        return path

    # -- runtime

    async def _create_and_start(self, config: dict[str, Any]) -> str:
        name, runtime = self._start.name, self._services.runtime
        (self._services.paths.pod_logs(self._pod) / name).mkdir(parents=True, exist_ok=True)
        try:
            answer = await runtime.call(
                "CreateContainer",
                pod_sandbox_id=self._sandbox.id,
                config=config,
                sandbox_config=self._sandbox_config,
            )
        except CriError as error:
            self._tell("Warning", "Failed", f"Error: {error.message}")
            raise StartFailed("CreateContainerError", error.message) from error
        container_id: str = answer.container_id
        self._services.state.pod_of[container_id] = pods.uid(self._pod)
        self._tell("Normal", "Created", "Container created")
        try:
            await runtime.call("StartContainer", container_id=container_id)
        except CriError as error:
            self._tell("Warning", "Failed", f"Error: {error.message}")
            raise StartFailed("RunContainerError", error.message) from error
        self._tell("Normal", "Started", "Container started")
        return container_id

    async def _post_start(self, container_id: str, interruptible: Interruptible) -> None:
        handler = (self._container.get("lifecycle") or {}).get("postStart")
        if not handler:
            return
        target = hook_target(self._pod, self._container, container_id, self._pod_ips)
        try:
            await interruptible(run_hook(self._services.runtime, handler, target))
        except HookError as error:
            self._tell("Warning", "FailedPostStartHook", f"PostStartHook failed: {error}")
            record = await self._services.state.container_status(container_id)
            if record is not None:
                request = StopRequest(pods.grace_period(self._pod), "FailedPostStartHook")
                await stop_container(self._services, self._pod, record, request)
            raise StartFailed("PostStartHookError", str(error)) from error


def _mount(container_path: str, host_path: Path) -> dict[str, Any]:
    return {
        "container_path": container_path,
        "host_path": str(host_path),
        "propagation": "PROPAGATION_PRIVATE",
    }
