"""What load balancers outside ask a node: ports for `healthCheckNodePort`, and the proxy's own health.

200 when this node has endpoints of the Service, 503 when not, as upstream's proxies answer (path `/`). The proxy's own
health is on port 10256.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping

import orjson

from shirube.foundation import address_family, log
from shirube.serving.http import Request, Response, Server

_logger = log.get("proxy")
HEALTH_PORT = 10256


class HealthServers:
    """The servers that are open, on each of the node's `addresses`."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._addresses = tuple(addresses)
        self._servers: dict[int, Server] = {}
        self._local: dict[str, int] = {}  # Service -> number of endpoints on this node
        self._names: dict[int, str] = {}
        self._refused: set[int] = set()

    async def start(self, healthy: Callable[[], bool]) -> None:
        async def own(request: Request) -> Response:
            path = request.path
            if path not in ("/healthz", "/livez"):
                return Response(404)
            well = healthy()
            return Response(200 if well else 503, orjson.dumps({"proxyHealthy": well}))

        await self._open(HEALTH_PORT, Server(own))

    async def follow(self, wanted: Mapping[int, tuple[str, int]]) -> None:
        """`wanted`: port -> (namespace/name of the Service, endpoints here)."""
        for port in [p for p in self._names if p not in wanted]:
            del self._names[port]
            if (server := self._servers.pop(port, None)) is not None:
                await server.drain(0)
        self._refused &= wanted.keys()
        for port, (name, endpoints) in wanted.items():
            self._names[port] = name
            self._local[name] = endpoints
            if port not in self._servers:
                await self._open(port, Server(lambda request, port=port: self._answer(port)))  # type: ignore[misc]

    async def close(self) -> None:
        for server in self._servers.values():
            await server.drain(0)
        self._servers.clear()

    async def _open(self, port: int, server: Server) -> None:
        opened: list[socket.socket] = []
        for address in self._addresses:
            try:
                family = address_family.of(address).socket_family
                listening = socket.create_server((address, port), family=family)
            except OSError as error:
                for other in opened:
                    other.close()
                if port not in self._refused:
                    self._refused.add(port)
                    _logger.error("cannot answer health checks", address=address, port=port, error=error.strerror)
                return
            listening.setblocking(False)
            opened.append(listening)
        await server.start(opened)
        self._servers[port] = server
        self._refused.discard(port)

    async def _answer(self, port: int) -> Response:
        key = self._names.get(port, "/")
        namespace, name = key.split("/", 1)
        endpoints = self._local.get(key, 0)
        body = {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": endpoints,
            "serviceProxyHealthy": True,
        }
        weight = [("X-Load-Balancing-Endpoint-Weight", str(endpoints))]
        return Response(200 if endpoints else 503, orjson.dumps(body), weight)
