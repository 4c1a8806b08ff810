"""The whole scheduler against the real API server in this process, as its own user, with RBAC on."""

import asyncio
from contextlib import asynccontextmanager

from aiohttp import web
from tests.waiting import until

from shirube.api import gvr
from shirube.scheduler.decide import Profile
from shirube.scheduler.extender import Extender
from shirube.scheduler.plugins.framework import Filter


async def test_pods_are_bound_and_told_of(stage):
    await stage.node("a")
    for i in range(4):
        await stage.pod(f"p{i}")
    async with stage.scheduling():
        for i in range(4):
            await until(lambda i=i: stage.on(f"p{i}"))
        await stage.pod("late", cpu="2")
        notes = await until(lambda: stage.events("p0", "Scheduled"))
        assert notes == ["Successfully assigned default/p0 to a"]
        refused = await until(lambda: stage.condition("late"))
        text = (
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
            "0/1 nodes are available: 1 No preemption victims found for incoming pod."
        )
        assert (refused["status"], refused["reason"], refused["message"]) == ("False", "Unschedulable", text)
        assert await until(lambda: stage.events("late", "FailedScheduling")) == [text]
        for i in range(2):
            await stage.api.delete(gvr.PODS, f"p{i}", "default", grace_period_seconds=0)
        assert await until(lambda: stage.on("late")) == "a"


async def test_a_new_node_or_label_wakes_who_waits_for_it(stage):
    async with stage.scheduling():
        await stage.pod("nowhere")
        refused = await until(lambda: stage.condition("nowhere"))
        assert refused["message"] == "no nodes available to schedule pods"
        await stage.pod("picky", nodeSelector={"disk": "ssd"})
        await stage.node("a")
        assert await until(lambda: stage.on("nowhere")) == "a"
        await stage.api.patch(gvr.NODES, "a", {"metadata": {"labels": {"disk": "ssd"}}})
        assert await until(lambda: stage.on("picky")) == "a"


async def test_a_friend_that_comes_or_changes_wakes_who_waits_for_it(stage):
    await stage.node("a")
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    async with stage.scheduling():
        await stage.pod("waiting", affinity=near)
        await until(lambda: stage.condition("waiting"))
        await stage.pod("friend")
        assert await until(lambda: stage.on("friend")) == "a"
        assert not await stage.on("waiting")
        await stage.api.patch(gvr.PODS, "friend", {"metadata": {"labels": {"app": "web"}}}, "default")
        assert await until(lambda: stage.on("waiting")) == "a"
        other = {"matchLabels": {"app": "db"}}
        near["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"] = other
        await stage.pod("second", affinity=near)
        await until(lambda: stage.condition("second"))
        container = {"name": "c", "image": "x"}
        body = {"metadata": {"name": "db", "labels": {"app": "db"}}, "spec": {"containers": [container]}}
        await stage.api.create(gvr.PODS, {"apiVersion": "v1", "kind": "Pod", **body}, "default")
        assert await until(lambda: stage.on("second")) == "a"


async def test_a_rival_that_changes_or_a_domain_that_goes_wakes_who_waits(stage):
    for name in ("a", "b"):
        await stage.node(name, cpu="1", labels={"zone": name})
    web = {"matchLabels": {"app": "web"}}
    hard = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": web}
    async with stage.scheduling():
        for name, on in (("one", "a"), ("filler", "b")):
            await stage.pod(name, cpu="500m" if name == "one" else "1", nodeSelector={"zone": on})
            await until(lambda name=name: stage.on(name))
        await stage.api.patch(gvr.PODS, "one", {"metadata": {"labels": {"app": "web"}}}, "default")
        container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "500m"}}}
        spec = {"containers": [container], "topologySpreadConstraints": [hard]}
        body = {"metadata": {"name": "two", "labels": {"app": "web"}}, "spec": spec}
        await stage.api.create(gvr.PODS, {"apiVersion": "v1", "kind": "Pod", **body}, "default")
        await until(lambda: stage.condition("two"))
        await stage.api.delete(gvr.NODES, "b")
        assert await until(lambda: stage.on("two")) == "a"


async def test_gates_hold_a_pod_back(stage):
    await stage.node("a")
    async with stage.scheduling():
        await stage.pod("gated", schedulingGates=[{"name": "example.com/x"}])
        condition = await until(lambda: stage.condition("gated"))
        assert (condition["reason"], condition["status"]) == ("SchedulingGated", "False")
        await stage.api.patch(gvr.PODS, "gated", {"spec": {"schedulingGates": None}}, "default")
        assert await until(lambda: stage.on("gated")) == "a"


async def test_preemption_marks_evicts_nominates_and_then_binds(stage):
    await stage.node("a", cpu="1")
    urgent = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "urgent"}}
    await stage.api.create(gvr.PRIORITYCLASSES, {**urgent, "value": 1000})
    async with stage.scheduling():
        await stage.pod("low")
        await until(lambda: stage.on("low"))
        held = {"metadata": {"finalizers": ["example.com/held"]}}
        await stage.api.patch(gvr.PODS, "low", held, "default")
        await stage.pod("high", priorityClassName="urgent")

        async def leaving():
            low = await stage.get("low")
            return low["metadata"].get("deletionTimestamp") and low

        low = await until(leaving)
        target = next(c for c in low["status"]["conditions"] if c["type"] == "DisruptionTarget")
        assert (target["status"], target["reason"]) == ("True", "PreemptionByScheduler")
        assert target["message"] == "default-scheduler: preempting to accommodate a higher priority pod"

        async def nominated():
            return (await stage.get("high"))["status"].get("nominatedNodeName")

        assert await until(nominated) == "a"
        uid = (await stage.get("high"))["metadata"]["uid"]
        assert await until(lambda: stage.events("low", "Preempted")) == [f"Preempted by pod {uid} on node a"]
        await stage.api.patch(gvr.PODS, "low", {"metadata": {"finalizers": None}}, "default")
        await stage.api.delete(gvr.PODS, "low", "default", grace_period_seconds=0)  # as its kubelet would
        assert await until(lambda: stage.on("high")) == "a"


async def test_claims_that_wait_are_marked_with_the_node_and_waited_for(stage):
    await stage.node("a")
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"}}
    kind |= {"provisioner": "example.com/p", "volumeBindingMode": "WaitForFirstConsumer"}
    await stage.api.create(gvr.STORAGECLASSES, kind)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "late",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    await stage.api.create(gvr.PERSISTENTVOLUMECLAIMS, claim, "default")
    async with stage.scheduling():
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        await stage.pod("user", volumes=[volume])

        async def marked():
            found = await stage.api.get(gvr.PERSISTENTVOLUMECLAIMS, "data", "default")
            return (found["metadata"].get("annotations") or {}).get("volume.kubernetes.io/selected-node")

        assert await until(marked) == "a"
        assert not await stage.on("user")
        bound = {
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": "pv-1"},
        }
        await stage.api.patch(gvr.PERSISTENTVOLUMECLAIMS, "data", bound, "default")
        assert await until(lambda: stage.on("user")) == "a"


async def test_several_scheduler_names_are_several_profiles(stage):
    await stage.node("a")
    await stage.api.patch(gvr.NODES, "a", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})
    brave = Profile.default("brave")
    brave.filters = [p for p in brave.filters if p.name != "TaintToleration"]
    async with stage.scheduling([Profile.default(), brave]):
        await stage.pod("careful")
        await stage.pod("bold", schedulerName="brave")
        await stage.pod("foreign", schedulerName="somebody-else")
        assert await until(lambda: stage.on("bold")) == "a"
        assert "untolerated taint" in (await until(lambda: stage.condition("careful")))["message"]
        events = (await stage.api.list(gvr.EVENTS_V1, "default"))["items"]
        assert {e["reportingController"] for e in events if e["regarding"]["name"] == "bold"} <= {"brave"}
        assert await stage.condition("foreign") is None


class Explosive(Filter):
    name = "Explosive"

    def fits(self, pod, nodes):
        if pod.name == "bad":
            raise RuntimeError("boom")
        return nodes.present


async def test_a_plugin_that_raises_costs_only_the_pod_concerned(stage):
    await stage.node("a")
    profile = Profile.default()
    profile.filters.append(Explosive())
    async with stage.scheduling(profile):
        await stage.pod("bad")
        await stage.pod("good")
        assert await until(lambda: stage.on("good")) == "a"
        notes = await until(lambda: stage.events("bad", "FailedScheduling"))
        assert notes == ["cannot evaluate the pod: RuntimeError('boom')"]


@asynccontextmanager
async def extending(answers):
    """An extender's server: what it was asked, and its URL."""
    asked = []

    async def answer(request):
        asked.append((request.path, await request.json()))
        given = answers[request.path]
        return web.json_response(given) if given is not None else web.Response(status=500)

    app = web.Application()
    app.router.add_post("/{verb}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield asked, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_extenders_filter_and_score(stage):
    for name in ("a", "b", "c"):
        await stage.node(name)
    answers = {
        "/filter": {"NodeNames": ["a", "b", "unknown"], "FailedNodes": {"c": "c is not ours"}},
        "/prioritize": [{"Host": "a", "Score": 1}, {"Host": "b", "Score": 1000}],
    }
    async with extending(answers) as (asked, url):
        extender = Extender(url, "filter", "prioritize", weight=2, names_only=True)
        async with stage.scheduling(extenders=[extender]):
            await stage.pod("p")
            assert await until(lambda: stage.on("p")) == "b"
            path, body = asked[0]
            assert (path, body["pod"]["metadata"]["name"], body["nodes"]) == ("/filter", "p", None)
            assert sorted(body["nodenames"]) == ["a", "b", "c"]
            answers["/filter"] = {"nodes": {"items": []}, "failedAndUnresolvableNodes": {"a": "never"}}
            await stage.pod("q")
            refused = await until(lambda: stage.condition("q"))
            assert "1 never" in refused["message"]
            assert "2 node(s) refused by an extender" in refused["message"]
            answers["/filter"] = None
            await stage.pod("r")
            notes = await until(lambda: stage.events("r", "FailedScheduling"))
            assert "answered 500" in notes[0]
            extender.ignorable = True
            assert await until(lambda: stage.on("r"))


async def test_a_scheduler_that_dies_is_taken_over_without_double_booking(stage):
    for name in ("a", "b"):
        await stage.node(name, cpu="4")
    for i in range(12):
        await stage.pod(f"p{i}")
    async with stage.scheduling():
        await until(lambda: stage.on("p0"))
    async with stage.scheduling():

        async def eight():
            listed = await stage.api.list(gvr.PODS, "default")
            return sum(bool(p["spec"].get("nodeName")) for p in listed["items"]) == 8

        await until(eight)
        await until(lambda: stage.condition("p11"))
        await asyncio.sleep(0.05)
        listed = await stage.api.list(gvr.PODS, "default")
        where = [p["spec"].get("nodeName") for p in listed["items"]]
        assert (where.count("a"), where.count("b")) == (4, 4)
