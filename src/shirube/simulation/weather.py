"""What happens in a simulated hour: machines fail and come back, controllers crash, load comes and goes, people roll
out, scale, drain, delete and start Jobs.

Each kind of happening has its own pace (seconds between two of them, for a cluster of a thousand nodes; smaller ones
have fewer, down to a third) and its own source of chance.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from shirube.api.errors import ApiError
from shirube.api.gvr import DEPLOYMENTS, GVR, JOBS, NODES, PODS, STATEFULSETS
from shirube.client.rest import Object
from shirube.simulation.cluster import Cluster
from shirube.simulation.hollow import RUN_SECONDS
from shirube.simulation.laws import Laws
from shirube.simulation.world import World, deployment, job


class Kind(NamedTuple):
    name: str
    seconds: float  # between two, of a thousand nodes
    happen: Callable[[], Awaitable[None]]


class Weather:
    def __init__(self, cluster: Cluster, world: World, nodes: int, laws: Laws) -> None:
        self._laws = laws
        self._cluster, self._world, self._admin = cluster, world, cluster.admin
        self._scale = max(0.3, nodes / 1000)
        self._chance = cluster.chance("weather")
        self._number, self._end = 0, 0.0
        self.happened: Counter[str] = Counter()
        self.kinds = (
            Kind("node failures", 20.0, self._fail_node),
            Kind("zone outages", 1500.0, self._fail_zone),
            Kind("crashes of all controllers", 240.0, self._crash_controllers),
            Kind("rollouts", 15.0, self._roll_out),
            Kind("bad rollouts", 300.0, self._roll_out_badly),
            Kind("scalings", 10.0, self._rescale),
            Kind("load changes", 60.0, self._change_load),
            Kind("StatefulSet updates", 60.0, self._update_stateful_set),
            Kind("drains", 120.0, self._drain),
            Kind("Jobs", 15.0, self._start_job),
            Kind("Deployments replaced", 120.0, self._replace),
            Kind("pods deleted", 10.0, self._delete_pod),
        )

    async def run(self, seconds: float) -> None:
        """For so long; what is broken at the end is mended."""
        loop = asyncio.get_running_loop()
        end = self._end = loop.time() + seconds
        due = {kind.name: loop.time() + self._pause(kind) for kind in self.kinds}
        async with asyncio.TaskGroup() as group:
            while True:
                kind = min(self.kinds, key=lambda k: due[k.name])
                if due[kind.name] >= end:
                    break
                await asyncio.sleep(max(0.0, due[kind.name] - loop.time()))
                due[kind.name] += self._pause(kind)
                self.happened[kind.name] += 1
                group.create_task(_allow_for_change(kind.happen), name=kind.name)
            await asyncio.sleep(max(0.0, end - loop.time()))
        for name in self._cluster.nodes.failed:
            self._cluster.nodes.recover(name)

    def _pause(self, kind: Kind) -> float:
        return self._chance.uniform(0.3, 1.7) * kind.seconds / self._scale

    async def _last(self, seconds: float) -> None:
        """As long as a mishap lasts, or until the weather is over."""
        await asyncio.sleep(max(0.0, min(seconds, self._end - asyncio.get_running_loop().time())))

    # Machines

    async def _fail_node(self) -> None:
        alive = self._cluster.nodes.alive
        if len(alive) > 2:
            await self._away([self._chance.choice(alive)], self._chance.uniform(20, 600))

    async def _fail_zone(self) -> None:
        zone = self._chance.below(4)
        nodes = [n for n in self._cluster.nodes.alive if int(n.rsplit("-", 1)[1]) % 4 == zone]
        await self._away(nodes[: len(nodes) // 2], self._chance.uniform(60, 240))

    async def _away(self, names: list[str], seconds: float) -> None:
        for name in names:
            self._cluster.nodes.fail(name)
        await self._last(seconds)
        for name in names:
            self._cluster.nodes.recover(name)

    async def _crash_controllers(self) -> None:
        await self._cluster.restart_controllers(self._chance.uniform(1, 30))

    async def _drain(self) -> None:
        """Cordon, evict what lets itself be evicted, bring back."""
        name = self._chance.choice(self._cluster.nodes.alive)
        await self._admin.patch(NODES, name, {"spec": {"unschedulable": True}})
        pods = (await self._admin.list(PODS, field_selector=f"spec.nodeName={name}"))["items"]
        for pod in pods:
            metadata = pod["metadata"]
            if any(r["kind"] == "DaemonSet" for r in metadata.get("ownerReferences") or ()):
                continue
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": metadata["name"]}}
            try:
                await self._admin.create(PODS, eviction, metadata["namespace"], "eviction", metadata["name"])
            except ApiError as error:
                if error.code not in (404, 409, 429):
                    raise
        await self._last(self._chance.uniform(30, 120))
        await self._admin.patch(NODES, name, {"spec": {"unschedulable": None}})

    # People

    async def _change(self, gvr: GVR, which: tuple[str, str], spec: Object) -> None:
        await self._admin.patch(gvr, which[1], {"spec": spec}, which[0])

    def _image(self, tag: str) -> Object:
        self._number += 1
        return {"template": {"metadata": {"annotations": {"version": f"{tag}-{self._number}"}}}}

    async def _roll_out(self) -> None:
        await self._change(DEPLOYMENTS, self._chance.choice(self._world.deployments), self._image("good"))

    async def _roll_out_badly(self) -> None:
        """Pods that never get ready; undone some minutes later."""
        which = self._chance.choice(self._world.deployments)
        never = "simulation.shirube.dev/never-ready"
        await self._change(DEPLOYMENTS, which, {"template": {"metadata": {"annotations": {never: "yes"}}}})
        await self._last(self._chance.uniform(60, 300))
        await self._change(DEPLOYMENTS, which, {"template": {"metadata": {"annotations": {never: None}}}})

    async def _rescale(self) -> None:
        which = self._chance.choice(self._world.deployments)
        if which in self._world.autoscaled:
            return  # people leave that to the autoscaler
        before = (await self._admin.get(DEPLOYMENTS, which[1], which[0]))["spec"]["replicas"]
        wanted = max(1, round(before * self._chance.choice((0.5, 0.8, 1.25, 2.0))))
        await self._change(DEPLOYMENTS, which, {"replicas": min(wanted, 120)})

    async def _change_load(self) -> None:
        """From nothing to more than the autoscaler's most pods can take."""
        if self._world.autoscaled:
            namespace, name = self._chance.choice(self._world.autoscaled)
            self._cluster.load.put(namespace, name, self._chance.uniform(0.0, 2.0))

    async def _update_stateful_set(self) -> None:
        if self._world.stateful_sets:
            await self._change(STATEFULSETS, self._chance.choice(self._world.stateful_sets), self._image("set"))

    async def _start_job(self) -> None:
        self._number += 1
        namespace = self._chance.choice(self._world.namespaces)
        completions = 1 + self._chance.below(12)
        annotations = {RUN_SECONDS: str(5 + self._chance.below(90))}
        made = job(f"job-{self._number}", completions, 1 + self._chance.below(6), annotations=annotations)
        if self._chance.below(2):
            made["spec"]["completionMode"] = "Indexed"
        await self._admin.create(JOBS, made, namespace)
        self._world.jobs += 1

    async def _replace(self) -> None:
        """A Deployment goes, and is made again under its name."""
        which = self._chance.choice(self._world.deployments)
        old = await self._admin.get(DEPLOYMENTS, which[1], which[0])
        await self._admin.delete(DEPLOYMENTS, which[1], which[0], propagation_policy="Background")
        await self._admin.create(DEPLOYMENTS, deployment(which[1], old["spec"]["replicas"]), which[0])

    async def _delete_pod(self) -> None:
        namespace, name = self._chance.choice(self._world.deployments)
        pods = (await self._admin.list(PODS, namespace, label_selector=f"app={name}"))["items"]
        if pods:
            chosen = self._chance.choice(pods)
            self._laws.deleted_by_hand(chosen["metadata"]["uid"])
            await self._admin.delete(PODS, chosen["metadata"]["name"], namespace)


async def _allow_for_change(happen: Callable[[], Awaitable[Any]]) -> None:
    """What was chosen may be gone or changed by the time that it is touched: people meet that, too."""
    try:
        await happen()
    except ApiError as error:
        if error.code not in (404, 409):
            raise
