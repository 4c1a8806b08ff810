"""Between the cluster's namespaces and the host, one a cluster, in the control plane's network namespace.

Routes to every node's pods (the API server proxies to them), masquerade for what leaves the cluster, addresses for
load balancers (`load_balancer`), and node ports and theirs on the host's loopback (`publish`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import ENDPOINTSLICES, NODES, SERVICES
from shirube.client.events import EventRecorder
from shirube.client.informer import Informer, InformerFactory
from shirube.client.rest import Client
from shirube.foundation import address_family, log, nft
from shirube.foundation.address_family import IPV4, listed
from shirube.foundation.tasks import cancel, signalled, spawn
from shirube.network import load_balancer, masquerade, publish, routes

_logger = log.get("gateway")
_RETRY_SECONDS = 2.0
_PORT_RETRY_SECONDS = 15.0  # a port of the host that was taken may be free by then
_QUIET_SECONDS = 0.01
_SERVICE_NAME = "kubernetes.io/service-name"

Object = dict[str, Any]


@dataclass(slots=True)
class Options:
    """The cluster's gateway process. Of dual-stack clusters each range is two, with a comma between."""

    kubeconfig: Path
    publish_address: str
    control_socket: Path
    cluster_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    node_network: str = "172.30.0.0/24"


class Gateway:
    def __init__(self, options: Options, client: Client, factory: InformerFactory) -> None:
        self._options = options
        self._client = client
        self._services: Informer = factory.informer(SERVICES)
        self._nodes: Informer = factory.informer(NODES)
        self._slices: Informer = factory.informer(ENDPOINTSLICES)
        self._slices.add_index(_SERVICE_NAME, _service_of)
        self._events = EventRecorder(client, "shirube-gateway")
        self._changed = asyncio.Event()
        self._told: dict[str, str] = {}  # uid of a Service -> why it has no address
        self._publisher = publish.Publisher(
            options.publish_address, options.control_socket, self._events, self._backends
        )
        for informer in (self._services, self._nodes, self._slices):
            informer.add_handler(
                lambda _: self._changed.set(), lambda _o, _n: self._changed.set(), lambda _: self._changed.set()
            )

    async def run(self) -> None:
        for informer in (self._services, self._nodes, self._slices):
            await informer.wait_for_cache_sync()
        sources = [*listed(self._options.cluster_cidr), *listed(self._options.node_network)]
        await nft.apply(masquerade.script(sources, [*sources, *listed(self._options.service_cidr)]))
        have: dict[str, routes.Hop] | None = None
        wait: float | None = 0.0
        while True:
            await self._wait(wait)
            try:
                want = routes.wanted(self._nodes.store.list())
                if want != have:
                    await routes.carry_out(routes.plan(await routes.current(), want))
                    have = want
                await self._balance()
                wanted = publish.wanted(self._services.store.list(), set(self._addresses()))
                wait = None if await self._publisher.follow(wanted) else _PORT_RETRY_SECONDS
            except (OSError, routes.RouteError, nft.NftError, ApiError) as error:
                _logger.error("cannot update the gateway, will try again", error=str(error))
                have, wait = None, _RETRY_SECONDS

    async def _wait(self, seconds: float | None) -> None:
        """For a change, or for so long."""
        await signalled(self._changed, seconds)
        await asyncio.sleep(_QUIET_SECONDS)
        self._changed.clear()

    async def close(self) -> None:
        self._publisher.close()
        await self._events.close()

    def _addresses(self) -> dict[str, Object]:
        """Every node by its addresses, of both families."""
        return {a: node for node in self._nodes.store.list() for a in routes.internal_addresses(node)}

    async def _balance(self) -> None:
        services = self._services.store.list()
        local = [s for s in services if s["spec"].get("externalTrafficPolicy") == "Local"]
        serving = {f"{s['metadata']['namespace']}/{s['metadata']['name']}": set(self._serving(s)) for s in local}
        for step in load_balancer.plan(services, self._addresses(), serving):
            uid = step.service["metadata"]["uid"]
            if step.refusal and self._told.get(uid) != step.refusal:
                self._told[uid] = step.refusal
                message = f"cannot give load balancer addresses: {step.refusal}"
                self._events.event(step.service, "Warning", "SyncLoadBalancerFailed", message)
            if not step.refusal:
                self._told.pop(uid, None)
            if step.writes:
                before, after = step.told()
                self._tell(step.service, before)
                await load_balancer.carry_out(self._client, step)
                self._tell(step.service, after)

    def _tell(self, service: Object, tellings: Iterable[load_balancer.Telling]) -> None:
        for kind, reason, message in tellings:
            self._events.event(service, kind, reason, message)

    def _serving(self, service: Object) -> Iterable[str]:
        """Addresses of the nodes that have ready endpoints of the Service."""
        metadata = service["metadata"]
        pieces = self._slices.store.by_index(_SERVICE_NAME, f"{metadata['namespace']}/{metadata['name']}")
        names = {
            e.get("nodeName")
            for piece in pieces
            for e in piece.get("endpoints") or []
            if (e.get("conditions") or {}).get("ready") is not False
        }
        return [a for a, node in self._addresses().items() if node["metadata"]["name"] in names]

    def _backends(self, service: Object) -> Iterable[str]:
        """Ready nodes first; with policy Local only those that have endpoints."""
        nodes = self._addresses()
        if service["spec"].get("externalTrafficPolicy") == "Local":
            serving = set(self._serving(service))
            nodes = {a: n for a, n in nodes.items() if a in serving}
        order = service["spec"].get("ipFamilies") or [IPV4.api]
        usable = [a for a in nodes if address_family.of(a).api in order]

        def rank(address: str) -> tuple[bool, str, int]:
            node = nodes[address]
            return not _ready(node), node["metadata"]["name"], order.index(address_family.of(address).api)

        return sorted(usable, key=rank)


def _ready(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _service_of(piece: Object) -> list[str]:
    name = (piece["metadata"].get("labels") or {}).get(_SERVICE_NAME)
    return [f"{piece['metadata']['namespace']}/{name}"] if name else []


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run until `stop` is set."""
    client = Client.from_kubeconfig(options.kubeconfig, "shirube-gateway")
    factory = InformerFactory(client)
    gateway = Gateway(options, client, factory)
    tasks = [spawn(factory.run(), name="informers"), spawn(gateway.run(), name="gateway")]
    stopping = spawn(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            task.result()
    finally:
        await cancel(*tasks, stopping)
        await gateway.close()
        await client.close()
