"""Cluster DNS of a node: the zone over shared informers, served on the node's address."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from shirube.api.gvr import ENDPOINTSLICES, NAMESPACES, SERVICES
from shirube.client.informer import Informer, InformerFactory
from shirube.foundation import log
from shirube.network import projection
from shirube.network.dns.answer import Responder
from shirube.network.dns.forward import Forwarder
from shirube.network.dns.records import Object, Zone
from shirube.network.dns.server import DnsServer

_logger = log.get("dns")
_SERVICE = "kubernetes.io/service-name"
_BY_SERVICE, _BY_ADDRESS = "dns-service", "dns-address"


class DnsOptions(Protocol):
    """What DNS needs of its process's options."""

    node_ip: str
    cluster_domain: str
    upstream_resolvers: list[str]


def zone(domain: str, services: Informer, slices: Informer, namespaces: Informer) -> Zone:
    """A zone that reads the stores of these informers."""
    slices.add_index(_BY_SERVICE, _service_key)
    slices.add_index(_BY_ADDRESS, _endpoint_addresses)
    services.add_index(_BY_ADDRESS, _cluster_addresses)

    def by_address(address: str) -> tuple[Iterable[Object], Iterable[Object]]:
        return services.store.by_index(_BY_ADDRESS, address), slices.store.by_index(_BY_ADDRESS, address)

    return Zone(
        domain,
        service=services.store.get,
        slices=lambda namespace, name: slices.store.by_index(_BY_SERVICE, f"{namespace}/{name}"),
        namespace_exists=lambda name: namespaces.store.get(None, name) is not None,
        by_address=by_address,
    )


def _service_key(piece: Object) -> list[str]:
    name = (piece["metadata"].get("labels") or {}).get(_SERVICE)
    return [f"{piece['metadata']['namespace']}/{name}"] if name else []


def _endpoint_addresses(piece: Object) -> list[str]:
    if not _service_key(piece):
        return []
    return [a for e in piece.get("endpoints") or [] if e.get("hostname") for a in e["addresses"]]


def _cluster_addresses(service: Object) -> list[str]:
    return [a for a in service["spec"].get("clusterIPs") or [] if a != "None"]


async def run_dns(options: DnsOptions, factory: InformerFactory) -> None:
    """Serve until cancelled, from when the caches are full: clients would remember an early NXDOMAIN."""
    services = factory.informer(SERVICES)
    slices = factory.informer(ENDPOINTSLICES)
    namespaces = factory.informer(NAMESPACES, projection=projection.namespace)
    found = zone(options.cluster_domain, services, slices, namespaces)
    for informer in (services, slices, namespaces):
        await informer.wait_for_cache_sync()
    server = DnsServer(Responder(found, Forwarder(options.upstream_resolvers)))
    await server.start(options.node_ip)
    _logger.info("serving", address=options.node_ip, upstream=",".join(options.upstream_resolvers) or "none")
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()
