"""Pod CIDRs of nodes: which subnet, of which ranges, and what is told when there is none."""

from __future__ import annotations

import ipaddress
import re

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items
from tests.controllers.test_nodes import node
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import EVENTS, NODES
from shirube.client.rest import Client
from shirube.controllers.node_ipam import NodeIPAMController, RangeExhausted, first_free, listed, masks


def test_a_range_that_is_smaller_than_a_node_is_exhausted():
    with pytest.raises(RangeExhausted, match="is smaller than a /24"):
        first_free(ipaddress.ip_network("10.0.0.0/26"), 24, [])


@pytest.mark.parametrize(
    "cluster,mask,taken,expected",
    [
        ("10.10.0.0/22", 24, ["10.10.0.0/24", "10.10.2.0/24"], "10.10.1.0/24"),
        ("127.123.234.0/24", 30, ["127.123.234.0/26", "127.123.234.64/30"], "127.123.234.68/30"),
        ("10.10.0.0/16", 24, ["172.10.0.0/24", "fd00::/64"], "10.10.0.0/24"),  # of others
        ("10.10.0.0/16", 24, ["10.0.0.0/8"], None),  # one that holds all of it
        ("10.10.0.0/24", 24, ["10.10.0.128/25"], None),
        ("fd00::/56", 64, ["fd00::/64"], "fd00:0:0:1::/64"),
    ],
)
def test_the_first_free_range(cluster: str, mask: int, taken: list[str], expected: str | None):
    others = [ipaddress.ip_network(one) for one in taken]
    if expected is None:
        with pytest.raises(RangeExhausted):
            first_free(ipaddress.ip_network(cluster), mask, others)
    else:
        assert first_free(ipaddress.ip_network(cluster), mask, others)[1] == ipaddress.ip_network(expected)


def test_subnets_go_round():
    cluster, others = ipaddress.ip_network("10.0.0.0/22"), [ipaddress.ip_network("10.0.3.0/24")]
    found = [first_free(cluster, 24, others, start) for start in range(5)]
    assert [(number, str(subnet)) for number, subnet in found] == [
        (0, "10.0.0.0/24"),
        (1, "10.0.1.0/24"),
        (2, "10.0.2.0/24"),
        (0, "10.0.0.0/24"),
        (0, "10.0.0.0/24"),
    ]


async def test_what_came_free_is_given_last(house: House, client: Client):
    """Who still sends to the node that is gone does not reach another's pods."""
    context = house.context(cluster_cidr="10.0.0.0/22", node_mask=24)
    async with house.running(NodeIPAMController, context=context) as (controller,):
        for name in ("n0", "n1"):
            await client.create(NODES, node(name))
            await house.settle([controller])
        await client.delete(NODES, "n0")
        for name in ("n2", "n3", "n4"):
            await client.create(NODES, node(name))
            await house.settle([controller])
        assert await _given(client) == {
            "n1": ["10.0.1.0/24"],
            "n2": ["10.0.2.0/24"],
            "n3": ["10.0.3.0/24"],
            "n4": ["10.0.0.0/24"],
        }


async def _given(client: Client) -> dict[str, list[str] | None]:
    return {one["metadata"]["name"]: one["spec"].get("podCIDRs") for one in (await client.list(NODES))["items"]}


async def test_what_services_have_is_no_nodes(house: House, client: Client):
    """The ranges of both families lie in those of the pods: their subnets are left out, whole and partly."""
    for number in range(4):
        await client.create(NODES, node(f"n{number}"))
    context = house.context(
        cluster_cidr="10.0.0.0/21,fd00::/60",
        node_mask=24,
        node_mask_v6=62,
        service_cidr="10.0.1.0/24, fd00:0:0:4::/112",
    )
    async with house.running(NodeIPAMController, context=context) as (controller,):
        await house.settle([controller])
        found = await _given(client)
        (event,) = [e for e in await items(client, EVENTS) if e["reason"] == "CIDRNotAvailable"]
    assert found == {
        "n0": ["10.0.0.0/24", "fd00::/62"],
        "n1": ["10.0.2.0/24", "fd00:0:0:8::/62"],
        "n2": ["10.0.3.0/24", "fd00:0:0:c::/62"],
        "n3": None,
    }
    assert (event["type"], event["message"]) == ("Normal", "Node n3 status is now: CIDRNotAvailable")


async def test_services_may_have_more_than_the_pods(house: House, client: Client):
    await client.create(NODES, node("n0"))
    context = house.context(cluster_cidr="10.0.0.0/16", service_cidr="10.0.0.0/8")
    async with house.running(NodeIPAMController, context=context) as (controller,):
        await house.settle([controller])
        assert await _given(client) == {"n0": None}


@pytest.mark.parametrize(
    ("cluster", "v4", "v6", "found"),
    [
        ("10.244.0.0/16", 24, 64, [24]),
        ("fd00::/48,10.0.0.0/16", 26, 64, [64, 26]),
        ("10.0.0.0/26", 24, 64, "10.0.0.0/26 is smaller than --node-cidr-mask-size-ipv4 24"),
        (
            "10.0.0.0/8,fd00::/40",
            24,
            64,
            "--node-cidr-mask-size-ipv6 64 cuts fd00::/40 in too many pieces; at most /56",
        ),
    ],
)
def test_masks_by_family(cluster: str, v4: int, v6: int, found: list[int] | str):
    ranges = listed(cluster)
    if isinstance(found, str):
        with pytest.raises(ValueError, match=re.escape(found)):
            masks(ranges, v4, v6)
    else:
        assert masks(ranges, v4, v6) == found


@pytest.mark.parametrize(("reason", "kept"), [("InternalError", False), ("ServerTimeout", True)])
async def test_a_range_that_cannot_be_written_is_told(
    house: House, api: MemoryApi, client: Client, reason: str, kept: bool
):
    """It goes back, unless the write may have happened; and is tried again."""
    await client.create(NODES, node("n0"))
    tries = 0

    def fault(method: str, path: str) -> None:
        nonlocal tries
        if method == "PATCH":
            tries += 1
            if tries <= 3:
                raise ApiError(500, reason, "no")

    api.fault = fault
    async with house.running(NodeIPAMController) as (controller,):
        await until(lambda: tries == 3)
        await until(lambda: bool(controller._given) is kept)
        await until(lambda: _is_given(client, "n0"))
        (event,) = await until(lambda: items(client, EVENTS))
    assert event["message"] == "Node n0 status is now: CIDRAssignmentFailed"
    assert tries == 4


async def _is_given(client: Client, name: str) -> bool:
    return bool((await client.get(NODES, name))["spec"].get("podCIDR"))


async def test_nodes_of_other_ranges_and_nodes_that_go(house: House, client: Client, caplog: pytest.LogCaptureFixture):
    """The first keep what they have, and the log says so; the second get none."""
    await client.create(NODES, node("odd", podCIDR="172.16.0.0/24", podCIDRs=["172.16.0.0/24", "10.244.7.0/24"]))
    leaving = node("leaving")
    leaving["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(NODES, leaving)
    await client.delete(NODES, "leaving")
    async with house.running(NodeIPAMController) as (controller,):
        await house.settle([controller])
        assert controller._odd(await client.get(NODES, "odd")) == ["172.16.0.0/24", "10.244.7.0/24"]
        assert await _given(client) == {"odd": ["172.16.0.0/24", "10.244.7.0/24"], "leaving": None}
    assert "a node's pod CIDR is none of the cluster's" in caplog.text


async def test_addresses_instead_of_ranges_and_a_range_that_comes_free(house: House, client: Client):
    """The API lets an address stand for its network; one such node must not keep the others from theirs."""
    await client.create(NODES, node("odd", podCIDRs=["10.244.0.9/24"], podCIDR="10.244.0.9/24"))
    await client.create(NODES, node("next"))
    context = house.context(cluster_cidr="10.244.0.0/23")
    async with house.running(NodeIPAMController, context=context) as (controller,):

        async def cidr(name: str) -> str | None:
            return (await client.get(NODES, name))["spec"].get("podCIDR")

        await house.settle([controller])
        assert await cidr("next") == "10.244.1.0/24"
        await client.create(NODES, node("late"))
        await house.settle([controller])
        assert await cidr("late") is None
        await client.delete(NODES, "odd")

        async def given() -> bool:
            return await cidr("late") == "10.244.0.0/24"

        await until(given)
