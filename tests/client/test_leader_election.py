from __future__ import annotations

import asyncio

import pytest
from tests.client.memory_api import MemoryApi
from tests.waiting import running, until

from shirube.api import errors
from shirube.api.gvr import LEASES
from shirube.client.leader_election import LeaderElector, LeadershipLost
from shirube.client.rest import Client


def elector(client: Client, identity: str) -> LeaderElector:
    return LeaderElector(client, "test", identity, lease_duration=0.3, renew_deadline=0.2, retry_period=0.02)


async def holder(client: Client) -> str:
    return (await client.get(LEASES, "test", "kube-system"))["spec"]["holderIdentity"]


async def test_one_leads_and_hands_over_when_it_stops(client: Client):
    leading: list[str] = []
    stops = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def lead(name: str) -> None:
        leading.append(name)
        await asyncio.Event().wait()

    a, b = elector(client, "a"), elector(client, "b")
    async with running(a.run(lambda: lead("a"), stops["a"])):
        await until(lambda: leading == ["a"])
        async with running(b.run(lambda: lead("b"), stops["b"])):
            await asyncio.sleep(0.4)
            assert leading == ["a"], "the lease is renewed"
            stops["a"].set()
            await until(lambda: leading == ["a", "b"])
            assert await holder(client) == "b"
            stops["b"].set()
            await until(lambda: not b.is_leader)
    assert await holder(client) == ""


async def test_a_dead_leader_is_followed_after_its_lease(client: Client):
    forever = asyncio.Event()
    first = elector(client, "dead")
    assert await first._acquire(forever)
    leading = asyncio.Event()

    async def lead() -> None:
        leading.set()
        await forever.wait()

    async with running(elector(client, "b").run(lead, asyncio.Event())):
        await asyncio.sleep(0.1)
        assert not leading.is_set()
        await until(leading.is_set)
        lease = await client.get(LEASES, "test", "kube-system")
        assert lease["spec"]["leaseTransitions"] == 1


async def test_the_same_identity_goes_on_at_once(client: Client):
    assert await elector(client, "a")._acquire(asyncio.Event())
    restarted = elector(client, "a")
    assert await restarted._try()


async def test_a_leader_that_cannot_renew_stops(api: MemoryApi, client: Client):
    cancelled = asyncio.Event()

    async def lead() -> None:
        try:
            api.fault = lambda m, p: (_ for _ in ()).throw(errors.internal_error("down"))
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(LeadershipLost, match="cannot renew lease"):
        await elector(client, "a").run(lead, asyncio.Event())
    assert cancelled.is_set()


async def test_what_the_leader_raises_is_raised(client: Client):
    async def lead() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await elector(client, "a").run(lead, asyncio.Event())
    assert await holder(client) == ""


async def test_a_server_that_is_just_starting_is_asked_often(client: Client, monkeypatch: pytest.MonkeyPatch):
    patient = LeaderElector(client, "test", "a", retry_period=60.0)
    real, asked = client.get, 0

    async def starting(*args: object, **more: object) -> object:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise errors.service_unavailable("not yet", 1)
        return await real(*args, **more)

    monkeypatch.setattr(client, "get", starting)
    async with asyncio.timeout(60):
        assert await patient._acquire(asyncio.Event())
    assert asked == 3
