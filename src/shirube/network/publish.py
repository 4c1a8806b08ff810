"""Ports of Services on the host's loopback address.

The supervisor opens the socket on the host and passes it in: what arrives on it is accepted in this process and carried
to a node that serves it, so the host needs no rule and no route. A port that is taken is reported on the Service.
TCP connections are spliced; UDP has a socket for each client, forgotten after a minute without a packet.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson

from shirube.client.events import EventRecorder
from shirube.foundation import address_family, log
from shirube.foundation.tasks import spawn

_logger = log.get("gateway")
_CONNECT_SECONDS = 2.0
_CHUNK = 65536
_UDP_IDLE_SECONDS = 60.0
_UDP_CLIENTS = 1000

Object = dict[str, Any]


class Port(NamedTuple):
    protocol: str  # "TCP", "UDP"
    number: int  # on the host


class Target(NamedTuple):
    service: Object
    port: int  # on the nodes


# The nodes that serve a Service, best first.
Backends = Callable[[Object], Iterable[str]]


def wanted(services: Iterable[Object], node_addresses: set[str]) -> dict[Port, Target]:
    """Node ports, and the ports of load balancers that have a node's address. Of two that want one port the node port
    wins, then the first by name."""
    found: dict[Port, Target] = {}
    ordered = sorted(services, key=lambda s: (s["metadata"]["namespace"], s["metadata"]["name"]))
    for take in (_node_ports, _balanced_ports):
        for service in ordered:
            for port, target in take(service, node_addresses):
                found.setdefault(port, Target(service, target))
    return found


def _node_ports(service: Object, _: set[str]) -> Iterable[tuple[Port, int]]:
    if service["spec"].get("type") not in ("NodePort", "LoadBalancer"):
        return
    for port in service["spec"].get("ports") or []:
        if port.get("nodePort") and port.get("protocol", "TCP") in ("TCP", "UDP"):
            yield Port(port.get("protocol", "TCP"), port["nodePort"]), port["nodePort"]


def _balanced_ports(service: Object, node_addresses: set[str]) -> Iterable[tuple[Port, int]]:
    ingress = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or []
    if service["spec"].get("type") != "LoadBalancer" or not any(i.get("ip") in node_addresses for i in ingress):
        return
    for port in service["spec"].get("ports") or []:
        if port.get("protocol", "TCP") in ("TCP", "UDP"):
            yield Port(port.get("protocol", "TCP"), port["port"]), port["port"]


class Publisher:
    """The open ports. `follow` opens and closes what differs."""

    def __init__(self, address: str, control: Path, events: EventRecorder, backends: Backends) -> None:
        self._address = address
        self._control = control
        self._events = events
        self._backends = backends
        self._targets: dict[Port, Target] = {}
        self._open: dict[Port, asyncio.Server | _Datagrams] = {}
        self._failed: dict[Port, str] = {}  # port -> uid of the Service that was told

    async def follow(self, targets: Mapping[Port, Target]) -> bool:
        """Whether every port is open; the others are worth another try later."""
        self._targets = dict(targets)
        for port in [p for p in self._open if p not in targets]:
            self._open.pop(port).close()
            await self._ask({"op": "close", **self._where(port)})
        self._failed = {p: uid for p, uid in self._failed.items() if p in targets}
        for port, target in targets.items():
            if port not in self._open:
                await self._publish(port, target.service)
        return not self._failed

    def close(self) -> None:
        for opened in self._open.values():
            opened.close()

    def _where(self, port: Port) -> Object:
        return {"address": self._address, "port": port.number, "protocol": port.protocol}

    async def _publish(self, port: Port, service: Object) -> None:
        answer, passed = await self._ask({"op": "listen", **self._where(port)})
        if passed is None:
            if self._failed.get(port) != service["metadata"]["uid"]:
                self._failed[port] = service["metadata"]["uid"]
                where = f"{self._address}:{port.number}/{port.protocol}"
                message = f"port {port.number} is not reachable at {where}: {answer['error']}"
                self._events.event(service, "Warning", "PortNotPublished", message)
            return
        self._failed.pop(port, None)
        if port.protocol == "UDP":
            datagrams = _Datagrams(lambda: self._route(port))
            loop = asyncio.get_running_loop()
            await loop.create_datagram_endpoint(lambda: datagrams, sock=passed)
            self._open[port] = datagrams
            return

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            spawn(self._forward(port, reader, writer), name=f"forward-{port.number}")

        self._open[port] = await asyncio.start_server(accept, sock=passed)

    async def _ask(self, request: Object) -> tuple[Object, socket.socket | None]:
        """One request to the supervisor, in a thread: receiving a descriptor needs a plain socket."""
        return await asyncio.to_thread(_ask_supervisor, self._control, request)

    def _route(self, port: Port) -> list[tuple[str, int]]:
        target = self._targets.get(port)
        return [(address, target.port) for address in self._backends(target.service)] if target else []

    async def _forward(self, port: Port, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to the first node that takes it."""
        try:
            for address, number in self._route(port):
                try:
                    async with asyncio.timeout(_CONNECT_SECONDS):
                        there_reader, there_writer = await asyncio.open_connection(address, number)
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
        with contextlib.suppress(OSError):  # one side broke off: the other is closed, too
            await asyncio.gather(_pump(one_reader, other_writer), _pump(other_reader, one_writer))
    finally:
        other_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        with contextlib.suppress(OSError):  # already gone
            writer.write_eof()


class _Datagrams(asyncio.DatagramProtocol):
    """A UDP port of the host: a connected socket towards a node for each client."""

    def __init__(self, route: Callable[[], list[tuple[str, int]]]) -> None:
        self._route = route
        self._transport: asyncio.DatagramTransport | None = None
        self._clients: dict[tuple[str, int], _Client] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        client = self._clients.get(address)
        if client is None:
            route = self._route()
            if not route or len(self._clients) >= _UDP_CLIENTS:
                return  # as a router without a route does
            try:
                client = _Client(route[0], lambda answer: self._answer(answer, address), lambda: self._forget(address))
            except OSError as error:
                _logger.warning("cannot reach a node", node=route[0][0], error=str(error))
                return
            self._clients[address] = client
        client.send(data)

    def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, address)

    def _forget(self, address: tuple[str, int]) -> None:
        if (client := self._clients.pop(address, None)) is not None:
            client.close()

    def close(self) -> None:
        for address in list(self._clients):
            self._forget(address)
        if self._transport is not None:
            self._transport.close()


class _Client:
    """One client's socket towards a node. Plain readiness callbacks: no task a client."""

    def __init__(self, to: tuple[str, int], answer: Callable[[bytes], None], idle: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._answer = answer
        self._idle = idle
        self._socket = socket.socket(address_family.of(to[0]).socket_family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(to)
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._read)
        self._timer = self._loop.call_later(_UDP_IDLE_SECONDS, idle)

    def send(self, data: bytes) -> None:
        self._restart_timer()
        with contextlib.suppress(OSError):  # refused or full: UDP promises nothing
            self._socket.send(data)

    def _read(self) -> None:
        self._restart_timer()
        with contextlib.suppress(OSError):
            self._answer(self._socket.recv(_CHUNK))

    def _restart_timer(self) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(_UDP_IDLE_SECONDS, self._idle)

    def close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


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
