"""Cluster DNS of a node: the zone over shared informers, served on the node's address."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Iterable
from typing import Any, Protocol

import orjson

from shirube.api.gvr import CONFIGMAPS, ENDPOINTSLICES, NAMESPACES, SERVICES
from shirube.client.informer import Informer, InformerFactory
from shirube.foundation import address_family, log
from shirube.foundation.clock import SYSTEM
from shirube.network import projection
from shirube.network.dns.answer import Responder
from shirube.network.dns.cache import AnswerCache
from shirube.network.dns.forward import Forwarder, resolver_address
from shirube.network.dns.metrics import DnsMetrics
from shirube.network.dns.records import Object, Zone
from shirube.network.dns.server import DnsServer

_logger = log.get("dns")
_SERVICE = "kubernetes.io/service-name"
_BY_SERVICE, _BY_ADDRESS = "dns-service", "dns-address"


class DnsOptions(Protocol):
    """What DNS needs of its process's options."""

    node_ip: str  # of dual-stack nodes one address of each family, with a comma between
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
    metrics = DnsMetrics()
    forwarder = Forwarder(options.upstream_resolvers, cache=AnswerCache(SYSTEM), metrics=metrics)
    _follow_configuration(options, factory, forwarder)
    responder = Responder(found, forwarder)
    async with contextlib.AsyncExitStack() as opened:
        for address in address_family.listed(options.node_ip):
            server = DnsServer(responder, metrics)
            opened.push_async_callback(server.close)
            await server.start(address)
            metrics_server = await metrics.serve(address)
            if metrics_server is not None:
                opened.callback(metrics_server.close)
        _logger.info("serving", address=options.node_ip, upstream=",".join(options.upstream_resolvers) or "none")
        await asyncio.Event().wait()


def _follow_configuration(options: DnsOptions, factory: InformerFactory, forwarder: Forwarder) -> None:
    """The ConfigMap kube-system/kube-dns: `stubDomains` and `upstreamNameservers`, JSON as upstream documents them."""
    maps = factory.informer(CONFIGMAPS, "kube-system", field_selector="metadata.name=kube-dns")

    def changed(obj: Object) -> None:
        resolvers, stub_domains = configuration(obj.get("data") or {}, options.upstream_resolvers)
        forwarder.configure(resolvers, stub_domains)
        _logger.info("configured", upstream=",".join(resolvers), stub_domains=",".join(stub_domains))

    maps.add_handler(
        changed, lambda _, new: changed(new), lambda _: forwarder.configure(options.upstream_resolvers, {})
    )


def configuration(data: dict[str, str], default: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """(resolvers, stub domains) of the ConfigMap's data; what cannot be read is passed over and logged."""

    def parsed(key: str, empty: Any) -> Any:
        try:
            value = orjson.loads(data.get(key) or orjson.dumps(empty))
        except orjson.JSONDecodeError as error:
            _logger.error("cannot read ConfigMap kube-system/kube-dns", key=key, error=str(error))
            return empty
        return value if isinstance(value, type(empty)) else empty

    resolvers = [r for r in parsed("upstreamNameservers", []) if _is_resolver(r)]
    stubs = parsed("stubDomains", {})
    return resolvers or default, {
        name: good
        for name, servers in stubs.items()
        if isinstance(servers, list) and (good := [s for s in servers if _is_resolver(s)])
    }


def _is_resolver(text: Any) -> bool:
    host, port = resolver_address(str(text), 53)
    return _is_address(host) and 0 < port < 65536


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
