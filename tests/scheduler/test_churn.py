"""Safety while everything changes at once: pods come and go, nodes are cordoned and freed, bindings fail, schedulers
die. At no moment is a node overcommitted, a host port taken twice or an anti-affinity violated; a hard spread holds
whenever no binding is on its way, and in the end whoever has a place is there.
"""

import asyncio
from collections import Counter

import pytest
from tests.waiting import until

from shirube.api import gvr, quantity
from shirube.api.errors import ApiError
from shirube.foundation.chance import Chance
from shirube.foundation.tasks import cancel, spawn

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
AFTER = "DuringSchedulingIgnoredDuringExecution"
NODES, ZONES = 8, 3
KINDS = ("plain", "apart", "port", "spread")


def container(**more):
    return {"name": "c", "image": "x", "resources": {"requests": {"cpu": "500m"}}, **more}


def body(kind, name):
    spec = {"containers": [container()], "terminationGracePeriodSeconds": 0}
    match = {"matchLabels": {"kind": kind}}
    if kind == "apart":
        term = {"labelSelector": match, "topologyKey": HOST}
        spec["affinity"] = {"podAntiAffinity": {"required" + AFTER: [term]}}
    elif kind == "port":
        spec["containers"] = [container(ports=[{"containerPort": 80, "hostPort": 8080}])]
    elif kind == "spread":
        spec["topologySpreadConstraints"] = [
            {"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": match}
        ]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"kind": kind}}, "spec": spec}


def violations(pods):
    """What is wrong with the pods that are on nodes."""
    placed = [p for p in pods if p["spec"].get("nodeName")]
    cpu, ports, apart = Counter(), Counter(), Counter()
    for one in placed:
        node, kind = one["spec"]["nodeName"], one["metadata"]["labels"]["kind"]
        cpu[node] += quantity.milli(one["spec"]["containers"][0]["resources"]["requests"]["cpu"])
        ports[node] += kind == "port"
        apart[node] += kind == "apart"
    found = [f"{n} is overcommitted: {amount}m" for n, amount in cpu.items() if amount > 4000]
    found += [f"port 8080 twice on {n}" for n, count in ports.items() if count > 1]
    found += [f"two apart on {n}" for n, count in apart.items() if count > 1]
    return found


def spread(pods):
    """How many spread pods each zone has."""
    placed = Counter(
        int(p["spec"]["nodeName"][1:]) % ZONES
        for p in pods
        if p["metadata"]["labels"]["kind"] == "spread" and p["spec"].get("nodeName")
    )
    return [placed[zone] for zone in range(ZONES)]


class Churn:
    def __init__(self, stage, seed):
        self.api, self.chance, self.made = stage.api, Chance(seed), 0
        self.snapshots, self.most = 0, 0

    async def pods(self):
        return (await self.api.list(gvr.PODS, "default"))["items"]

    async def check(self):
        found = await self.pods()
        assert violations(found) == []
        self.snapshots += 1
        self.most = max(self.most, sum(bool(p["spec"].get("nodeName")) for p in found))

    async def watch(self):
        while True:
            await self.check()
            await asyncio.sleep(0)

    async def step(self):
        match self.chance.below(10):
            case 0 | 1 | 2 | 3 | 4 | 5:
                self.made += 1
                kind = self.chance.choice(KINDS)
                await self.api.create(gvr.PODS, body(kind, f"{kind}-{self.made}"), "default")
            case 6 | 7 | 8:
                going = [p for p in await self.pods() if p["metadata"]["labels"]["kind"] != "spread"]
                if going:
                    await self.delete(self.chance.choice(going)["metadata"]["name"])
            case _:
                cordoned = bool(self.chance.below(2))
                name = f"n{self.chance.below(NODES)}"
                await self.api.patch(gvr.NODES, name, {"spec": {"unschedulable": cordoned}})

    async def delete(self, name):
        try:
            await self.api.delete(gvr.PODS, name, "default", grace_period_seconds=0)
        except ApiError as error:
            assert error.code == 404  # somebody else was faster


def failing_at_times(scheduler, chance):
    """Every fifth binding is refused, as by a server that restarts."""
    create = scheduler._client.create

    async def sometimes(collection, obj, *args, **more):
        if obj["kind"] == "Binding" and chance.below(5) == 0:
            raise ApiError(503, "ServiceUnavailable", "try again")
        return await create(collection, obj, *args, **more)

    scheduler._client.create = sometimes


async def furnish(stage):
    for i in range(NODES):
        await stage.node(f"n{i}", labels={ZONE: f"z{i % ZONES}"})


async def settle(stage, churn):
    """Every node is open again; until whoever could be somewhere is."""
    for i in range(NODES):
        await stage.api.patch(gvr.NODES, f"n{i}", {"spec": {"unschedulable": False}})

    async def settled():
        found = await churn.pods()
        waiting = [p["metadata"]["labels"]["kind"] for p in found if not p["spec"].get("nodeName")]
        free, taken = dict.fromkeys((f"n{i}" for i in range(NODES)), 8), {"apart": set(), "port": set()}
        for one in found:
            if node := one["spec"].get("nodeName"):
                free[node] -= 1
                taken.get(one["metadata"]["labels"]["kind"], set()).add(node)
        fits = {kind: any(n and node not in taken.get(kind, ()) for node, n in free.items()) for kind in KINDS}
        least = min(spread(found))
        fits["spread"] = any(n and spread(found)[int(node[1:]) % ZONES] == least for node, n in free.items())
        return not any(fits[kind] for kind in waiting)

    await until(settled, 20)
    await churn.check()


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_violated_while_bindings_fail_and_schedulers_die(stage, seed):
    await furnish(stage)
    churn = Churn(stage, seed)
    watching = spawn(churn.watch(), name="watching")
    try:
        for _ in range(3):  # schedulers, one after the other
            async with stage.scheduling() as scheduler:
                failing_at_times(scheduler, Chance(seed))
                await asyncio.gather(*(spawn(worker(churn, 25), name=f"worker-{n}") for n in range(4)))
                assert not watching.done(), watching.result()
    finally:
        await cancel(watching)
    async with stage.scheduling():
        await settle(stage, churn)
    assert churn.snapshots > 20
    assert churn.most > NODES


async def test_a_hard_spread_holds_when_the_dust_settles(stage):
    await furnish(stage)
    churn = Churn(stage, 3)
    async with stage.scheduling():
        for _ in range(4):
            await asyncio.gather(*(spawn(worker(churn, 10), name=f"worker-{n}") for n in range(4)))
            await settle(stage, churn)
            zones = spread(await churn.pods())
            assert max(zones) - min(zones) <= 1, zones
    assert sum(zones) > ZONES


async def worker(churn, steps):
    for _ in range(steps):
        await churn.step()
