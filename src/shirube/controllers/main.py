"""The controllers' process: one table, one set of informers, one Lease.

`run` waits for the Lease, starts every controller of the table, and ends with the process when the Lease is
lost: a supervisor starts it anew. A controller that dies of a mistake of its own takes the process along,
too; half a set of controllers is harder to notice than a restart.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shirube.client.config import KubeConfig
from shirube.client.controller import Controller
from shirube.client.leader_election import LeaderElector
from shirube.client.rest import Client, HttpTransport
from shirube.controllers.context import Context
from shirube.controllers.credentials import ServiceAccountToken
from shirube.controllers.table import CONTROLLERS, Row
from shirube.foundation import log
from shirube.foundation.chance import Chance
from shirube.foundation.clock import SYSTEM, Clock
from shirube.foundation.process import settle_memory
from shirube.foundation.tasks import cancel, spawn

USER_AGENT = "kube-controller-manager"
LEASE = "kube-controller-manager"

_log = log.get("controllers")


@dataclass(slots=True)
class Options:
    kubeconfig: str | Path
    cluster_cidr: str = "10.244.0.0/16"  # two, comma separated, for dual stack
    node_mask: int = 24  # of IPv4; `--node-cidr-mask-size-ipv4` of upstream's
    node_mask_v6: int = 64
    service_cidr: str = ""  # ranges of Services, likewise: what of the pods' range overlaps them is given to no node
    node_monitor_grace: float = 40.0  # seconds without a sign of life after which a node counts as failed
    root_ca: Path | None = None  # PEM published to all namespaces; without it that controller is off
    signing_cert: Path | None = None  # CA that signs certificate requests; without it that controller is off
    signing_key: Path | None = None
    service_account_key: Path | None = None  # the API server's; without it secrets get no tokens
    local_path_directory: str = "/var/lib/shirube/local-path"  # on the nodes, of the local-path provisioner
    legacy_token_clean_up: float = 365 * 24 * 3600.0  # seconds without a use after which a token in a Secret ends
    leader_elect: bool = True
    identity: str = ""  # of the Lease's holder; a supervisor that never runs two may keep it over restarts
    use_service_account_credentials: bool = True
    controllers: Sequence[str] = ("*",)  # names of the table; "*" all, "-name" all but


def enabled(options: Options) -> list[Row]:
    """The rows of the table to run."""
    missing = set()
    if options.root_ca is None:
        missing |= {
            "root-ca-certificate-publisher-controller",
            "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        }
    if options.signing_cert is None or options.signing_key is None:
        missing.add("certificatesigningrequest-signing-controller")
    if options.service_account_key is None:
        missing.add("serviceaccount-token-controller")
    wanted = set(options.controllers)
    unknown = {n.removeprefix("-") for n in wanted} - {e.name for e in CONTROLLERS} - {"*"}
    if unknown:
        raise ValueError(f"cannot run controllers: no such controller: {', '.join(sorted(unknown))}")
    return [
        entry
        for entry in CONTROLLERS
        if entry.name not in missing and "-" + entry.name not in wanted and ("*" in wanted or entry.name in wanted)
    ]


def build(context: Context, rows: Sequence[Row]) -> list[Controller[Any]]:
    controllers: list[Controller[Any]] = []
    for row in rows:
        module = importlib.import_module(f"shirube.controllers.{row.module}")
        controllers.append(getattr(module, row.factory)(context.of(row)))
    return controllers


async def run_controllers(
    context: Context, controllers: Sequence[Controller[Any]], synced: Callable[[], None] | None = None
) -> None:
    """Informers and controllers, until cancelled. `synced` is called once the first caches are filled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(context.factory.run(), name="informers")
        for controller in controllers:
            group.create_task(controller.run(), name=controller.name)
        await context.factory.wait_for_cache_sync()
        if synced is not None:
            synced()


def make_context(options: Options, config: KubeConfig, clock: Clock, chance: Chance) -> tuple[Context, Client]:
    """The context and the process's own client, which is the reader of all."""
    own = Client.from_config(config, USER_AGENT)
    plain = config.without_certificate()
    transport = HttpTransport(plain.server, plain.tls, plain.tls_server_name)
    clients: dict[str, Client] = {}

    def client_of(account: str) -> Client:
        if not options.use_service_account_credentials:
            return own
        if account not in clients:
            clients[account] = own.acting_as(ServiceAccountToken(own, account, clock), USER_AGENT, transport)
        return clients[account]

    context = Context(
        own,
        client_of,
        clock=clock,
        chance=chance,
        cluster_cidr=options.cluster_cidr,
        node_mask=options.node_mask,
        node_mask_v6=options.node_mask_v6,
        service_cidr=options.service_cidr,
        node_monitor_grace=options.node_monitor_grace,
        root_ca=options.root_ca,
        signing_cert=options.signing_cert,
        signing_key=options.signing_key,
        service_account_key=options.service_account_key,
        local_path_directory=options.local_path_directory,
        legacy_token_clean_up=options.legacy_token_clean_up,
    )
    context.on_close(transport.close)
    return context, own


async def run(options: Options, stop: asyncio.Event, *, clock: Clock = SYSTEM) -> None:
    """Until `stop` is set. Raises LeadershipLost when another instance may have taken over."""
    chance = Chance()
    context, own = make_context(options, KubeConfig.load(options.kubeconfig), clock, chance)

    async def lead() -> None:
        controllers = build(context, enabled(options))
        _log.info("starting controllers", count=len(controllers))
        await run_controllers(context, controllers, settle_memory)

    try:
        if options.leader_elect:
            identity = options.identity or f"{socket.gethostname()}_{chance.uid()}"
            await LeaderElector(own, LEASE, identity, clock=clock, chance=chance).run(lead, stop)
        else:
            await _until(lead, stop)
    finally:
        await context.close()
        await own.close()
    _log.info("stopped", pid=os.getpid())


async def _until(lead: Callable[[], Coroutine[Any, Any, None]], stop: asyncio.Event) -> None:
    work = spawn(lead(), name="controllers")
    stopped = spawn(stop.wait(), name="stop")
    try:
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        await cancel(work, stopped)
