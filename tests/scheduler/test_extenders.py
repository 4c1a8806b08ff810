"""HTTP extenders that choose victims and bind, before the real API server; and those that answer nonsense."""

import pytest
from tests.scheduler.pods import info
from tests.scheduler.test_loop import extending
from tests.waiting import until

from shirube.api import gvr
from shirube.scheduler.extender import Extender, ExtenderError


async def urgent(stage, name="urgent", value=1000):
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value}
    await stage.api.create(gvr.PRIORITYCLASSES, body)
    return {"priorityClassName": name}


async def leaving(stage, name):
    return (await stage.get(name))["metadata"].get("deletionTimestamp")


async def held(stage, name, **spec):
    """A pod that stays to be seen while it is deleted."""
    await stage.pod(name, **spec)
    await until(lambda: stage.on(name))
    await stage.api.patch(gvr.PODS, name, {"metadata": {"finalizers": ["example.com/held"]}}, "default")
    return (await stage.get(name))["metadata"]["uid"]


async def test_an_extender_binds(stage):
    await stage.node("a")
    async with extending({"/bind": {}}) as (asked, url):
        bound = Extender(url, bind_verb="bind")
        async with stage.scheduling(extenders=[bound]):
            await stage.pod("p")
            path, body = await until(lambda: asked and asked[0])
            uid = (await stage.get("p"))["metadata"]["uid"]
            assert path == "/bind"
            assert body == {"podName": "p", "podNamespace": "default", "podUID": uid, "node": "a"}
            assert not await stage.on("p")  # the extender is the one who writes it
            assert await until(lambda: stage.events("p", "Scheduled"))


async def test_an_extender_that_cannot_bind_leaves_the_pod_to_the_next_attempt(stage):
    await stage.node("a")
    answers = {"/bind": {"Error": "no link"}}
    async with extending(answers) as (_, url), stage.scheduling(extenders=[Extender(url, bind_verb="bind")]):
        await stage.pod("p", cpu="3")
        notes = await until(lambda: stage.events("p", "FailedScheduling"))
        assert notes == [f"binding rejected: extender {url}: no link"]
        answers["/bind"] = {}
        assert await until(lambda: stage.events("p", "Scheduled"))


async def test_a_resource_that_is_not_asked_for_is_bound_without_the_extender(stage):
    await stage.node("a")
    async with extending({}) as (asked, url):
        of_gpus = Extender(url, bind_verb="bind", managed=frozenset(["example.com/gpu"]))
        async with stage.scheduling(extenders=[of_gpus]):
            await stage.pod("p")
            assert await until(lambda: stage.on("p")) == "a"
            assert not asked


@pytest.mark.parametrize("names_only", [True, False])
async def test_an_extender_chooses_whom_to_evict(stage, names_only):
    for name in ("a", "b"):
        await stage.node(name, cpu="1", labels={"name": name})
    answers = {}
    async with extending(answers) as (asked, url):
        chooses = Extender(url, preempt_verb="preempt", names_only=names_only)
        async with stage.scheduling(extenders=[chooses]):
            await held(stage, "on-a", nodeSelector={"name": "a"})
            uid = await held(stage, "on-b", nodeSelector={"name": "b"})
            answers["/preempt"] = {"NodeNameToMetaVictims": {"b": {"Pods": [{"UID": uid}], "NumPDBViolations": 0}}}
            await stage.pod("high", **await urgent(stage))
            await until(lambda: leaving(stage, "on-b"))
            assert not await leaving(stage, "on-a")
            path, body = asked[-1]
            assert path == "/preempt"
            assert body["pod"]["metadata"]["name"] == "high"
            victims = body["nodeNameToMetaVictims"] if names_only else body["nodeNameToVictims"]
            assert sorted(victims) == ["a", "b"]
            (victim,) = victims["b"]["pods"]
            assert (victim["uid"] if names_only else victim["metadata"]["uid"]) == uid


async def test_an_extender_that_leaves_no_node_saves_everybody(stage):
    await stage.node("a", cpu="1")
    saving = extending({"/preempt": {"nodeNameToMetaVictims": {}}})
    async with saving as (_, url), stage.scheduling(extenders=[Extender(url, preempt_verb="preempt")]):
        await held(stage, "low")
        await stage.pod("high", **await urgent(stage))
        refused = await until(lambda: stage.condition("high"))
        assert "preemption: 0/1 nodes are available" in refused["message"]
        assert not await leaving(stage, "low")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"nodeNameToMetaVictims": {"other": {}}}, "it speaks of node 'other'"),
        ({"nodeNameToMetaVictims": {"a": {"pods": [{"uid": "stranger"}]}}}, "evict a pod that is not on node 'a'"),
        (None, "answered 500"),
    ],
)
async def test_nonsense_about_victims_is_an_error(answer, words):
    async with extending({"/preempt": answer}) as (_, url):
        extender = Extender(url, preempt_verb="preempt")
        victims = {"a": ([{"metadata": {"uid": "one"}}], 0)}
        with pytest.raises(ExtenderError, match=words):
            await extender.preempt({"metadata": {}}, victims)
        if answer is None:
            extender.ignorable = True
            assert await extender.preempt({"metadata": {}}, victims) == victims


async def test_an_answer_that_is_no_object_or_does_not_come_is_an_error():
    async with extending({"/bind": ["not", "an", "object"]}) as (_, url):
        with pytest.raises(ExtenderError, match="answered with a list where an object must be"):
            await Extender(url, bind_verb="bind").bind(info("p"), "a")
    with pytest.raises(ExtenderError, match="cannot ask extender"):
        await Extender("http://127.0.0.1:9", bind_verb="bind").bind(info("p"), "a")


async def test_a_long_answer_is_read_to_its_end():
    names = [f"node-{i:05}" for i in range(20_000)]
    async with extending({"/filter": {"NodeNames": names}}) as (_, url):
        nodes = [{"metadata": {"name": n}} for n in names]
        found = await Extender(url, filter_verb="filter", names_only=True).filter({"metadata": {}}, nodes)
        assert len(found.names) == len(names)
