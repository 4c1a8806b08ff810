"""A pod CIDR for every node: the next free subnet of the cluster's range (one of each family when there are two).

They go round: one that came free is given again when those after it were.

Subnets that overlap a range of Services are nobody's: an address must not be a pod's and a Service's. What cannot be
is told in upstream's Events: CIDRNotAvailable, tried again when a node goes and every minute; CIDRAssignmentFailed. A
node whose range is none of the cluster's keeps it, which a line of the log tells.

Follows upstream's `range_allocator.go` and `cidr_set.go`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from itertools import chain

from shirube.api.errors import ApiError
from shirube.api.gvr import NODES
from shirube.client.controller import Controller
from shirube.client.events import NORMAL
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting

_ACCOUNT = "node-controller"
_TRIES = 3  # to write a node's range
_MOST_BITS_V6 = 16  # between the cluster's mask and a node's: upstream keeps a bit for each subnet

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class RangeExhausted(Exception):
    """Every subnet is taken."""


def listed(cidrs: str) -> list[Network]:
    """The ranges of a text with commas between; none of an empty one."""
    return [ipaddress.ip_network(cidr.strip()) for cidr in cidrs.split(",") if cidr.strip()]


def masks(cluster: Sequence[Network], v4: int, v6: int) -> list[int]:
    """The length of a node's mask for each range. Raises ValueError for what upstream refuses to start with."""
    found = []
    for network in cluster:
        mask = v4 if network.version == 4 else v6
        option = f"--node-cidr-mask-size-ipv{network.version} {mask}"
        if mask < network.prefixlen:
            raise ValueError(
                f"cannot give nodes their pod CIDRs: {network} is smaller than {option}; "
                "the cluster's range must have a mask of at most that length"
            )
        if network.version == 6 and mask - network.prefixlen > _MOST_BITS_V6:
            raise ValueError(
                f"cannot give nodes their pod CIDRs: {option} cuts {network} in too many pieces; at most "
                f"/{network.prefixlen + _MOST_BITS_V6} is possible"
            )
        found.append(mask)
    return found


def first_free(cluster: Network, mask: int, taken: Iterable[Network], start: int = 0) -> tuple[int, Network]:
    """The first subnet of size `mask` that overlaps none of `taken`, from the one with the number `start` on and round;
    and its number. Raises RangeExhausted."""
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
    count = 1 << (mask - cluster.prefixlen)
    for number in chain(range(start, count), range(start)):
        if number not in used:
            address = ipaddress.ip_address(base + number * size)
            return number, ipaddress.ip_network(f"{address}/{mask}")
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
        self._ranges = listed(context.cluster_cidr)
        self._masks = masks(self._ranges, context.node_mask, context.node_mask_v6)
        self._services = listed(context.service_cidr)
        self._next = [0] * len(self._ranges)  # the number of the subnet to begin with
        self._given: dict[str, list[Network]] = {}  # uid -> what the cache does not show yet
        self._nodes.add_handler(self._added, lambda _, new: self._enqueue(new), self._deleted)

    def _added(self, node: Object) -> None:
        if odd := self._odd(node):
            self.log.warning(
                "a node's pod CIDR is none of the cluster's: its pods may not be reached; make the node anew",
                node=key_of(node),
                cidrs=odd,
            )
        self._enqueue(node)

    def _odd(self, node: Object) -> list[str]:
        """The CIDRs of a node that are in no range of the cluster, or one too many."""
        networks = [ipaddress.ip_network(cidr, strict=False) for cidr in _cidrs(node)]
        return [
            str(network)
            for place, network in enumerate(networks)
            if place >= len(self._ranges) or not network.overlaps(self._ranges[place])
        ]

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
        if node is None or _cidrs(node) or deleting(node):
            return None
        uid = node["metadata"]["uid"]
        if uid not in self._given:
            try:
                self._given[uid] = self._free()
            except RangeExhausted as error:
                self._tell(node, "CIDRNotAvailable")
                self.log.warning("cannot give a node its pod CIDR", node=key, error=str(error))
                return 60.0
        await self._assign(node, [str(network) for network in self._given[uid]])
        return None

    def _free(self) -> list[Network]:
        taken = [ipaddress.ip_network(c, strict=False) for other in self._nodes.store for c in _cidrs(other)]
        taken += [network for given in self._given.values() for network in given]
        taken += self._services
        found = []
        for place, (network, mask) in enumerate(zip(self._ranges, self._masks, strict=True)):
            number, subnet = first_free(network, mask, taken, self._next[place])
            self._next[place] = number + 1
            found.append(subnet)
        return found

    async def _assign(self, node: Object, cidrs: list[str]) -> None:
        metadata = node["metadata"]
        patch = {"metadata": {"uid": metadata["uid"]}, "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}
        for left in reversed(range(_TRIES)):
            try:
                await self._client.patch(NODES, metadata["name"], patch, type="strategic")
                return
            except ApiError as error:
                if error.code == 404:
                    return
                if left:
                    continue
                self._tell(node, "CIDRAssignmentFailed")
                if error.reason != "ServerTimeout":  # that one may have been written
                    self._given.pop(metadata["uid"], None)
                raise

    def _tell(self, node: Object, reason: str) -> None:
        self._recorder.event(node, NORMAL, reason, f"Node {node['metadata']['name']} status is now: {reason}")
