"""A scheduler before the real API server in this process, as its own user, with RBAC on."""

from contextlib import asynccontextmanager

from tests.controllers.live import live

from shirube.api import gvr
from shirube.client.informer import InformerFactory
from shirube.foundation.chance import Chance
from shirube.foundation.tasks import cancel, spawn
from shirube.scheduler.decide import Profile
from shirube.scheduler.loop import Scheduler
from shirube.scheduler.queue import SchedulingQueue


class Stage:
    def __init__(self, house):
        self.house, self.api = house, house.admin

    async def node(self, name, *, cpu="4", pods="110", labels=None):
        made = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": pods}},
        }
        await self.api.create(gvr.NODES, made)
        await self.api.patch(gvr.NODES, name, {"spec": {"taints": []}})

    async def pod(self, name, *, cpu="1", **spec):
        container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
        body = {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}
        await self.api.create(gvr.PODS, {"apiVersion": "v1", "kind": "Pod", **body}, "default")

    async def get(self, name):
        return await self.api.get(gvr.PODS, name, "default")

    async def on(self, name):
        return (await self.get(name))["spec"].get("nodeName")

    async def condition(self, name):
        conditions = (await self.get(name))["status"].get("conditions") or []
        return next((c for c in conditions if c["type"] == "PodScheduled"), None)

    async def events(self, name, reason):
        listed = await self.api.list(gvr.EVENTS_V1, "default")
        found = [e for e in listed["items"] if e["regarding"]["name"] == name and e["reason"] == reason]
        return [e["note"] for e in found]

    @asynccontextmanager
    async def scheduling(self, profile=None, extenders=()):
        client = self.house.client("system:kube-scheduler")
        factory = InformerFactory(client)
        every = profile if isinstance(profile, list) else [profile or Profile.default()]
        profiles = {one.name: one for one in every}
        made = Scheduler(
            client, factory, profiles, chance=Chance(1), queue=SchedulingQueue(0.05, 0.2), extenders=extenders
        )
        tasks = [spawn(factory.run(), name="informers"), spawn(made.run(), name="scheduler")]
        try:
            yield made
            assert not any(t.done() for t in tasks)
        finally:
            await cancel(*tasks)
            await made.close()
            await client.close()


@asynccontextmanager
async def staged(directory):
    async with live(directory) as house:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await house.admin.create(gvr.SERVICEACCOUNTS, account, "default")
        yield Stage(house)
