"""Ask every node agent what it and its containers use, all at once, every `PERIOD` seconds.

A node that does not answer in time keeps nobody waiting and is left out until it does.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import NODES
from shirube.client.rest import Client, HttpTransport
from shirube.foundation import log
from shirube.foundation.clock import Clock
from shirube.metrics_server.usage import BadReading, Book, parse

PERIOD = 15.0
TIMEOUT = 10.0
PORT = 10250
_FIRST_ROUNDS = 30
_logger = log.get("metrics-server")


class Scraper:
    """`tls` carries the certificate that node agents know this server by."""

    def __init__(self, client: Client, tls: ssl.SSLContext | None, book: Book, clock: Clock) -> None:
        self._client = client
        self._tls = tls
        self._book = book
        self._clock = clock
        self._transports: dict[str, HttpTransport] = {}
        self._silent: set[str] = set()
        self.rounds = 0

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self.round()
                except ApiError as error:
                    _logger.warning("cannot list the nodes", error=str(error))
                # At the start readings follow soon, so that there are rates a moment after the first node is there.
                starting = self.rounds < _FIRST_ROUNDS and not self._book.nodes()
                await asyncio.sleep(1.0 if starting else PERIOD)
        finally:
            for transport in self._transports.values():
                await transport.close()

    async def round(self) -> None:
        """Read all nodes once. Raises ApiError when their list cannot be had."""
        nodes = (await self._client.list(NODES)).get("items") or ()
        places = {node["metadata"]["name"]: place(node) for node in nodes}
        self._book.keep_only(set(places))
        for where in self._transports.keys() - set(places.values()):
            await self._transports.pop(where).close()
        async with asyncio.TaskGroup() as group:
            for name, where in places.items():
                if where:
                    group.create_task(self._read(name, where), name=f"scrape {name}")
        self.rounds += 1

    async def _read(self, node: str, where: str) -> None:
        if where not in self._transports:
            self._transports[where] = HttpTransport(where, self._tls)
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._transports[where].send("GET", "/metrics/resource", {"Accept": "text/plain"}, None)
                data = await answer.read()
            if answer.status != 200:
                raise BadReading(f"the node agent answered {answer.status}: {data[:200].decode(errors='replace')}")
            self._book.record(node, parse(data.decode(errors="replace"), self._clock.now()))
        except (ApiError, TimeoutError, BadReading) as error:
            if node not in self._silent:
                _logger.warning("cannot read a node's metrics", node=node, error=str(error) or "no answer in time")
            self._silent.add(node)
            self._book.forget(node)
        else:
            self._silent.discard(node)


def place(node: dict[str, Any]) -> str:
    """`https://ADDRESS:PORT` of a node's agent; "" when it has no address yet."""
    status = node.get("status") or {}
    by_type = {a["type"]: a["address"] for a in reversed(status.get("addresses") or ())}
    address = by_type.get("InternalIP") or by_type.get("ExternalIP") or by_type.get("Hostname")
    if not address:
        return ""
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or PORT
    return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"
