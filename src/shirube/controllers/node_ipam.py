"""A pod CIDR for every node: the first free /24 of the cluster's range (one of each family when there are
two)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from shirube.api.gvr import NODES
from shirube.client.controller import Controller
from shirube.client.events import NORMAL
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers.context import Context

_ACCOUNT = "node-controller"
_MASK_V6 = 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class RangeExhausted(Exception):
    """Every subnet is taken."""


def first_free(cluster: Network, mask: int, taken: Iterable[Network]) -> Network:
    """The lowest subnet of size `mask` that overlaps none of `taken`. Raises RangeExhausted."""
    if mask < cluster.prefixlen:
        raise RangeExhausted(f"{cluster} is smaller than a /{mask}")
    size = 1 << (cluster.max_prefixlen - mask)
    base = int(cluster.network_address)
    used: set[int] = set()
    for other in taken:
        if other.version != cluster.version or not other.overlaps(cluster):
            continue
        first = (int(other.network_address) - base) // size
        last = (int(other.broadcast_address) - base) // size
        used.update(range(max(first, 0), last + 1))
    for number in range(1 << (mask - cluster.prefixlen)):
        if number not in used:
            address = ipaddress.ip_address(base + number * size)
            return ipaddress.ip_network(f"{address}/{mask}")
    raise RangeExhausted(f"cannot find a free /{mask} in {cluster}")


def _cidrs(node: Object) -> list[str]:
    spec = node.get("spec") or {}
    return list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))


class NodeIPAMController(Controller[str]):
    name = "node-ipam-controller"
    workers = 1  # one allocation at a time: no two nodes get the same

    def __init__(self, context: Context) -> None:
        self._nodes = context.informer(NODES)
        super().__init__(self._nodes)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder("cidrAllocator", _ACCOUNT)
        self._ranges = [ipaddress.ip_network(c.strip()) for c in context.cluster_cidr.split(",")]
        self._mask = context.node_mask
        self._given: dict[str, list[Network]] = {}  # uid -> what the cache does not show yet
        self._nodes.add_handler(self._enqueue, lambda _, new: self._enqueue(new), self._deleted)

    def _enqueue(self, node: Object) -> None:
        if _cidrs(node):
            self._given.pop(node["metadata"]["uid"], None)
        else:
            self.queue.add(key_of(node))

    def _deleted(self, node: Object) -> None:
        """A range came free: nodes that found none may try again."""
        self._given.pop(node["metadata"]["uid"], None)
        for other in self._nodes.store:
            self._enqueue(other)

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.store.get(None, key)
        if node is None or _cidrs(node):
            return None
        uid = node["metadata"]["uid"]
        if uid not in self._given:
            taken = [ipaddress.ip_network(c, strict=False) for other in self._nodes.store for c in _cidrs(other)]
            taken += [network for given in self._given.values() for network in given]
            try:
                self._given[uid] = [
                    first_free(r, self._mask if r.version == 4 else _MASK_V6, taken) for r in self._ranges
                ]
            except RangeExhausted as error:
                self._recorder.event(node, NORMAL, "CIDRNotAvailable", f"Node {key} status is now: CIDRNotAvailable")
                self.log.warning("cannot give a node its pod CIDR", node=key, error=str(error))
                return 60.0
        cidrs = [str(network) for network in self._given[uid]]
        patch = {"metadata": {"uid": uid}, "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}
        await self._client.patch(NODES, key, patch, type="strategic")
        return None
