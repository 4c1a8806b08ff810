"""A whole cluster in this process: API server, controllers, scheduler, hollow nodes and metrics, on simulated wires.

    async with simulated(Setup(seed=7), clock) as cluster:
        await cluster.start_controllers()
        await cluster.start_scheduler()
        await cluster.nodes.add("n1")

Everything speaks through the API, as in a cluster, and nothing shares more than it would there: what
`start_controllers` starts is a process of its own with its own informers and may die at any of its writes
(`wire.Process`). All chance comes from the seed, each part drawing from a source of its own, so that one part's draws
do not shift another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import GVR
from shirube.apiserver.handle import ApiServer
from shirube.apiserver.main import in_process
from shirube.apiserver.options import Options as ServerOptions
from shirube.client.controller import Controller
from shirube.client.informer import InformerFactory
from shirube.client.rest import Client, Object
from shirube.controllers.context import Context
from shirube.controllers.main import Options as ControllerOptions
from shirube.controllers.main import build, enabled, run_controllers
from shirube.controllers.table import Row
from shirube.foundation.chance import Chance
from shirube.foundation.clock import Clock
from shirube.foundation.tasks import cancel, spawn
from shirube.scheduler.decide import Profile
from shirube.scheduler.loop import Scheduler
from shirube.simulation.hollow import HollowNodes, Pace
from shirube.simulation.load import Load, Metered
from shirube.simulation.wire import Identities, Process, account, client
from shirube.storage.memory import MemoryStorage

ADMIN = "kubernetes-admin"
# How far back lists in pages and watches that begin may look: they take milliseconds here. An hour's history would take
# gigabytes.
_HISTORY_SECONDS = 2.0
ROOT_CA = "-----BEGIN CERTIFICATE-----\nc2ltdWxhdGVk\n-----END CERTIFICATE-----\n"


@dataclass(frozen=True, slots=True)
class Setup:
    seed: int = 1
    pace: Pace = field(default_factory=Pace)
    service_account_key: Path | None = None  # None: no tokens are made, which no two runs make alike
    signing_cert: Path | None = None
    signing_key: Path | None = None
    event_ttl: float = 3600.0
    legacy_token_clean_up: float = 365 * 24 * 3600.0
    root_ca: Path | None = None  # None: a text that looks like a certificate
    runtime_config: str = ""


class Running:
    """Controllers that share a process."""

    def __init__(self, process: Process, context: Context, entries: Sequence[Row]) -> None:
        self.process, self.context, self.entries = process, context, entries
        self.controllers: list[Controller[Any]] = build(context, entries)
        self.task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return all(c.queue.idle for c in self.controllers)

    async def stop(self) -> None:
        """All at once, as a process ends. What was on its way is lost."""
        self.process.dead.set()
        await cancel(self.task)
        await self.context.close(0.0)
        self.context.factory.clear()


class Cluster:
    def __init__(self, server: ApiServer, storage: MemoryStorage, setup: Setup, clock: Clock, directory: Path) -> None:
        self.server, self.storage, self.setup, self.clock = server, storage, setup, clock
        self._directory = directory
        self._started: list[Running] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._scheduler: Scheduler | None = None
        self.load = Load()
        self._metered = Metered(lambda: self.server, self.load, clock)
        self._metered.reader = self.client(ADMIN, Process("metrics-server"))
        self.admin = self.client(ADMIN)
        farm = Process("hollow-nodes")
        self.nodes_process = farm
        self.nodes = HollowNodes(
            self.client(ADMIN, farm),
            lambda node: self.client(f"system:node:{node}", farm),
            clock=clock,
            chance=self.chance("hollow-nodes"),
            pace=setup.pace,
        )
        self._tasks.append(spawn(self.nodes.run(), name="hollow-nodes"))

    def chance(self, part: str) -> Chance:
        """The part's own source: the same for the same seed and name, whatever other parts draw."""
        return Chance(zlib.crc32(part.encode()) ^ (self.setup.seed * 0x9E3779B1))

    def client(self, user: str, process: Process | None = None) -> Client:
        process = process or Process(user)
        return client(lambda: self._metered, process, user, self.chance(f"wire {process.name} {user}"))

    # Controllers

    def options(self) -> ControllerOptions:
        setup = self.setup
        return ControllerOptions(
            "",
            root_ca=self._root_ca(),
            signing_cert=setup.signing_cert,
            signing_key=setup.signing_key,
            service_account_key=setup.service_account_key,
            legacy_token_clean_up=setup.legacy_token_clean_up,
            cluster_cidr="10.0.0.0/8",  # room for 61,440 nodes beside the Services
            service_cidr="10.96.0.0/12",
        )

    def _root_ca(self) -> Path:
        if self.setup.root_ca is not None:
            return self.setup.root_ca
        path = self._directory / "ca.crt"
        if not path.exists():
            path.write_text(ROOT_CA)
        return path

    def entries(self) -> list[Row]:
        """The rows of the controllers' table that a simulation runs."""
        return enabled(self.options())

    async def start_controllers(self, entries: Sequence[Row] | None = None, process: Process | None = None) -> Running:
        """Controllers (default: the whole table) as one process; returns once their caches are filled."""
        process = process or Process("kube-controller-manager")
        options = self.options()
        context = Context(
            self.client("system:kube-controller-manager", process),
            lambda name: self.client(account(name), process),
            clock=self.clock,
            chance=self.chance(f"controllers {process.name} {len(self._started)}"),
            cluster_cidr=options.cluster_cidr,
            node_mask=options.node_mask,
            service_cidr=options.service_cidr,
            root_ca=options.root_ca,
            signing_cert=options.signing_cert,
            signing_key=options.signing_key,
            service_account_key=options.service_account_key,
            legacy_token_clean_up=options.legacy_token_clean_up,
        )
        running = Running(process, context, entries if entries is not None else self.entries())
        synced = asyncio.Event()
        running.task = spawn(run_controllers(context, running.controllers, synced.set), name=process.name)
        self._started.append(running)
        waiting = spawn(synced.wait(), name="synced")
        died = spawn(process.dead.wait(), name="died")
        await asyncio.wait((running.task, waiting, died), return_when=asyncio.FIRST_COMPLETED)
        await cancel(waiting, died)
        if running.task.done():
            running.task.result()
        return running

    async def stop(self, running: Running) -> None:
        self._started.remove(running)
        await running.stop()

    async def restart_controllers(self, pause: float) -> None:
        """All controllers die at once, with what they had under way; after a pause their successors start."""
        entries = [entry for running in self._started for entry in running.entries]
        for running in list(self._started):
            await self.stop(running)
        await asyncio.sleep(pause)
        await self.start_controllers(entries)

    # Scheduler

    async def start_scheduler(self) -> None:
        speaking = self.client("system:kube-scheduler", Process("kube-scheduler"))
        chance = self.chance("scheduler")
        factory = InformerFactory(speaking, chance=chance)
        self._scheduler = Scheduler(
            speaking, factory, {"default-scheduler": Profile.default()}, clock=self.clock, chance=chance
        )
        self._tasks.append(spawn(factory.run(), name="scheduler-informers"))
        self._tasks.append(spawn(self._scheduler.run(), name="scheduler"))
        await factory.wait_for_cache_sync()

    # What there is

    async def list(self, gvr: GVR, namespace: str = "") -> list[Object]:
        return list((await self.admin.list(gvr, namespace or None))["items"])

    async def count(self, gvr: GVR) -> int:
        page = await self.admin.list(gvr, limit=1)
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount") or 0)

    async def get(self, gvr: GVR, name: str, namespace: str = "") -> Object | None:
        try:
            return await self.admin.get(gvr, name, namespace or None)
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    def check_alive(self) -> None:
        """Raises what ended a part that must not end."""
        for task in (*self._tasks, *(r.task for r in self._started if not r.process.dead.is_set())):
            if task is not None and task.done():
                task.result()
                raise RuntimeError(f"{task.get_name()} ended by itself")

    async def close(self) -> None:
        for running in self._started:
            await running.stop()
        if self._scheduler is not None:
            await self._scheduler.close()
        await cancel(*self._tasks)


@asynccontextmanager
async def simulated(setup: Setup, clock: Clock, storage: MemoryStorage | None = None) -> AsyncIterator[Cluster]:
    """A bootstrapped API server without anything running beside it; `storage` may hold a world already."""
    storage = storage or MemoryStorage()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shirube-simulation-")))
        options = ServerOptions(
            data_dir=directory,
            service_account_key=setup.service_account_key,
            event_ttl=setup.event_ttl,
            history=_HISTORY_SECONDS,
            compaction_interval=_HISTORY_SECONDS,
            runtime_config=setup.runtime_config,
        )
        async with in_process(options, clock=clock, chance=Chance(setup.seed), storage=storage) as server:
            server.context.authenticator = Identities(server.context.authenticator)  # type: ignore[assignment]
            cluster = Cluster(server, storage, setup, clock, directory)
            try:
                yield cluster
            finally:
                await cluster.close()
