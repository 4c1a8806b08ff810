"""Two API servers, processes of their own, on one etcd: whatever one answers, the other knows at once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, LEASES, SERVICES
from shirube.client.leader_election import LeaderElector
from shirube.client.rest import Client
from shirube.cluster import certificates
from shirube.foundation.tasks import cancel, spawn

from .crash.servers import ApiServer
from .etcd_process import EtcdProcess

NAMESPACE = "default"


class Pair(NamedTuple):
    one: Client
    two: Client
    servers: tuple[ApiServer, ApiServer]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory):
    """As a cluster has them: the servers share keys and certificates."""
    folder = tmp_path_factory.mktemp("two")
    pki = certificates.ensure_etcd(folder / "etcd-pki", ["127.0.0.1"])
    etcd = EtcdProcess(folder / "etcd", pki=pki)
    servers = tuple(ApiServer(folder / name, etcd.url) for name in ("one", "two"))
    certificates.ensure_pki(
        folder / "one" / "pki",
        cluster_name="shirube",
        api_names=["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
        api_addresses=["10.96.0.1", "127.0.0.1"],
    )
    shutil.copytree(folder / "one" / "pki", folder / "two" / "pki")
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.kill()
        etcd.remove()


@pytest.fixture
async def pair(processes: tuple[ApiServer, ApiServer]) -> AsyncIterator[Pair]:
    for server in processes:
        await server.ready()
    one, two = (Client.from_kubeconfig(s.folder / "admin.kubeconfig", "two-servers") for s in processes)
    yield Pair(one, two, processes)
    await one.close()
    await two.close()


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}


async def test_what_one_wrote_the_other_reads_at_once(pair: Pair):
    for n in range(40):
        writer, reader = (pair.one, pair.two) if n % 2 else (pair.two, pair.one)
        name = f"here-{n}"
        made = await writer.create(CONFIGMAPS, config_map(name))
        listed = await reader.list(CONFIGMAPS, NAMESPACE)
        assert name in {o["metadata"]["name"] for o in listed["items"]}
        assert int(listed["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])
        assert (await reader.get(CONFIGMAPS, name, NAMESPACE))["metadata"]["uid"] == made["metadata"]["uid"]
        await reader.delete(CONFIGMAPS, name, NAMESPACE)
        with pytest.raises(ApiError, match="not found"):
            await writer.get(CONFIGMAPS, name, NAMESPACE)


async def test_watches_at_both_tell_the_same_history(pair: Pair):
    start = (await pair.one.list(CONFIGMAPS, NAMESPACE))["metadata"]["resourceVersion"]

    async def follow(client: Client) -> list[tuple[str, str, str]]:
        seen = []
        async for event in client.watch(CONFIGMAPS, NAMESPACE, resourceVersion=start):
            meta = event["object"]["metadata"]
            seen.append((event["type"], meta["name"], meta["resourceVersion"]))
            if meta["name"] == "history-end":
                break
        return seen

    async def write(client: Client, who: str) -> None:
        for n in range(25):
            made = await client.create(CONFIGMAPS, config_map(f"history-{who}-{n}"))
            made["data"] = {"n": str(n)}
            await client.update(CONFIGMAPS, made)
            await client.delete(CONFIGMAPS, f"history-{who}-{n}", NAMESPACE)

    following = [spawn(follow(client), name="follow") for client in (pair.one, pair.two)]
    try:
        await asyncio.gather(write(pair.one, "a"), write(pair.two, "b"))
        await pair.two.create(CONFIGMAPS, config_map("history-end"))
        async with asyncio.timeout(60):
            one, two = await asyncio.gather(*following)
    finally:
        await cancel(*following)
        await pair.one.delete(CONFIGMAPS, "history-end", NAMESPACE)
    assert one == two
    assert len(one) == 151
    assert [int(revision) for *_, revision in one] == sorted({int(revision) for *_, revision in one})


async def test_compare_and_write_through_both_loses_no_update(pair: Pair):
    await pair.one.create(CONFIGMAPS, config_map("counter", n="0"))
    done = 0

    async def count(client: Client) -> None:
        nonlocal done
        for _ in range(10):
            while True:
                held = await client.get(CONFIGMAPS, "counter", NAMESPACE)
                held["data"]["n"] = str(int(held["data"]["n"]) + 1)
                try:
                    await client.update(CONFIGMAPS, held)
                except ApiError as error:
                    assert error.code == 409
                    continue
                done += 1
                break

    await asyncio.gather(*(count(client) for client in (pair.one, pair.two) for _ in range(4)))
    assert done == 80
    for client in (pair.one, pair.two):
        assert (await client.get(CONFIGMAPS, "counter", NAMESPACE))["data"]["n"] == "80"


async def test_addresses_of_services_are_given_once(pair: Pair):
    def service(n: int) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"s-{n}", "namespace": NAMESPACE},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]},
        }

    made = await asyncio.gather(*((pair.one, pair.two)[n % 2].create(SERVICES, service(n)) for n in range(30)))
    assert len({s["spec"]["clusterIP"] for s in made}) == 30
    assert len({s["spec"]["ports"][0]["nodePort"] for s in made}) == 30


async def test_one_leader_although_they_ask_different_servers(pair: Pair):
    leading: list[str] = []
    most = 0
    stops = {"a": asyncio.Event(), "b": asyncio.Event()}
    changed = asyncio.Event()

    async def contend(who: str, client: Client) -> None:
        elector = LeaderElector(
            client, "two", who, namespace=NAMESPACE, lease_duration=3.0, renew_deadline=2.0, retry_period=0.2
        )

        async def lead() -> None:
            nonlocal most
            leading.append(who)
            most = max(most, len(leading))
            changed.set()
            try:
                await asyncio.Event().wait()
            finally:
                leading.remove(who)

        await elector.run(lead, stops[who])

    async def leader() -> str:
        async with asyncio.timeout(60):
            while not leading:
                changed.clear()
                await changed.wait()
        return leading[0]

    running = [spawn(contend("a", pair.one), name="a"), spawn(contend("b", pair.two), name="b")]
    try:
        first = await leader()
        held = await pair.two.get(LEASES, "two", NAMESPACE)
        assert held["spec"]["holderIdentity"] == first
        assert len((await pair.one.list(LEASES, NAMESPACE))["items"]) == 1
        stops[first].set()
        await running[0 if first == "a" else 1]
        second = await leader()
        assert {first, second} == {"a", "b"}
        held = await pair.one.get(LEASES, "two", NAMESPACE)
        assert (held["spec"]["holderIdentity"], held["spec"]["leaseTransitions"] >= 1) == (second, True)
        assert most == 1
    finally:
        for stop in stops.values():
            stop.set()
        await asyncio.gather(*running, return_exceptions=True)


async def test_one_is_killed_and_the_other_goes_on(pair: Pair):
    made = await pair.two.create(CONFIGMAPS, config_map("survives", n="1"))
    pair.servers[1].kill()
    try:
        assert (await pair.one.get(CONFIGMAPS, "survives", NAMESPACE))["metadata"]["uid"] == made["metadata"]["uid"]
        made["data"]["n"] = "2"
        await pair.one.update(CONFIGMAPS, made)
    finally:
        pair.servers[1].start()
        await pair.servers[1].ready()
    assert (await pair.two.get(CONFIGMAPS, "survives", NAMESPACE))["data"]["n"] == "2"
