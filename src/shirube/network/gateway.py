"""Between the cluster's namespaces and the host, one a cluster, in the control plane's network namespace.

Routes to every node's pods (the API server proxies to them), masquerade for what leaves the cluster, and node ports
published on the host's loopback: the supervisor opens the listening socket there and passes it in, so that connections
made on the host are accepted here and forwarded to a node. TCP only; UDP node ports answer on the nodes' addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from shirube.api.gvr import NODES, SERVICES
from shirube.client.events import EventRecorder
from shirube.client.informer import Informer, InformerFactory
from shirube.client.rest import Client
from shirube.foundation import log, nft
from shirube.foundation.tasks import cancel, spawn
from shirube.network import masquerade, routes

_logger = log.get("gateway")
_RETRY_SECONDS = 2.0
_CONNECT_SECONDS = 5.0
_CHUNK = 65536

Object = dict[str, Any]


@dataclass(slots=True)
class Options:
    """The cluster's gateway process."""

    kubeconfig: Path
    publish_address: str
    control_socket: Path
    cluster_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    node_network: str = "172.30.0.0/24"


def published(services: Iterable[Object]) -> dict[int, Object]:
    """Node ports that the host publishes (TCP), and the Service of each."""
    found = {}
    for service in services:
        if service["spec"].get("type") in ("NodePort", "LoadBalancer"):
            for port in service["spec"].get("ports") or []:
                if port.get("nodePort") and port.get("protocol", "TCP") == "TCP":
                    found[port["nodePort"]] = service
    return found


class Gateway:
    def __init__(self, options: Options, client: Client, factory: InformerFactory) -> None:
        self._options = options
        self._services: Informer = factory.informer(SERVICES)
        self._nodes: Informer = factory.informer(NODES)
        self._events = EventRecorder(client, "shirube-gateway")
        self._changed = asyncio.Event()
        self._listening: dict[int, asyncio.Server] = {}
        self._failed: set[int] = set()
        for informer in (self._services, self._nodes):
            informer.add_handler(
                lambda _: self._changed.set(), lambda _o, _n: self._changed.set(), lambda _: self._changed.set()
            )

    async def run(self) -> None:
        await self._services.wait_for_cache_sync()
        await self._nodes.wait_for_cache_sync()
        inside = [self._options.cluster_cidr, self._options.node_network, self._options.service_cidr]
        await nft.apply(masquerade.script([self._options.cluster_cidr, self._options.node_network], inside))
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                want = routes.wanted(self._nodes.store.list())
                await routes.carry_out(routes.plan(await routes.current(), want))
                await self._publish()
            except (OSError, routes.RouteError, nft.NftError) as error:
                _logger.error("cannot update the gateway, will try again", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                self._changed.set()

    async def close(self) -> None:
        for server in self._listening.values():
            server.close()
        await self._events.close()

    async def _publish(self) -> None:
        wanted = published(self._services.store.list())
        for port in [p for p in self._listening if p not in wanted]:
            self._listening.pop(port).close()
            await self._ask({"op": "close", "address": self._options.publish_address, "port": port, "protocol": "TCP"})
        self._failed &= wanted.keys()
        for port, service in wanted.items():
            if port not in self._listening:
                await self._open(port, service)

    async def _open(self, port: int, service: Object) -> None:
        request = {"op": "listen", "address": self._options.publish_address, "port": port, "protocol": "TCP"}
        answer, passed = await self._ask(request)
        if passed is None:
            if port not in self._failed:
                self._failed.add(port)
                where = f"{self._options.publish_address}:{port}"
                self._events.event(
                    service,
                    "Warning",
                    "PortNotPublished",
                    f"node port {port} is not reachable at {where}: {answer['error']}",
                )
            return
        self._failed.discard(port)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            spawn(self._forward(port, reader, writer), name=f"forward-{port}")

        self._listening[port] = await asyncio.start_server(accept, sock=passed)

    async def _ask(self, request: Object) -> tuple[Object, socket.socket | None]:
        """One request to the supervisor, in a thread: receiving a descriptor needs a plain socket."""
        return await asyncio.to_thread(_ask_supervisor, self._options.control_socket, request)

    async def _forward(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to the first node that takes it."""
        try:
            for node in sorted(self._nodes.store.list(), key=lambda n: str(n["metadata"]["name"])):
                address = routes.internal_address(node)
                if not address:
                    continue
                try:
                    async with asyncio.timeout(_CONNECT_SECONDS):
                        there_reader, there_writer = await asyncio.open_connection(address, port)
                except (OSError, TimeoutError):
                    continue
                await _pump_both(reader, writer, there_reader, there_writer)
                return
        finally:
            writer.close()


async def _pump_both(
    one_reader: asyncio.StreamReader,
    one_writer: asyncio.StreamWriter,
    other_reader: asyncio.StreamReader,
    other_writer: asyncio.StreamWriter,
) -> None:
    try:
        await asyncio.gather(_pump(one_reader, other_writer), _pump(other_reader, one_writer))
    except (ConnectionError, OSError):
        pass  # one side broke off: the other is closed below
    finally:
        other_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        with contextlib.suppress(OSError):  # already gone
            writer.write_eof()


def _ask_supervisor(path: Path, request: Object) -> tuple[Object, socket.socket | None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5.0)
        connection.connect(str(path))
        connection.sendall(orjson.dumps(request) + b"\n")
        data, descriptors, _, _ = socket.recv_fds(connection, 65536, 1)
    answer: Object = orjson.loads(data)
    if not descriptors:
        return answer, None
    passed = socket.socket(fileno=descriptors[0])
    passed.setblocking(False)
    return answer, passed


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run until `stop` is set."""
    client = Client.from_kubeconfig(options.kubeconfig, "shirube-gateway")
    factory = InformerFactory(client)
    gateway = Gateway(options, client, factory)
    tasks = [spawn(factory.run(), name="informers"), spawn(gateway.run(), name="gateway")]
    stopping = spawn(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            task.result()
    finally:
        await cancel(*tasks, stopping)
        await gateway.close()
        await client.close()
