from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import House, items
from tests.controllers.test_endpoint_slice import pod, service
from tests.waiting import until

from shirube.api.gvr import ENDPOINTSLICES, EVENTS, NODES, PODS, SERVICES
from shirube.client.rest import Client
from shirube.controllers import endpoint_slice_plan as planning
from shirube.controllers import endpoint_topology as topology
from shirube.controllers.endpoint_slice import EndpointSliceController


def node(name: str, zone: str, cpu: str = "4", ready: str = "True", **labels: str) -> dict[str, Any]:
    labels |= {"topology.kubernetes.io/zone": zone} if zone else {}
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": {"cpu": cpu}, "conditions": conditions},
    }


def even(*zones: str) -> dict[str, Fraction]:
    return {zone: Fraction(1, len(zones)) for zone in zones}


def test_shares_are_those_of_the_cpu_of_ready_workers():
    master = {"node-role.kubernetes.io/control-plane": ""}
    nodes = [node("a", "z1", "6"), node("b", "z2", "2"), node("c", "z3", ready="False"), node("d", "z4", **master)]
    assert topology.shares_of(nodes) == {"z1": Fraction(3, 4), "z2": Fraction(1, 4)}


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([], topology.NO_ZONES),
        ([node("a", "z1"), node("b", "")], topology.NO_ZONES),
        ([node("a", "z1"), node("b", "z2", "0")], topology.NO_ZONES),
        ([node("a", "z1"), node("b", "z1")], topology.ONE_ZONE),
    ],
)
def test_nodes_that_make_no_deal(nodes: list[dict[str, Any]], why: str):
    with pytest.raises(topology.Impossible, match=why):
        topology.shares_of(nodes)


@pytest.mark.parametrize(
    ("zones", "shares", "why"),
    [
        ({"a": "z1"}, even("z1", "z2"), topology.TOO_FEW),
        ({"a": "z1", "b": ""}, even("z1", "z2"), topology.NO_ZONE_OF_ENDPOINT),
        (dict.fromkeys("abcd", "z1"), even("z1", "z2", "z3"), topology.OVERLOADED),
    ],
)
def test_endpoints_that_make_no_deal(zones: dict[str, str], shares: dict[str, Fraction], why: str):
    with pytest.raises(topology.Impossible, match=why):
        topology.deal(zones, shares)


def test_who_is_at_home_stays_there():
    zones = {"a": "z1", "b": "z1", "c": "z2", "d": "z2"}
    assert topology.deal(zones, even("z1", "z2")) == zones


def test_a_zone_without_endpoints_is_given_some():
    dealt = topology.deal(dict.fromkeys("abcdef", "z1"), even("z1", "z2"))
    assert Counter(dealt.values()) == {"z1": 3, "z2": 3}


@pytest.mark.parametrize(
    ("shares", "there", "served"),
    [
        ({"a": 34, "b": 33, "c": 33}, {"a": 11, "b": 11, "c": 11}, {"a": 11, "b": 11, "c": 11}),
        ({"a": 51, "b": 51, "c": 58}, {"a": 16}, {"a": 6, "b": 5, "c": 5}),  # rather at home than a little fairer
        ({"a": 50, "b": 56, "c": 54}, {"a": 16}, {"a": 5, "b": 6, "c": 5}),  # to the zone that needs it most
        ({"a": 50, "b": 56, "c": 54}, {"b": 8, "c": 8}, {"a": 5, "b": 6, "c": 5}),  # from the zone that has most
        ({"a": 35, "b": 35, "c": 30}, {"a": 5, "b": 2, "c": 3}, {"a": 4, "b": 3, "c": 3}),
    ],
)
def test_zones_are_given_their_share_to_the_nearest_endpoint(
    shares: dict[str, int], there: dict[str, int], served: dict[str, int]
):
    total = sum(shares.values())
    endpoints = {f"{zone}{n}": zone for zone, count in there.items() for n in range(count)}
    dealt = topology.deal(endpoints, {zone: Fraction(share, total) for zone, share in shares.items()})
    assert Counter(dealt.values()) == served


@given(
    zones=st.lists(st.sampled_from(["z1", "z2", "z3", "gone"]), min_size=1, max_size=30),
    cpu=st.lists(st.integers(1, 16), min_size=2, max_size=3),
)
def test_every_zone_has_its_least_and_every_endpoint_serves_once(zones: list[str], cpu: list[int]):
    shares = {f"z{n + 1}": Fraction(c, sum(cpu)) for n, c in enumerate(cpu)}
    there = {f"10.0.0.{n}": zone for n, zone in enumerate(zones)}
    try:
        least = topology.minima(shares, len(there))
    except topology.Impossible:
        with pytest.raises(topology.Impossible):
            topology.deal(there, shares)
        return
    dealt = topology.deal(there, shares)
    assert dealt.keys() == there.keys()
    counts = Counter(dealt.values())
    assert counts.keys() <= shares.keys()
    assert all(counts[zone] >= number for zone, number in least.items())
    backwards = topology.deal(dict(reversed(there.items())), shares)
    assert backwards == dealt


def test_slices_carry_the_hints_of_services_that_ask_for_them():
    auto = service()
    auto["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto"}
    pods = [pod(n) for n in range(4)]
    for n, one in enumerate(pods):
        one["spec"]["nodeName"] = f"n{n % 2}"
    nodes = {"n0": node("n0", "z1"), "n1": node("n1", "z2")}
    shares = topology.shares_of(nodes.values())
    (made,) = planning.plan(auto, pods, nodes, [], shares).create
    hints = [(e["zone"], e["hints"]["forZones"][0]["name"]) for e in made["endpoints"]]
    assert sorted(hints) == [("z1", "z1"), ("z1", "z1"), ("z2", "z2"), ("z2", "z2")]
    told = planning.plan(auto, pods[:1], nodes, [], shares)
    assert "hints" not in told.create[0]["endpoints"][0]
    assert told.no_hints == {"IPv4": f"{topology.TOO_FEW} (1 endpoints, 2 zones)"}
    assert "IPv4" in planning.plan(auto, [], nodes, [], shares).no_hints, "none at all are too few as well"


async def test_hints_follow_the_nodes_and_are_told_once(house: House, client: Client):
    async with house.running(EndpointSliceController) as controllers:
        for n in (0, 1):
            await client.create(NODES, node(f"n{n}", f"z{n}"))
        auto = service()
        auto["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto"}
        for n in range(4):
            one = pod(n)
            one["spec"]["nodeName"] = f"n{n % 2}"
            await client.create(PODS, one)
        await client.create(SERVICES, auto)

        async def hinted() -> bool:
            slices = await items(client, ENDPOINTSLICES)
            endpoints = [e for s in slices for e in s["endpoints"]]
            return len(endpoints) == 4 and all(e["hints"]["forZones"] == [{"name": e["zone"]}] for e in endpoints)

        await until(hinted)
        await client.delete(NODES, "n1")

        async def bare() -> bool:
            slices = await items(client, ENDPOINTSLICES)
            return not any("hints" in e for s in slices for e in s["endpoints"])

        await until(bare)
        await house.settle(controllers)
    told = [(e["reason"], e["message"]) for e in await items(client, EVENTS)]
    assert told == [
        ("TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled, addressType: IPv4"),
        ("TopologyAwareHintsDisabled", "Nodes only ready in one zone, addressType: IPv4"),
    ]
