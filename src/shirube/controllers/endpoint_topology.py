"""Topology aware routing: endpoints are dealt out to zones by the CPU that the zones have.

For Services with `service.kubernetes.io/topology-mode: Auto`. Each ready endpoint is hinted for one zone, mostly its
own; zones with fewer endpoints than their share of the cluster's CPU allows are given some of others'. When a fair
deal is not possible (one zone only, fewer endpoints than zones, a zone that would be overloaded by more than 20 %,
nodes that say nothing of zone or CPU) there are no hints at all, and traffic goes everywhere.

Pure, and the same for the same endpoints and nodes in whatever order. Follows upstream's topologycache;
https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

from shirube.api import quantity
from shirube.client.rest import Object
from shirube.controllers import pods as of_nodes

# The first that is there counts: the older one, as upstream.
ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
OVERLOAD = Fraction(1, 5)
_HALF = Fraction(1, 2)
_ZONE = "topology.kubernetes.io/zone"
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")

ENABLED, DISABLED = "Topology Aware Hints has been enabled", "Topology Aware Hints has been disabled"
NO_ZONES = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
ONE_ZONE = "Nodes only ready in one zone"
TOO_FEW = "Insufficient number of endpoints"
OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
NO_ZONE_OF_ENDPOINT = "One or more endpoints do not have a zone specified"


class Impossible(Exception):
    """No fair deal; the message is upstream's reason."""


def wanted_for(service: Object) -> bool:
    annotations = service["metadata"].get("annotations") or {}
    value = next((annotations[name] for name in ANNOTATIONS if name in annotations), "")
    return value in ("Auto", "auto")


def shares_of(nodes: Iterable[Object]) -> dict[str, Fraction]:
    """Zone -> its part of the CPU of all ready nodes. Raises Impossible."""
    cpu: dict[str, int] = {}
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        if any(name in labels for name in _CONTROL_PLANE) or not of_nodes.ready(node):
            continue
        zone = labels.get(_ZONE)
        amount = quantity.milli(((node.get("status") or {}).get("allocatable") or {}).get("cpu") or 0)
        if not zone or amount <= 0:
            raise Impossible(NO_ZONES)
        cpu[zone] = cpu.get(zone, 0) + amount
    if not cpu:
        raise Impossible(NO_ZONES)
    if len(cpu) < 2:
        raise Impossible(ONE_ZONE)
    total = sum(cpu.values())
    return {zone: Fraction(amount, total) for zone, amount in sorted(cpu.items())}


def minima(shares: Mapping[str, Fraction], count: int) -> dict[str, int]:
    """How many of `count` endpoints each zone must have at least. Raises Impossible."""
    detail = f"({count} endpoints, {len(shares)} zones)"
    if count < len(shares):
        raise Impossible(f"{TOO_FEW} {detail}")
    least = {zone: math.ceil(share * count / (1 + OVERLOAD)) for zone, share in shares.items()}
    if sum(least.values()) > count:
        raise Impossible(f"{OVERLOADED} {detail}")
    return least


def deal(zones: Mapping[str, str], shares: Mapping[str, Fraction]) -> dict[str, str]:
    """Endpoint -> the zone that it serves, from endpoint -> the zone that it is in. Raises Impossible."""
    if not all(zones.values()):
        raise Impossible(NO_ZONE_OF_ENDPOINT)
    least = minima(shares, len(zones))
    serving: dict[str, list[str]] = {zone: [] for zone in shares}
    homeless = []
    for endpoint, zone in sorted(zones.items()):
        if zone in serving:
            serving[zone].append(endpoint)
        else:
            homeless.append(endpoint)  # its zone has no ready node that counts
    for endpoint in homeless:
        serving[_neediest(serving, shares, len(zones))].append(endpoint)
    wanted = {zone: max(share * len(zones), Fraction(least[zone])) for zone, share in shares.items()}
    while (move := _next_move({zone: len(serving[zone]) - wanted[zone] for zone in serving})) is not None:
        giver, taker = move
        serving[taker].append(serving[giver].pop())
    while short := [zone for zone in serving if len(serving[zone]) < least[zone]]:
        able = [zone for zone in serving if len(serving[zone]) > least[zone]]
        giver = max(able, key=lambda zone: (len(serving[zone]) - shares[zone] * len(zones), zone))
        serving[short[0]].append(serving[giver].pop())
    return {endpoint: zone for zone, endpoints in serving.items() for endpoint in endpoints}


def _next_move(over: Mapping[str, Fraction]) -> tuple[str, str] | None:
    """Who gives one to whom, by how much each has over (negative: lacks). Less than half an endpoint is no reason to
    send traffic away from home, nor is less than one on both sides."""
    giver, taker = (pick(over, key=lambda zone: (over[zone], zone)) for pick in (max, min))
    spare, lack = over[giver], -over[taker]
    if min(spare, lack) < _HALF or max(spare, lack) < 1:
        return None
    return giver, taker


def _neediest(serving: Mapping[str, list[str]], shares: Mapping[str, Fraction], count: int) -> str:
    return min(serving, key=lambda zone: (len(serving[zone]) - shares[zone] * count, zone))


def give_hints(endpoints: Iterable[Object], shares: Mapping[str, Fraction]) -> None:
    """Put the hints into the ready ones of a service's endpoints of one address family. Raises Impossible, and leaves
    them as they are."""
    ready = {one["addresses"][0]: one for one in endpoints if one["conditions"]["ready"]}
    dealt = deal({address: str(one.get("zone") or "") for address, one in ready.items()}, shares)
    for address, zone in dealt.items():
        ready[address]["hints"] = {"forZones": [{"name": zone}]}
