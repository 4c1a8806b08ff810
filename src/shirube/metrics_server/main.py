"""Run the metrics server: scrape the nodes, answer the API server. One task group, until told to stop."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path

from shirube.client.config import KubeConfig
from shirube.client.rest import Client
from shirube.foundation import address_family, log
from shirube.foundation.clock import SYSTEM, Clock
from shirube.foundation.tasks import cancel, spawn
from shirube.metrics_server.scrape import Scraper
from shirube.metrics_server.server import MetricsApi
from shirube.metrics_server.usage import Book
from shirube.serving.http import Server
from shirube.serving.tls import server_context

_DRAIN_SECONDS = 1.0
_logger = log.get("metrics-server")


@dataclass(slots=True)
class Options:
    kubeconfig: str | Path
    address: str
    port: int
    tls_cert: Path
    tls_key: Path
    front_proxy_ca: Path  # signs the only clients that are believed


async def run(options: Options, stop: asyncio.Event, *, clock: Clock = SYSTEM) -> None:
    """Until `stop` is set. Raises OSError when the port is taken or a file cannot be read."""
    config = KubeConfig.load(options.kubeconfig)
    client = Client.from_config(config, "metrics-server")
    book = Book()
    tls = server_context(options.tls_cert, options.tls_key, options.front_proxy_ca)
    server = Server(MetricsApi(client, book, clock).handle, tls=tls)
    scraping = spawn(Scraper(client, config.tls, book, clock).run(), name="scrape nodes")
    try:
        family = address_family.of(options.address).socket_family
        await server.start([socket.create_server((options.address, options.port), family=family, backlog=128)])
        _logger.info("serving", address=options.address, port=options.port)
        await stop.wait()
    finally:
        await server.drain(_DRAIN_SECONDS)
        await cancel(scraping)
        await client.close()
