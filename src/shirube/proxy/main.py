"""The proxy's loop: follow Services and EndpointSlices, program what differs, at most every 30 ms.

A failed transaction changes nothing; the next sync then programs the whole table afresh. Connections that exist are in
conntrack and survive that, and a restart of this process; UDP flows to endpoints that are gone are forgotten.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, Protocol

from shirube.api.gvr import ENDPOINTSLICES, NODES, SERVICECIDRS, SERVICES
from shirube.client.informer import Informer, InformerFactory
from shirube.foundation import address_family, conntrack, log, nft
from shirube.foundation.tasks import cancel, spawn
from shirube.proxy import ruleset
from shirube.proxy.endpoints import SERVICE_NAME, ZONE, Object, Place, ServicePort, service_ports
from shirube.proxy.health import HealthServers
from shirube.proxy.stale import stale

_logger = log.get("proxy")
_QUIET_SECONDS = 0.03
_RETRY_SECONDS = 1.0
_RANGES = "ServiceCIDRs"  # owns their elements in the table; no Service is called so
_SLICE = 200  # Services read between two turns of the loop: some 5 ms


class ProxyOptions(Protocol):
    """What the proxy needs of its process's options."""

    kubeconfig: Path
    node_name: str
    node_ip: str  # of dual-stack nodes one address of each family, with a comma between
    cluster_cidr: str  # likewise


class Proxy:
    """Keeps the table equal to what the API says. One per node."""

    def __init__(self, factory: InformerFactory, options: ProxyOptions) -> None:
        self._tables = {cidr: ruleset.table(cidr) for cidr in address_family.listed(options.cluster_cidr)}
        self._place = Place(options.node_name)
        self._services = factory.informer(SERVICES)
        self._slices = factory.informer(ENDPOINTSLICES)
        self._nodes = factory.informer(NODES)
        self._ranges = factory.informer(SERVICECIDRS)
        self._slices.add_index(SERVICE_NAME, _service_of)
        self._changed = asyncio.Event()
        self._dirty: set[str] = set()
        self._ports: dict[str, list[ServicePort]] = {}
        self._checks: dict[int, tuple[str, int]] = {}
        self._healthy = False
        self._first = True
        self._health = HealthServers(address_family.listed(options.node_ip))
        self._follow(self._services, lambda o: f"{o['metadata']['namespace']}/{o['metadata']['name']}")
        self._follow(self._slices, lambda o: next(iter(_service_of(o)), ""))
        self._nodes.add_handler(lambda _: self._changed.set(), lambda _o, _n: self._changed.set(), None)
        self._ranges.add_handler(
            lambda _: self._changed.set(), lambda _o, _n: self._changed.set(), lambda _: self._changed.set()
        )

    def _follow(self, informer: Informer, key_of: Any) -> None:
        def touch(obj: Object) -> None:
            if key := key_of(obj):
                self._dirty.add(key)
                self._changed.set()

        def updated(old: Object, new: Object) -> None:
            touch(old)
            touch(new)

        informer.add_handler(touch, updated, touch)

    async def run(self) -> None:
        for informer in (self._services, self._slices, self._nodes, self._ranges):
            await informer.wait_for_cache_sync()
        await self._health.start(lambda: self._healthy)
        self._changed.set()
        while True:
            await self._changed.wait()
            await asyncio.sleep(0 if self._first else _QUIET_SECONDS)
            self._changed.clear()
            await self._sync()

    async def close(self) -> None:
        await self._health.close()

    async def _sync(self) -> None:
        self._look_where_we_are()
        ranges = [block for cidr in self._ranges.store.list() for block in cidr["spec"].get("cidrs") or []]
        for cidr, table in self._tables.items():
            table.put(_RANGES, ruleset.ranges_fragment(ranges, cidr))
        dirty, self._dirty = self._dirty, set()
        touched = [port for key in dirty for port in self._ports.get(key, ())]
        for number, key in enumerate(sorted(dirty)):
            self._read(key)
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        # One transaction for both families: they change together, or neither does.
        script = "".join(table.script() for table in self._tables.values())
        for table in self._tables.values():
            table.settle()
        if script:
            try:
                await nft.apply(script)
            except nft.NftError as error:
                _logger.error("cannot program services, will start afresh", error=str(error))
                for table in self._tables.values():
                    table.distrust()
                self._healthy = False
                self._dirty |= dirty
                await asyncio.sleep(_RETRY_SECONDS)
                self._changed.set()
                return
            _logger.debug("programmed", services=len(self._ports), changed=len(dirty))
        self._healthy, self._first = True, False
        now = [port for key in dirty for port in self._ports.get(key, ())]
        await self._forget_stale(touched, now)
        await self._health.follow(self._checks)

    def _look_where_we_are(self) -> None:
        node = self._nodes.store.get(None, self._place.node)
        zone = ((node or {}).get("metadata", {}).get("labels") or {}).get(ZONE, "")
        if zone != self._place.zone:
            self._place = Place(self._place.node, zone)
            self._dirty |= self._ports.keys()

    def _read(self, key: str) -> None:
        namespace, name = key.split("/", 1)
        service = self._services.store.get(namespace, name)
        ports = []
        if service is not None:
            ports = service_ports(service, self._slices.store.by_index(SERVICE_NAME, key), self._place)
        if ports:
            self._ports[key] = ports
        else:
            self._ports.pop(key, None)
        for cidr, table in self._tables.items():
            table.put(key, ruleset.fragment(ports, cidr))
        for port in [p for p, (owner, _) in self._checks.items() if owner == key]:
            del self._checks[port]
        if service is not None and ports and (check := service["spec"].get("healthCheckNodePort")):
            self._checks[check] = (key, len({address for p in ports for address, _ in p.here}))

    async def _forget_stale(self, before: list[ServicePort], now: list[ServicePort]) -> None:
        # A port that is gone altogether has no endpoints any more: its flows are all stale.
        kept = {(p.cluster_ip, p.port) for p in now if p.protocol == "udp"}
        gone = [
            ServicePort(p.namespace, p.name, p.port_name, p.protocol, p.cluster_ip, p.port, node_port=p.node_port)
            for p in before
            if p.protocol == "udp" and (p.cluster_ip, p.port) not in kept
        ]
        changed = [p for p in now if p.protocol == "udp"]
        if not gone and not changed:
            return
        try:
            await asyncio.to_thread(_forget, [*gone, *changed])
        except OSError as error:
            _logger.warning("cannot look for stale UDP flows", error=str(error))


def _forget(ports: list[ServicePort]) -> None:
    flows = [
        flow
        for family in {port.family for port in ports}
        for flow in stale(conntrack.flows(socket.IPPROTO_UDP, family.socket_family), ports)
    ]
    if flows:
        count = conntrack.forget(flows)
        _logger.info("forgot stale UDP flows", flows=count)


def _service_of(endpoint_slice: Object) -> list[str]:
    metadata = endpoint_slice["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return [f"{metadata['namespace']}/{name}"] if name else []


async def run_proxy(options: ProxyOptions, factory: InformerFactory, stop: asyncio.Event) -> None:
    """Run the proxy over the process's shared informers until `stop`. The rules stay when it ends."""
    proxy = Proxy(factory, options)
    task = spawn(proxy.run(), name="proxy")
    stopping = spawn(stop.wait(), name="proxy-stop")
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await cancel(stopping)
        task.result()
    await cancel(task, stopping)
    await proxy.close()
