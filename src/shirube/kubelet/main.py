"""The process `shirube-kubelet`: options, the agent, its HTTPS server."""

from __future__ import annotations

import asyncio

from shirube.client.rest import Client
from shirube.foundation.process import settle_memory
from shirube.kubelet.agent import Agent, Options

__all__ = ["Options", "run"]


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run the node agent until `stop` is set. Its pods go on running."""
    client = Client.from_kubeconfig(options.kubeconfig, "kubelet")
    try:
        agent = Agent(options, client)
        settle_memory()
        await agent.run(stop)
    finally:
        await client.close()
