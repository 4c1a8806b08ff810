"""Device plugins: they register on a socket of the agent, tell which devices there are, and say what a container
needs to use the ones that it is given.

A plugin that goes away leaves its resource with nothing allocatable; containers keep what they have. Sockets of
plugins are removed when the agent starts, which is how they learn to register again.
Follows https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/ (v1beta1).
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from shirube.foundation import log
from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet import cdi
from shirube.kubelet import pod as pods
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.cri.descriptors import Protocol
from shirube.kubelet.device_allocation import Book, DeviceError, Grant, choose, wanted
from shirube.kubelet.node_status import Extended

_logger = log.get("kubelet.devices")
_VERSION = "v1beta1"
_HEALTHY = "Healthy"
_CALL_SECONDS = 30.0
_PRE_START_SECONDS = 30.0


@dataclass(slots=True)
class _Plugin:
    resource: str
    connection: Runtime
    pre_start: bool
    preferred: bool
    devices: dict[str, bool] = field(default_factory=dict)  # ID -> healthy
    alive: bool = True
    task: asyncio.Task[None] | None = None


class DevicePlugins:
    def __init__(
        self, directory: Path, changed: Callable[[], None], cdi_directories: Sequence[Path] = cdi.DIRECTORIES
    ) -> None:
        """`changed` is called when what the node has is different."""
        self._directory = directory
        self._changed = changed
        self._cdi_directories = cdi_directories
        self._protocol = Protocol("device_plugin.json")
        self._plugins: dict[str, _Plugin] = {}
        self._server: Any = None
        self._allocating = asyncio.Lock()
        directory.mkdir(parents=True, exist_ok=True)
        self._book = Book.load(directory / "shirube_checkpoint")

    # -- serving

    async def start(self) -> None:
        for path in self._directory.iterdir():
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
        call = self._protocol.calls["Register"]
        method = grpc.unary_unary_rpc_method_handler(
            self._register,
            request_deserializer=call.request.FromString,
            response_serializer=call.response.SerializeToString,
        )
        self._server = grpc.aio.server()
        handler = grpc.method_handlers_generic_handler(f"{_VERSION}.Registration", {"Register": method})
        self._server.add_generic_rpc_handlers((handler,))
        self._server.add_insecure_port(f"unix://{self._directory}/kubelet.sock")
        await self._server.start()

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
        plugins, self._plugins = list(self._plugins.values()), {}
        for plugin in plugins:
            await self._end(plugin)

    async def _register(self, request: Any, context: Any) -> Any:
        if request.version != _VERSION:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"requested API version {request.version!r} is not supported by kubelet. "
                f"Supported version is {_VERSION}",
            )
        if not _is_extended(request.resource_name):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the ResourceName {request.resource_name!r} is invalid: use the form vendor-domain/resource",
            )
        if "/" in request.endpoint or not request.endpoint:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the endpoint must be a file name")
        if (old := self._plugins.get(request.resource_name)) is not None:
            await self._end(old)
        endpoint = str(self._directory / request.endpoint)
        options = request.options
        plugin = _Plugin(
            request.resource_name,
            Runtime(endpoint, self._protocol),
            options.pre_start_required,
            options.get_preferred_allocation_available,
        )
        self._plugins[plugin.resource] = plugin
        self._book.resources.add(plugin.resource)
        self._book.save()
        _logger.info("device plugin registered", resource=plugin.resource, endpoint=request.endpoint)
        plugin.task = spawn(self._follow(plugin), name=f"devices {plugin.resource}")
        return self._protocol["Empty"]()

    async def _follow(self, plugin: _Plugin) -> None:
        """Keep the devices as the plugin tells them, until it ends."""
        call = self._protocol.calls["ListAndWatch"]
        try:
            async for answer in plugin.connection.stream(call, call.request()):
                plugin.devices = {device.ID: device.health == _HEALTHY for device in answer.devices}
                self._changed()
        except CriError as error:
            _logger.info("device plugin ended", resource=plugin.resource, error=str(error))
        plugin.alive = False
        self._changed()

    async def _end(self, plugin: _Plugin) -> None:
        await cancel(plugin.task)
        await plugin.connection.close()

    # -- what there is

    def extended(self) -> Extended:
        """The resources for the node's status."""
        capacity = {plugin.resource: len(plugin.devices) for plugin in self._plugins.values()}
        healthy = {
            plugin.resource: sum(plugin.devices.values()) if plugin.alive else 0 for plugin in self._plugins.values()
        }
        return Extended(capacity, healthy)

    # -- giving

    async def allocate(self, pod: pods.Pod) -> None:
        """Give all of the pod's containers their devices. Raises DeviceError; then it has got none."""
        async with self._allocating:
            try:
                for container in (*pods.init_containers(pod), *pods.app_containers(pod)):
                    for resource, count in wanted(container).items():
                        if resource in self._book.resources and count:
                            await self._give(pod, container, resource, count)
            except DeviceError:
                self._book.release(pods.uid(pod))
                raise

    def grants(self, pod: pods.Pod, container: pods.Container) -> list[Grant]:
        return list(self._book.of(pods.uid(pod), container["name"]).values())

    async def before_start(self, pod: pods.Pod, container: pods.Container) -> None:
        """Let plugins that asked for it prepare the devices of a container. Raises DeviceError."""
        for resource, grant in self._book.of(pods.uid(pod), container["name"]).items():
            plugin = self._plugins.get(resource)
            if plugin is not None and plugin.alive and plugin.pre_start:
                await self._call(plugin, "PreStartContainer", devices_ids=grant.device_ids)

    def health(self, pod_uid: str, container: str) -> list[dict[str, Any]]:
        """The container's devices as `allocatedResourcesStatus` tells of them."""
        return [
            {"name": resource, "resources": [self._health(resource, device) for device in sorted(grant.device_ids)]}
            for resource, grant in sorted(self._book.of(pod_uid, container).items())
        ]

    def _health(self, resource: str, device: str) -> dict[str, str]:
        plugin = self._plugins.get(resource)
        if plugin is None or not plugin.alive:
            return {"resourceID": device, "health": "Unknown"}
        return {"resourceID": device, "health": _HEALTHY if plugin.devices.get(device) else "Unhealthy"}

    def holders(self) -> set[str]:
        """UIDs of the pods that have devices."""
        return set(self._book.grants)

    def release(self, pod_uid: str) -> None:
        self._book.release(pod_uid)

    async def _give(self, pod: pods.Pod, container: pods.Container, resource: str, count: int) -> None:
        uid, name = pods.uid(pod), container["name"]
        if resource in self._book.of(uid, name):
            return
        plugin = self._plugins.get(resource)
        if plugin is None or not plugin.alive:
            raise DeviceError(f"Allocate failed due to no device plugin being registered for {resource}")
        healthy = [device for device, well in plugin.devices.items() if well]
        taken = self._book.taken(resource)
        reusable = self._book.reusable(pod, resource)
        ids = choose(resource, count, healthy, taken, reusable)
        if plugin.preferred:
            ids = await self._preferred(plugin, count, healthy, taken, reusable, ids)
        answer = await self._call(plugin, "Allocate", container_requests=[{"devices_ids": ids}])
        if not answer.container_responses:
            raise DeviceError(f"Allocate failed due to an empty answer of the device plugin of {resource}")
        given = answer.container_responses[0]
        grant = _grant(ids, given)
        if given.cdi_devices:
            described = [device.name for device in given.cdi_devices]
            _merge(grant, await asyncio.to_thread(cdi.grant, described, self._cdi_directories))
        self._book.give(uid, name, resource, grant)

    async def _preferred(
        self, plugin: _Plugin, count: int, healthy: list[str], taken: set[str], reusable: list[str], ids: list[str]
    ) -> list[str]:
        """What the plugin would choose, if that may be chosen."""
        available = (set(healthy) - taken) | (set(reusable) & set(healthy))
        request = {"available_deviceIDs": sorted(available), "must_include_deviceIDs": [], "allocation_size": count}
        answer = await self._call(plugin, "GetPreferredAllocation", container_requests=[request])
        found = list(answer.container_responses[0].deviceIDs) if answer.container_responses else []
        return found if len(set(found)) == count and set(found) <= available else ids

    async def _call(self, plugin: _Plugin, method: str, **fields: Any) -> Any:
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await plugin.connection.call(method, **fields)
        except (CriError, TimeoutError) as error:
            raise DeviceError(f"{method} failed due to {error}, which is unexpected") from error


def _is_extended(resource: str) -> bool:
    domain, slash, name = resource.partition("/")
    return bool(slash and domain and name) and not domain.endswith("kubernetes.io") and "/" not in name


def _merge(grant: Grant, more: Grant) -> None:
    grant.envs |= more.envs
    grant.mounts += more.mounts
    grant.devices += more.devices


def _grant(ids: list[str], answer: Any) -> Grant:
    mounts = [
        {
            "container_path": mount.container_path,
            "host_path": mount.host_path,
            "readonly": mount.read_only,
            "propagation": "PROPAGATION_PRIVATE",
        }
        for mount in answer.mounts
    ]
    devices = [
        {"container_path": d.container_path, "host_path": d.host_path, "permissions": d.permissions or "mrw"}
        for d in answer.devices
    ]
    return Grant(ids, dict(answer.envs), mounts, devices, dict(answer.annotations))
