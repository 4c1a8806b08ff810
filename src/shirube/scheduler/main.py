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
from shirube.foundation.chance import Chance
from shirube.foundation.tasks import cancel, spawn
from shirube.scheduler.configuration import Configuration, load
from shirube.scheduler.decide import Profile
from shirube.scheduler.loop import Scheduler
from shirube.scheduler.queue import SchedulingQueue


@dataclass(slots=True)
class Options:
    """The scheduler."""

    kubeconfig: Path
    leader_elect: bool = True
    scheduler_name: str = "default-scheduler"
    config: Path | None = (
        None  # a KubeSchedulerConfiguration v1 file; its profiles replace `scheduler_name`, its kubeconfig ours
    )
    seed: int | None = None  # of what decides among nodes of equal points: the same decisions again
    identity: str = ""  # of the leader; keep it over restarts where there is one instance. Default: host and pid


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run until `stop`; with leader election one scheduler is active at a time."""
    identity = options.identity or f"{socket.gethostname()}_{os.getpid()}"
    configuration = load(options.config) if options.config else Configuration()
    if not options.config:
        configuration.profiles = {options.scheduler_name: Profile.default(options.scheduler_name)}
    client = Client.from_kubeconfig(configuration.kubeconfig or options.kubeconfig, "kube-scheduler")

    async def lead() -> None:
        factory = InformerFactory(client)
        queue = SchedulingQueue(configuration.initial_backoff, configuration.longest_backoff)
        scheduler = Scheduler(
            client,
            factory,
            configuration.profiles,
            chance=Chance(options.seed),
            queue=queue,
            extenders=configuration.extenders,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(factory.run(), name="informers")
                group.create_task(scheduler.run(), name="scheduler")
        finally:
            await scheduler.close()

    try:
        of = configuration.leadership
        if options.leader_elect and of.elect is not False:
            elector = LeaderElector(
                client,
                of.name,
                identity,
                namespace=of.namespace,
                lease_duration=of.lease_duration,
                renew_deadline=of.renew_deadline,
                retry_period=of.retry_period,
            )
            await elector.run(lead, stop)
        else:
            work = spawn(lead(), name="scheduler")
            await stop.wait()
            await cancel(work)
    finally:
        await client.close()
