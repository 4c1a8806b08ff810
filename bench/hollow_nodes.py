"""Hollow nodes as a process of their own: `python -m bench.hollow_nodes --kubeconfig FILE --nodes N`, until SIGTERM.

The node agents of the simulation (`shirube.simulation.hollow`), over TLS and in real time: pods run at once and, where
they finish, after a tenth of a second. Prints `ready` when the nodes are registered.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from shirube.client.rest import Client
from shirube.foundation import process
from shirube.foundation.chance import Chance
from shirube.foundation.clock import SYSTEM
from shirube.foundation.tasks import cancel, spawn
from shirube.simulation.hollow import HollowNodes, Pace

PACE = Pace(start=(0.0, 0.01), end=(0.0, 0.01), run=(0.1, 0.1))


async def work(kubeconfig: str, nodes: int, stop: asyncio.Event) -> None:
    client = Client.from_kubeconfig(kubeconfig, "hollow-nodes")
    hollow = HollowNodes(client, lambda _: client, clock=SYSTEM, chance=Chance(1), pace=PACE)
    running = spawn(hollow.run(), name="hollow-nodes")
    try:
        for number in range(nodes):
            await hollow.add(f"hollow-{number}", cpu="64", memory="256Gi", pods="1000")
        print("ready", flush=True)
        await stop.wait()
    finally:
        await cancel(running)
        await client.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--nodes", type=int, default=10)
    args = parser.parse_args()
    return process.run(lambda stop: work(args.kubeconfig, args.nodes, stop), "hollow-nodes", "error")


if __name__ == "__main__":
    sys.exit(main())
