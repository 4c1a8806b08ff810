"""The `shirube-controllers` process: the controllers and the metrics server, one process for what is idle most times.

The metrics server answers whether or not this instance leads; the controllers wait for their Lease.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from shirube.controllers import main as controllers
from shirube.metrics_server import main as metrics_server

__all__ = ["Options", "controllers", "metrics_server", "run"]


@dataclass(slots=True)
class Options:
    controllers: controllers.Options
    metrics: metrics_server.Options


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run until `stop` is set. When one part fails, the process ends and its supervisor starts it again."""
    async with asyncio.TaskGroup() as group:
        group.create_task(metrics_server.run(options.metrics, stop), name="metrics-server")
        group.create_task(controllers.run(options.controllers, stop), name="controllers")
