"""The proxy's loop: follow Services and EndpointSlices, program what differs, at most every 30 ms.

A failed transaction changes nothing; the next sync then programs the whole table afresh. Connections that exist are in
conntrack and survive that, and a restart of this process.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Protocol

from shirube.api.gvr import ENDPOINTSLICES, SERVICES
from shirube.client.informer import Informer, InformerFactory
from shirube.foundation import log, nft
from shirube.foundation.tasks import cancel, spawn
from shirube.proxy import ruleset
from shirube.proxy.endpoints import SERVICE_NAME, Object, ServicePort, service_ports

_logger = log.get("proxy")
_QUIET_SECONDS = 0.03
_RETRY_SECONDS = 1.0


class ProxyOptions(Protocol):
    """What the proxy needs of its process's options."""

    kubeconfig: Path
    node_name: str


class Proxy:
    """Keeps the table equal to what the API says. One per node."""

    def __init__(self, factory: InformerFactory, node: str) -> None:
        self._node = node
        self._services = factory.informer(SERVICES)
        self._slices = factory.informer(ENDPOINTSLICES)
        self._slices.add_index(SERVICE_NAME, _service_of)
        self._changed = asyncio.Event()
        self._dirty: set[str] = set()
        self._ports: dict[str, list[ServicePort]] = {}
        self._programmed: ruleset.RuleSet | None = None
        self._follow(self._services, lambda o: f"{o['metadata']['namespace']}/{o['metadata']['name']}")
        self._follow(self._slices, lambda o: next(iter(_service_of(o)), ""))

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
        await self._services.wait_for_cache_sync()
        await self._slices.wait_for_cache_sync()
        self._changed.set()
        while True:
            await self._changed.wait()
            await asyncio.sleep(_QUIET_SECONDS if self._programmed is not None else 0)
            self._changed.clear()
            await self._sync()

    async def _sync(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for key in dirty:
            if ports := self._read(key):
                self._ports[key] = ports
            else:
                self._ports.pop(key, None)
        wanted = ruleset.build(port for ports in self._ports.values() for port in ports)
        script = ruleset.transaction(self._programmed, wanted)
        if not script:
            return
        try:
            await nft.apply(script)
        except nft.NftError as error:
            _logger.error("cannot program services, will start afresh", error=str(error))
            self._programmed = None
            await asyncio.sleep(_RETRY_SECONDS)
            self._changed.set()
            return
        self._programmed = wanted
        _logger.debug("programmed", services=len(self._ports), changed=len(dirty))

    def _read(self, key: str) -> list[ServicePort]:
        namespace, name = key.split("/", 1)
        service = self._services.store.get(namespace, name)
        if service is None:
            return []
        return service_ports(service, self._slices.store.by_index(SERVICE_NAME, key), self._node)


def _service_of(endpoint_slice: Object) -> list[str]:
    metadata = endpoint_slice["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return [f"{metadata['namespace']}/{name}"] if name else []


async def run_proxy(options: ProxyOptions, factory: InformerFactory, stop: asyncio.Event) -> None:
    """Run the proxy over the process's shared informers until `stop`. The rules stay when it ends."""
    task = spawn(Proxy(factory, options.node_name).run(), name="proxy")
    stopping = spawn(stop.wait(), name="proxy-stop")
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await cancel(stopping)
        task.result()
    await cancel(task, stopping)
