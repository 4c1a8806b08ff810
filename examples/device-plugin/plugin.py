"""A device plugin to start from: offers `example.com/gpu`, devices that are /dev/null by another name.

    python plugin.py DIRECTORY [COUNT]

DIRECTORY is the node's device-plugins directory (ROOT/device-plugins of the node agent). A device is unhealthy while
a file `gpu-N.sick` is there. The plugin registers, serves, and registers again when the agent was restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import grpc
import grpc.aio

from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.cri.descriptors import Protocol

RESOURCE, SOCKET, VERSION = "example.com/gpu", "example-gpu.sock", "v1beta1"
PROTOCOL = Protocol("device_plugin.json")


class Plugin:
    def __init__(self, directory: Path, count: int) -> None:
        self.directory = directory
        self.devices = [f"gpu-{number}" for number in range(count)]

    def state(self) -> list[dict[str, str]]:
        def health(device: str) -> str:
            return "Unhealthy" if (self.directory / f"{device}.sick").exists() else "Healthy"

        return [{"ID": device, "health": health(device)} for device in self.devices]

    async def options(self, request, context):
        return PROTOCOL["DevicePluginOptions"]()

    async def list_and_watch(self, request, context):
        """Tell the devices now and whenever they change."""
        told = None
        while True:
            if (now := self.state()) != told:
                told = now
                yield PROTOCOL["ListAndWatchResponse"](devices=now)
            await asyncio.sleep(0.1)

    async def allocate(self, request, context):
        """What each container needs in order to use its devices."""
        answers = []
        for wanted in request.container_requests:
            ids = list(wanted.devices_ids)
            nodes = [{"container_path": f"/dev/{d}", "host_path": "/dev/null", "permissions": "rw"} for d in ids]
            answers.append({"envs": {"EXAMPLE_GPUS": ",".join(ids)}, "devices": nodes})
        return PROTOCOL["AllocateResponse"](container_responses=answers)

    # -- running

    async def serve(self) -> None:
        """Serve and register until the socket is removed, which is how the agent says that it has restarted."""
        socket = self.directory / SOCKET
        socket.unlink(missing_ok=True)
        server = grpc.aio.server()
        methods = {
            "GetDevicePluginOptions": self._unary("GetDevicePluginOptions", self.options),
            "Allocate": self._unary("Allocate", self.allocate),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                self.list_and_watch,
                request_deserializer=PROTOCOL.calls["ListAndWatch"].request.FromString,
                response_serializer=PROTOCOL.calls["ListAndWatch"].response.SerializeToString,
            ),
        }
        handler = grpc.method_handlers_generic_handler(f"{VERSION}.DevicePlugin", methods)
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"unix://{socket}")
        await server.start()
        try:
            await self.register()
            while socket.exists():  # noqa: ASYNC110 - somebody else removes it
                await asyncio.sleep(0.1)
        finally:
            await server.stop(0)

    def _unary(self, name, function):
        call = PROTOCOL.calls[name]
        return grpc.unary_unary_rpc_method_handler(
            function, request_deserializer=call.request.FromString, response_serializer=call.response.SerializeToString
        )

    async def register(self) -> None:
        agent = Runtime(str(self.directory / "kubelet.sock"), PROTOCOL)
        try:
            await agent.call("Register", version=VERSION, endpoint=SOCKET, resource_name=RESOURCE)
        finally:
            await agent.close()


async def main(directory: Path, count: int) -> None:
    plugin = Plugin(directory, count)
    while True:
        try:
            await plugin.serve()
        except (CriError, OSError) as error:
            print(f"cannot register, trying again: {error}", file=sys.stderr)
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2))
