"""A DRA driver to start from: one device `gpu-0` of the driver `gpu.example.com`, which is /dev/null by another name.

    python driver.py ROOT

ROOT is the node agent's directory. The driver puts a socket into ROOT/plugins_registry, by which the agent learns of
it; for each claim that it is asked to prepare it writes a CDI specification into ROOT/cdi, and removes it when the
claim is given back. `resources.yaml` has the ResourceSlice that tells the scheduler of the device.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import grpc
import grpc.aio

from shirube.kubelet.cri.descriptors import Protocol

NAME, KIND, VERSION = "gpu.example.com", "gpu.example.com/gpu", "v1.DRAPlugin"
REGISTRATION = Protocol("plugin_registration.json")
RESOURCES = Protocol("dynamic_resources.json")


class Driver:
    def __init__(self, root: Path) -> None:
        self.registry = root / "plugins_registry"
        self.specs = root / "cdi"

    # -- registration

    async def get_info(self, request, context):
        return REGISTRATION["PluginInfo"](type="DRAPlugin", name=NAME, supported_versions=[VERSION])

    async def notified(self, request, context):
        print("registered" if request.plugin_registered else f"refused: {request.error}", flush=True)
        return REGISTRATION["RegistrationStatusResponse"]()

    # -- claims

    async def prepare(self, request, context):
        """A CDI device for each claim. (With more devices a driver reads from the API which are meant.)"""
        answers = {}
        for claim in request.claims:
            device = f"claim-{claim.uid}"
            node = {"path": "/dev/example-gpu", "hostPath": "/dev/null", "permissions": "rw"}
            edits = {"env": [f"EXAMPLE_CLAIM={claim.name}"], "deviceNodes": [node]}
            spec = {"cdiVersion": "0.6.0", "kind": KIND, "devices": [{"name": device, "containerEdits": edits}]}
            self.specs.mkdir(exist_ok=True)
            self._spec(claim).write_text(json.dumps(spec))
            given = {"pool_name": "example", "device_name": "gpu-0", "cdi_device_ids": [f"{KIND}={device}"]}
            answers[claim.uid] = {"devices": [given]}
            print(f"prepared {claim.name}", flush=True)
        return RESOURCES["NodePrepareResourcesResponse"](claims=answers)

    async def unprepare(self, request, context):
        for claim in request.claims:
            self._spec(claim).unlink(missing_ok=True)
            print(f"unprepared {claim.name}", flush=True)
        return RESOURCES["NodeUnprepareResourcesResponse"](claims={c.uid: {} for c in request.claims})

    def _spec(self, claim) -> Path:
        return self.specs / f"{NAME}-{claim.uid}.json"

    # -- running

    async def serve(self) -> None:
        socket = self.registry / f"{NAME}-reg.sock"
        self.registry.mkdir(exist_ok=True)
        socket.unlink(missing_ok=True)
        server = grpc.aio.server()
        add(server, REGISTRATION, GetInfo=self.get_info, NotifyRegistrationStatus=self.notified)
        add(server, RESOURCES, NodePrepareResources=self.prepare, NodeUnprepareResources=self.unprepare)
        server.add_insecure_port(f"unix://{socket}")
        await server.start()
        try:
            await server.wait_for_termination()
        finally:
            await server.stop(0)
            socket.unlink(missing_ok=True)


def add(server, protocol, **functions) -> None:
    """Let the server answer these calls of a protocol's one service."""
    methods, service = {}, ""
    for name, function in functions.items():
        call = protocol.calls[name]
        service = call.path.split("/")[1]
        methods[name] = grpc.unary_unary_rpc_method_handler(
            function, request_deserializer=call.request.FromString, response_serializer=call.response.SerializeToString
        )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Driver(Path(sys.argv[1])).serve())
