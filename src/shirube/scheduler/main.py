"""The scheduler process: options, leadership, configuration; the work is in `loop`."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from shirube.client.informer import InformerFactory
from shirube.client.leader_election import LeaderElector
from shirube.client.rest import Client
from shirube.foundation.tasks import cancel, spawn
from shirube.scheduler.decide import Profile
from shirube.scheduler.loop import Scheduler


@dataclass(slots=True)
class Options:
    """The scheduler."""

    kubeconfig: Path
    leader_elect: bool = True
    scheduler_name: str = "default-scheduler"
    identity: str = ""  # of the leader; keep it over restarts where there is one instance. Default: host and pid


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run until `stop`; with leader election one scheduler is active at a time."""
    client = Client.from_kubeconfig(options.kubeconfig, "kube-scheduler")
    identity = options.identity or f"{socket.gethostname()}_{os.getpid()}"
    profiles = {options.scheduler_name: Profile(options.scheduler_name)}

    async def lead() -> None:
        factory = InformerFactory(client)
        scheduler = Scheduler(client, factory, profiles)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(factory.run(), name="informers")
                group.create_task(scheduler.run(), name="scheduler")
        finally:
            await scheduler.close()

    try:
        if options.leader_elect:
            await LeaderElector(client, "kube-scheduler", identity).run(lead, stop)
        else:
            work = spawn(lead(), name="scheduler")
            await stop.wait()
            await cancel(work)
    finally:
        await client.close()
