"""The `shirube-network` process of a node: proxy, pod network and DNS together, one process a node.

They share one client and one informer per resource. It goes on when the node agent dies, and the other way round.
"""

from __future__ import annotations

import asyncio

from shirube.api.gvr import NODES
from shirube.client.informer import InformerFactory
from shirube.client.rest import Client
from shirube.foundation.tasks import cancel, spawn
from shirube.network import projection
from shirube.network.main import Options, run_network
from shirube.proxy.main import run_proxy

__all__ = ["Options", "run"]


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run until `stop` is set. When one part fails, the process ends and its supervisor starts it again."""
    client = Client.from_kubeconfig(options.kubeconfig, "shirube-network")
    factory = InformerFactory(client)
    factory.informer(NODES, projection=projection.node)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(run_network(options, client, factory, stop), name="network")
            group.create_task(run_proxy(options, factory, stop), name="proxy")
            following = spawn(factory.run(), name="informers")
            await stop.wait()
            await cancel(following)
    finally:
        await client.close()
