"""The `shirube-network` process of a node: proxy, pod network, policies and DNS together, one process a node.

It goes on when the node agent dies, and the other way round.
"""

from __future__ import annotations

import asyncio

from shirube.network.main import Options, run_network
from shirube.proxy.main import run_proxy

__all__ = ["Options", "run"]


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run until `stop` is set. When one part fails, the process ends and its supervisor starts it again."""
    async with asyncio.TaskGroup() as group:
        group.create_task(run_network(options, stop), name="network")
        group.create_task(run_proxy(options, stop), name="proxy")
