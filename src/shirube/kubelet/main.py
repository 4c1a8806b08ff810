"""The process `shirube-kubelet`: options, the agent, its HTTPS server."""

from __future__ import annotations

import asyncio
import signal

from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.process import settle_memory
from shirube.kubelet.agent import Agent, Options
from shirube.kubelet.server import serve

__all__ = ["Options", "run"]

_logger = log.get("kubelet")


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run the node agent until `stop` is set. Its pods go on running."""
    client = Client.from_kubeconfig(options.kubeconfig, "kubelet")
    try:
        agent = Agent(options, client)
        asyncio.get_running_loop().add_signal_handler(signal.SIGPWR, agent.shutdown.begin)
        settle_memory()
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run(stop), name="agent")
            if options.tls_cert:
                group.create_task(serve(agent, options, stop), name="server")
            else:
                _logger.warning("no serving certificate: logs, exec and port-forward are not served")
    finally:
        await client.close()
