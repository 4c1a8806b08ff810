"""How long node agents may keep what they read: the annotation follows the cluster's size, with hysteresis."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House
from tests.waiting import until

from shirube.api.gvr import NODES
from shirube.client.rest import Client
from shirube.controllers.node_ttl import ANNOTATION, STEPS, NodeTTLController, remembered, step_for, told


def node(name: str, ttl: str | None = None, **annotations: str) -> dict[str, Any]:
    if ttl is not None:
        annotations[ANNOTATION] = ttl
    return {"metadata": {"name": name, "annotations": annotations}}


@pytest.mark.parametrize(
    "seconds, nodes, expected",
    [
        (0, 0, 0),
        (0, 1, 0),
        (0, 100, 0),
        (0, 101, 15),
        (15, 100, 15),
        (15, 90, 15),
        (15, 89, 0),
        (15, 500, 15),
        (15, 501, 30),
        (30, 450, 30),
        (30, 449, 15),
        (30, 1001, 60),
        (60, 900, 60),
        (60, 899, 30),
        (60, 2001, 300),
        (300, 1800, 300),
        (300, 1799, 60),
        (0, 5000, 300),
        (300, 3, 0),
    ],
)
def test_the_step_of_a_size(seconds: int, nodes: int, expected: int):
    before = next(step for step in STEPS if step.seconds == seconds)
    assert step_for(nodes, before).seconds == expected


@given(st.sampled_from(STEPS), st.integers(0, 6000))
def test_a_step_that_was_taken_is_kept(step: Any, nodes: int):
    after = step_for(nodes, step)
    assert after.least <= nodes and (after.most is None or nodes <= after.most)
    assert step_for(nodes, after) == after


@pytest.mark.parametrize(
    "text, expected", [(None, None), ("", None), ("soon", None), ("-5", None), ("²", None), ("0", 0), ("60", 60)]
)
def test_what_a_node_was_told(text: str | None, expected: int | None):
    assert told(node("n", text)) == expected


def test_after_a_restart_the_nodes_say_where_it_was():
    assert remembered([]) == STEPS[0]
    assert remembered([node("a", "0"), node("b", "15"), node("c", "7")]).seconds == 15


async def seconds_of(client: Client) -> set[str | None]:
    found = (await client.list(NODES))["items"]
    return {(o["metadata"].get("annotations") or {}).get(ANNOTATION) for o in found}


async def test_nodes_are_told_and_told_anew_when_the_cluster_outgrows_its_step(
    house: House, client: Client, api: MemoryApi
):
    for number in range(100):
        await client.create(NODES, node(f"n{number:03}", kept="yes"))
    async with house.running(NodeTTLController) as (controller,):
        await until(lambda: _all(client, "0"))
        await client.create(NODES, node("n100"))
        await until(lambda: _all(client, "15"))
        kept = await client.get(NODES, "n001")
        assert kept["metadata"]["annotations"] == {"kept": "yes", ANNOTATION: "15"}

        for number in range(95, 101):  # back below the boundary: it stays where it is
            await client.delete(NODES, f"n{number:03}")
        await house.settle([controller])
        assert await seconds_of(client) == {"15"}
        for number in range(89, 95):
            await client.delete(NODES, f"n{number:03}")
        await until(lambda: _all(client, "0"))


async def _all(client: Client, seconds: str) -> bool:
    return await seconds_of(client) == {seconds}


async def test_what_a_hand_changes_is_put_right(house: House, client: Client):
    await client.create(NODES, node("n1"))
    async with house.running(NodeTTLController):
        await until(lambda: _all(client, "0"))
        await client.patch(NODES, "n1", {"metadata": {"annotations": {ANNOTATION: "9000"}}})
        await until(lambda: _all(client, "0"))


async def test_nothing_is_written_when_nothing_changes(house: House, client: Client, api: MemoryApi):
    """Neither at a restart within the overlap of two steps, nor when nodes change in other ways."""
    for number in range(95):
        await client.create(NODES, node(f"n{number}", "15"))
    before = len(api.writes())
    async with house.running(NodeTTLController) as (controller,):
        await house.settle([controller])
        await client.patch(NODES, "n1", {"metadata": {"labels": {"a": "b"}}})
        await client.delete(NODES, "n2")
        await house.settle([controller])
        assert len(api.writes()) == before + 2


async def test_a_successor_ends_what_was_begun(house: House, client: Client):
    """Dead in the midst of telling a cluster that has grown: the rest is told by the next one."""
    for number in range(101):
        await client.create(NODES, node(f"n{number}", "15" if number < 40 else "0"))
    async with house.running(NodeTTLController):
        await until(lambda: _all(client, "15"))


async def test_a_node_gone_meanwhile_is_no_fault(house: House, client: Client, api: MemoryApi):
    await client.create(NODES, node("n1"))
    async with house.running(NodeTTLController) as (controller,):
        await until(lambda: _all(client, "0"))
        await client.delete(NODES, "n1")
        await house.settle([controller])
        assert await controller.process("n1")
