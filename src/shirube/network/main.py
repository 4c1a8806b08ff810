"""The network process of a node, without the proxy: CNI configuration, routes, masquerade, DNS."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import ENDPOINTSLICES, NODES
from shirube.client.informer import Informer, InformerFactory
from shirube.client.rest import Client
from shirube.foundation import address_family, log, nft
from shirube.foundation.address_family import BOTH, listed
from shirube.foundation.tasks import signalled
from shirube.network import cni, masquerade, projection, routes, tunnel
from shirube.network.dns.forward import system_resolvers
from shirube.network.dns.main import run_dns
from shirube.network.host_ports import run_host_ports
from shirube.network.policy.main import run_policies

_logger = log.get("network")
_RETRY_SECONDS = 1.0
_LOOK_SECONDS = 10.0

Object = dict[str, Any]


@dataclass(slots=True)
class Options:
    """A node's network process. Of dual-stack clusters each address and range is two, with a comma between."""

    kubeconfig: Path
    node_name: str
    node_ip: str
    cluster_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    node_network: str = "172.30.0.0/24"
    cluster_dns: str = "10.96.0.10"
    cluster_domain: str = "cluster.local"
    cni_conf_dir: Path = Path("/etc/cni/net.d")
    cni_bin_dir: Path = Path("/usr/lib/cni")
    mtu: int = 0  # of pods; 0: what fits the link that has the node's address, and the tunnel where there is one
    upstream_resolvers: list[str] = field(default_factory=system_resolvers)


async def run_network(options: Options, client: Client, factory: InformerFactory, stop: asyncio.Event) -> None:
    """Run until `stop`. What was configured stays, so that pods go on while this process restarts."""
    async with asyncio.TaskGroup() as group:
        work = [
            group.create_task(
                _follow_nodes(options, factory.informer(NODES, projection=projection.node)), name="nodes"
            ),
            group.create_task(run_dns(options, factory), name="dns"),
            group.create_task(run_policies(options, factory), name="policy"),
            group.create_task(run_host_ports(options, factory), name="host-ports"),
            group.create_task(_advertise_dns(options, client), name="dns-endpoint"),
        ]
        await stop.wait()
        for task in work:
            task.cancel()


async def _follow_nodes(options: Options, nodes: Informer) -> None:
    changed = asyncio.Event()
    nodes.add_handler(lambda _: changed.set(), lambda _o, _n: changed.set(), lambda _: changed.set())
    await nodes.wait_for_cache_sync()
    changed.set()
    done: object = None
    while True:
        await signalled(changed, _LOOK_SECONDS)  # a plugin that is brought makes no Node change
        changed.clear()
        own = nodes.store.get(None, options.node_name)
        wanted = (cni.foreign(options.cni_conf_dir), _of_nodes(nodes.store.list()))
        if own is None or wanted == done:
            continue
        try:
            await connect(options, own, nodes.store.list())
            done = wanted
        except (nft.NftError, routes.RouteError, OSError) as error:
            _logger.error("cannot configure the pod network, will try again", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
            changed.set()


def _of_nodes(nodes: Iterable[Object]) -> list[tuple[str, list[str], list[str]]]:
    """What of Nodes the pod network depends on."""
    return sorted((n["metadata"]["name"], routes.pod_cidrs(n), routes.internal_addresses(n)) for n in nodes)


async def connect(options: Options, own: Object, nodes: list[Object]) -> None:
    """This node's pods with the other nodes' and the outside: addresses, routes on our links, the tunnel beyond them.

    Where another network plugin was brought, all of that is its own: ours goes.
    """
    cidrs = routes.pod_cidrs(own)
    if not cidrs:
        return
    local = listed(options.node_ip)[0]
    links = [link for link in await routes.links() if link.name != tunnel.DEVICE]
    link = next((one for one in links if one.reaches(local)), None)
    if link is None:
        raise routes.RouteError(f"cannot connect pods: no interface has the node's address {local}")

    def near(address: str) -> bool:
        return any(one.reaches(address) for one in links)

    outer = address_family.of(local)
    if (other := cni.foreign(options.cni_conf_dir)) is not None:
        _logger.info("leaving pods to another network plugin", configuration=other)
        far: list[tunnel.Peer] = []
        want: dict[str, routes.Hop] = {}
        await nft.apply(masquerade.removal())
    else:
        far = tunnel.peers(nodes, options.node_name, outer, near)
        want = routes.wanted(nodes, options.node_name, near) | tunnel.routes(far)
        room = options.mtu or (tunnel.mtu(link, outer) if far else link.mtu)
        pods = listed(options.cluster_cidr)
        await nft.apply(masquerade.script(pods, [*pods, *listed(options.node_network), *listed(options.service_cidr)]))
        if cni.write(options.cni_conf_dir, Path(options.cni_bin_dir), cidrs, room):
            _logger.info("configured the pod network", pod_cidrs=",".join(cidrs), mtu=room)
    await tunnel.carry_out(own, far, link, local)
    await routes.carry_out(routes.plan(await routes.current(), want))


async def _advertise_dns(options: Options, client: Client) -> None:
    """Make this node's DNS server an endpoint of the cluster DNS Service (server-side apply)."""
    for address in listed(options.node_ip):
        await _advertise(options, client, address)


def dns_slice_names(node_name: str) -> list[str]:
    """The EndpointSlices of a node's DNS server, by family."""
    return [f"kube-dns-{node_name}", f"kube-dns-{node_name}-ipv6"]


async def _advertise(options: Options, client: Client, address: str) -> None:
    family = address_family.of(address)
    name = dns_slice_names(options.node_name)[BOTH.index(family)]
    endpoint_slice = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "kube-system",
            "labels": {
                "kubernetes.io/service-name": "kube-dns",
                "endpointslice.kubernetes.io/managed-by": "shirube-network",
            },
        },
        "addressType": family.api,
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True}, "nodeName": options.node_name},
        ],
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            {"name": "metrics", "port": 9153, "protocol": "TCP"},
        ],
    }
    while True:
        try:
            await client.patch(
                ENDPOINTSLICES,
                name,
                endpoint_slice,
                "kube-system",
                "apply",
                field_manager="shirube-network",
                force=True,
            )
            return
        except ApiError as error:
            # The rights to do this are granted by an add-on that may not be applied yet.
            _logger.debug("cannot advertise DNS yet", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS / 4)
