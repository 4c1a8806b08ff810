from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items, kubelet
from tests.controllers.live import live
from tests.waiting import until

from shirube.api import errors
from shirube.api.gvr import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from shirube.client.rest import Client
from shirube.controllers.daemon_set import DaemonSetController, new_pod
from shirube.controllers.daemon_set_plan import (
    GENERATION,
    bounds,
    by_node,
    generation_of,
    judge,
    node_of,
    pinned,
    plan,
    roll,
    status_of,
    tolerations,
)
from shirube.foundation.clock import ManualClock


def daemon_set(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "c", "image": "x"}]},
            },
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            **spec,
        },
    }


def node(name: str, *taints: tuple[str, str], **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [{"key": k, "effect": e} for k, e in taints]},
    }


def pod(name: str, on: str, digest: str = "old", *, up: bool = True, phase: str = "Running") -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "labels": {"controller-revision-hash": digest},
        },
        "spec": {"nodeName": on},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(up), "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    }


def test_where_a_daemon_runs_and_where_it_may_stay():
    owner = daemon_set()
    assert judge(owner, node("a")) == (True, True)
    assert judge(owner, node("a", ("x", "NoSchedule"))) == (False, True)
    assert judge(owner, node("a", ("x", "NoExecute"))) == (False, False)
    assert judge(owner, node("a", ("node.kubernetes.io/unreachable", "NoExecute"))) == (True, True)
    assert judge(owner, node("a", ("node.kubernetes.io/network-unavailable", "NoSchedule")))[0] is False
    owner["spec"]["template"]["spec"]["nodeSelector"] = {"color": "blue"}
    assert judge(owner, node("a")) == (False, False)
    assert judge(owner, node("a", color="blue")) == (True, True)


def test_the_table_is_mended():
    nodes = [node("a"), node("b"), node("c", ("x", "NoExecute"))]
    doubles = [pod("1", "a"), pod("2", "a"), pod("3", "c"), pod("4", "b", phase="Failed")]
    todo = plan(daemon_set(), nodes, by_node(doubles), "old", 0)
    assert todo.create == []
    assert [p["metadata"]["name"] for p in todo.delete] == ["2", "3"]
    assert [p["metadata"]["name"] for p in todo.failed] == ["4"]
    assert plan(daemon_set(), nodes, {}, "old", 0).create == ["a", "b"]


def names(pods: list[dict[str, Any]]) -> list[str]:
    return sorted(p["metadata"]["name"] for p in pods)


SURGE = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def going(one: dict[str, Any]) -> dict[str, Any]:
    one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return one


def test_where_a_daemon_fits():
    owner = daemon_set()
    spec = owner["spec"]["template"]["spec"]
    spec["nodeName"] = "a"
    assert [judge(owner, node(n))[0] for n in "ab"] == [True, False]
    del spec["nodeName"]
    one_of = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]
    spec["affinity"] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": one_of}}
    }
    assert [judge(owner, node(n))[0] for n in "ab"] == [True, False]
    one_of.append({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["a", "c"]}]})
    assert [judge(owner, node(n))[0] for n in "abc"] == [True, True, False]
    preferred = [{"weight": 1, "preference": {"matchExpressions": [{"key": "no", "operator": "Exists"}]}}]
    spec["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    assert judge(owner, node("a")) == (True, True)
    cordoned = node("a", ("node.kubernetes.io/unschedulable", "NoSchedule"))
    cordoned["spec"]["unschedulable"] = True
    assert judge(owner, cordoned) == (True, True)
    assert judge(owner, node("a", ("x", "PreferNoSchedule"))) == (True, True)
    spec["tolerations"] = [{"key": "x", "operator": "Exists", "effect": "NoSchedule"}]
    assert judge(owner, node("a", ("x", "NoSchedule"))) == (True, True)
    assert judge(owner, node("a", ("x", "NoExecute"))) == (False, False)
    spec["hostNetwork"] = True
    assert judge(owner, node("a", ("node.kubernetes.io/network-unavailable", "NoSchedule"))) == (True, True)


def test_a_daemon_is_not_evicted_after_some_seconds():
    for_a_minute = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
    other = {"key": "x", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    out = tolerations({"tolerations": [{**for_a_minute, "tolerationSeconds": 60}, other]})
    assert [t for t in out if t["key"] == for_a_minute["key"]] == [for_a_minute]
    assert out[0] == other and len(out) == 7


def test_a_pin_keeps_what_else_an_affinity_says():
    preferred = [{"weight": 1, "preference": {}}]
    affinity = {
        "podAffinity": {"x": 1},
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]},
        },
    }
    out = pinned(affinity, "a")
    assert out["podAffinity"] == {"x": 1}
    assert out["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] == preferred
    assert node_of({"spec": {"affinity": out}}) == "a"
    assert node_of({"spec": {"affinity": pinned(None, "b")}}) == "b"
    assert node_of({"spec": {}}) == node_of({"spec": {"affinity": affinity}}) == ""


@pytest.mark.parametrize("word,label", [("7", "7"), ("not a label!", None), ("²", None), ("", None)])
def test_a_generation_that_is_none_makes_no_pod_impossible(word: str, label: str | None):
    owner = daemon_set()
    owner["metadata"] |= {"uid": "u", "annotations": {GENERATION: word}}
    assert new_pod(owner, "a", "h")["metadata"]["labels"].get("pod-template-generation") == label


def test_finished_pods_on_their_way_out_give_their_place_free():
    done = going(pod("1", "a", phase="Failed"))
    assert plan(daemon_set(), [node("a")], by_node([done]), "old", 0).create == ["a"]
    leaving = going(pod("1", "a"))
    assert plan(daemon_set(), [node("a")], by_node([leaving]), "old", 0).create == []


def test_while_its_pod_leaves_a_surging_node_gets_the_next():
    owner, leaving = daemon_set(updateStrategy=SURGE), going(pod("1", "a"))
    assert plan(owner, [node("a")], by_node([leaving]), "old", 0).create == ["a"]
    assert plan(owner, [node("a")], by_node([leaving, going(pod("2", "a"))]), "old", 0).create == ["a"]
    assert plan(owner, [node("a")], by_node([leaving, pod("2", "a")]), "old", 0).create == []
    assert plan(owner, [node("a", ("x", "NoSchedule"))], by_node([leaving]), "old", 0).create == []


# (old pod is ready, new pod is ready) -> which ones go from a node that has both
@pytest.mark.parametrize(
    "old_up,new_up,gone",
    [(True, False, []), (True, True, ["old"]), (False, False, ["old"]), (False, True, ["old"])],
)
def test_a_surging_node_gives_up_an_old_pod_that_serves_nobody(old_up: bool, new_up: bool, gone: list[str]):
    owner = daemon_set(updateStrategy=SURGE)
    both = [pod("old", "a", up=old_up), pod("new", "a", "now", up=new_up)]
    assert names(plan(owner, [node("a")], by_node(both), "now", 2e9).delete) == gone
    owner["spec"]["minReadySeconds"] = 60
    gone = gone if not old_up else []
    assert names(plan(owner, [node("a")], by_node(both), "now", 1_767_225_630.0).delete) == gone


@pytest.mark.parametrize("surging", [False, True])
def test_a_rolling_update_reaches_nodes_that_get_no_pod_any_more(surging: bool):
    """They were made when the template still tolerated the taint, and may stay; of the new template there are none."""
    nodes = [node("a", ("x", "NoSchedule")), node("b"), node("c", ("x", "NoSchedule"))]
    owner = daemon_set(updateStrategy=SURGE) if surging else daemon_set()
    pods = [pod("1", "a"), pod("2", "b", "now"), pod("3", "c", "now")]
    assert plan(owner, nodes, by_node(pods), "now", 2e9).delete == []
    assert names(roll(owner, nodes, by_node(pods), "now", 2e9).delete) == ["1"]
    down = [pods[0], pod("2", "b", "now", up=False), pods[2]]
    assert names(roll(owner, nodes, by_node(down), "now", 2e9).delete) == (["1"] if surging else [])


@pytest.mark.parametrize(
    ("old_up", "new", "new_up", "gone"),
    [
        (True, False, False, []),  # nobody else serves
        (True, True, False, []),  # nor yet
        (True, True, True, ["1"]),
        (False, True, False, ["1"]),  # it serves nobody itself
    ],
)
def test_who_surges_misses_nobody_when_its_pods_move_to_other_nodes(old_up: bool, new: bool, new_up: bool, gone: Any):
    """Node `a` is for others now, `b` has become one of its own."""
    nodes = [node("a", ("x", "NoSchedule")), node("b")]
    pods = [pod("1", "a", up=old_up), *([pod("2", "b", "now", up=new_up)] if new else [])]
    todo = roll(daemon_set(updateStrategy=SURGE), nodes, by_node(pods), "now", 2e9)
    assert names(todo.delete) == gone


@pytest.mark.parametrize(
    "budget,new,new_up,old_up,old_down,gone",
    [
        (2, 0, 0, 5, 0, 2),
        (3, 0, 0, 0, 5, 5),  # those that are down anyway go at once
        (3, 3, 0, 2, 0, 0),
        (3, 3, 3, 2, 0, 2),
        (10, 0, 0, 10, 10, 10),  # and use up the budget
        (11, 0, 0, 10, 10, 11),
        (4, 5, 0, 3, 2, 2),
        (0, 0, 0, 3, 0, 1),
        ("34%", 0, 0, 5, 0, 2),
    ],
)
def test_how_many_go_at_once(budget: Any, new: int, new_up: int, old_up: int, old_down: int, gone: int):
    ups = [("now", n < new_up) for n in range(new)] + [("old", True)] * old_up + [("old", False)] * old_down
    pods = [pod(f"p{n}", f"n{n}", digest, up=up) for n, (digest, up) in enumerate(ups)]
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": budget}}
    nodes = [node(f"n{n}") for n in range(len(pods))]
    todo = roll(daemon_set(updateStrategy=rolling), nodes, by_node(pods), "now", 2e9)
    assert len(todo.delete) == gone and not todo.create


def test_pods_know_their_node_before_they_run():
    waiting = pod("1", "")
    waiting["spec"] = {"affinity": pinned({"podAffinity": {}}, "a")}
    assert node_of(waiting) == "a"
    (gone,) = plan(daemon_set(), [node("b")], by_node([waiting]), "old", 0).delete
    assert gone is waiting


def test_percentages_round_up_and_are_never_both_zero():
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}
    assert bounds(daemon_set(updateStrategy=rolling), 11) == (0, 2)
    rolling["rollingUpdate"] = {"maxUnavailable": 0}  # type: ignore[assignment]
    assert bounds(daemon_set(updateStrategy=rolling), 11) == (0, 1)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 5),
    st.booleans(),
)
def test_rolling_never_takes_more_than_it_may(drawn, budget, surging):
    names = [f"n{i}" for i in range(len(drawn))]
    pods = []
    for name, (new, up, both) in zip(names, drawn, strict=True):
        pods.append(pod(name, name, "new" if new else "old", up=up))
        if both and surging:
            pods.append(pod(name + "x", name, "old" if new else "new", up=up))
    rolling = {"maxSurge": budget, "maxUnavailable": 0} if surging else {"maxUnavailable": budget}
    owner = daemon_set(updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    todo = roll(owner, [node(n) for n in names], by_node(pods), "new", 0)
    up_before = {n for n, p in by_node(pods).items() if any(_up(x) for x in p)}
    gone = {p["metadata"]["uid"] for p in todo.delete}
    up_after = {n for n, p in by_node(pods).items() if any(_up(x) for x in p if x["metadata"]["uid"] not in gone)}
    assert all(p["metadata"]["labels"]["controller-revision-hash"] == "old" for p in todo.delete)
    if surging:
        assert up_after == up_before, "a surge never costs a node its running daemon"
    else:
        lost = up_before - up_after
        assert not lost or len(names) - len(up_after) <= budget


def _up(p: dict[str, Any]) -> bool:
    return p["status"]["conditions"][0]["status"] == "True"


async def _status(client: Client, **wanted: Any) -> bool:
    status = (await client.get(DAEMONSETS, "agent", "default")).get("status") or {}
    return all(status.get(k, 0) == v for k, v in wanted.items())


def test_a_surging_node_counts_by_its_oldest_daemon():
    """`kubectl rollout status` must not call a node done whose new daemon is not ready yet."""
    old, new = pod("old", "a"), pod("new", "a", "now", up=False)
    old["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    new["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    status = status_of(daemon_set(), [node("a")], {"a": [new, old]}, "now", None, 2e9)
    assert (status["numberAvailable"], status.get("updatedNumberScheduled")) == (1, None)
    status = status_of(daemon_set(), [node("a")], {"a": [new]}, "now", None, 2e9)
    assert (status.get("numberAvailable"), status["updatedNumberScheduled"]) == (None, 1)


async def test_rolls_over_nodes_by_surge(house: House, client: Client):
    for name in "abc":
        await client.create(NODES, node(name))
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await client.create(DAEMONSETS, daemon_set(updateStrategy=strategy))
    async with kubelet(client), house.running(DaemonSetController):
        await until(lambda: _status(client, desiredNumberScheduled=3, numberAvailable=3, updatedNumberScheduled=3))
        template = {"spec": {"template": {"metadata": {"labels": {"app": "agent", "v": "2"}}}}}
        await client.patch(DAEMONSETS, "agent", template, "default")

        async def moved() -> bool:
            pods = await items(client, PODS)
            return len(pods) == 3 and all(p["metadata"]["labels"].get("v") == "2" for p in pods)

        await until(moved)
        await until(lambda: _status(client, updatedNumberScheduled=3, numberAvailable=3))
        assert len(await items(client, CONTROLLERREVISIONS)) == 2


async def test_revisions_that_people_touch_stop_no_daemon(house: House, client: Client):
    await client.create(NODES, node("a"))
    await client.create(DAEMONSETS, daemon_set())
    async with kubelet(client), house.running(DaemonSetController) as controllers:
        await until(lambda: _status(client, numberAvailable=1))
        (revision,) = await items(client, CONTROLLERREVISIONS)
        (before,) = await items(client, PODS)
        bare = {"metadata": {"labels": {"controller-revision-hash": None}}}
        await client.patch(CONTROLLERREVISIONS, revision["metadata"]["name"], bare, "default")
        controllers[0].queue.add("default/agent")
        await house.settle(controllers)
        (after,) = await items(client, CONTROLLERREVISIONS)
        assert after["metadata"]["labels"] == revision["metadata"]["labels"]
        assert [p["metadata"]["uid"] for p in await items(client, PODS)] == [before["metadata"]["uid"]]
        by_hand = {"metadata": {"name": "by-hand", "namespace": "default", "labels": {"app": "agent"}}, "revision": 7}
        await client.create(CONTROLLERREVISIONS, {**by_hand, "data": revision["data"]})
        controllers[0].queue.add("default/agent")

        async def one() -> bool:
            return [r["revision"] for r in await items(client, CONTROLLERREVISIONS)] == [7]

        await until(one)
        await house.settle(controllers)
        assert [p["metadata"]["uid"] for p in await items(client, PODS)] == [before["metadata"]["uid"]]
        await until(lambda: _status(client, numberAvailable=1, updatedNumberScheduled=1))


async def test_on_delete_waits_for_a_hand(house: House, client: Client):
    for name in "ab":
        await client.create(NODES, node(name))
    await client.create(DAEMONSETS, daemon_set(updateStrategy={"type": "OnDelete"}))
    async with kubelet(client), house.running(DaemonSetController) as controllers:
        await until(lambda: _status(client, numberAvailable=2, updatedNumberScheduled=2))
        template = {"metadata": {"annotations": {"v": "2"}}}
        await client.patch(DAEMONSETS, "agent", {"spec": {"template": template}}, "default")
        await until(lambda: _status(client, numberAvailable=2, updatedNumberScheduled=0))
        await house.settle(controllers)
        first = min(p["metadata"]["name"] for p in await items(client, PODS))
        await client.delete(PODS, first, "default")
        await until(lambda: _status(client, numberAvailable=2, updatedNumberScheduled=1))
        # Back again: what was never touched is of the present template, and stays.
        before = {p["metadata"]["uid"] for p in await items(client, PODS) if not p["metadata"].get("annotations")}
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
        back = {"template": {"metadata": {"annotations": None}}, "updateStrategy": rolling}
        await client.patch(DAEMONSETS, "agent", {"spec": back}, "default")

        async def all_back() -> bool:
            return not any(p["metadata"].get("annotations") for p in await items(client, PODS))

        await until(all_back)
        await until(lambda: _status(client, numberAvailable=2, updatedNumberScheduled=2))
        assert before and before <= {p["metadata"]["uid"] for p in await items(client, PODS)}


async def test_a_failed_daemon_is_replaced_and_then_more_slowly(house: House, client: Client):
    clock = ManualClock()
    await client.create(NODES, node("a"))
    await client.create(DAEMONSETS, daemon_set())
    context = house.context(clock=clock)
    async with kubelet(client), house.running(DaemonSetController, context=context) as controllers:

        async def fails() -> str:
            await until(lambda: _status(client, numberAvailable=1))
            await house.settle(controllers)
            (one,) = await items(client, PODS)
            failed = {"status": {"phase": "Failed", "conditions": []}}
            await client.patch(PODS, one["metadata"]["name"], failed, "default", subresource="status")
            await house.settle(controllers)
            return str(one["metadata"]["uid"])

        async def replaced(before: str) -> bool:
            return [p["metadata"]["uid"] for p in await items(client, PODS)] not in ([], [before])

        first = await fails()
        await until(lambda: replaced(first))
        again = await fails()
        assert not await replaced(again), "it waits for its back-off"
        clock.advance(1)
        controllers[0].queue.add("default/agent")
        await until(lambda: replaced(again))


async def test_the_status_is_told_although_some_pods_cannot_be_made(house: House, client: Client, api: MemoryApi):
    for name in "abc":
        await client.create(NODES, node(name))
    made = 0

    def fault(method: str, path: str) -> None:
        nonlocal made
        if method == "POST" and path.endswith("/pods"):
            made += 1
            if made > 2:
                raise errors.forbidden("pods", "", "exceeded quota")

    api.fault = fault
    await client.create(DAEMONSETS, daemon_set())
    async with kubelet(client), house.running(DaemonSetController):
        await until(lambda: _status(client, desiredNumberScheduled=3, currentNumberScheduled=2, numberReady=2))
        api.fault = None
        await until(lambda: _status(client, desiredNumberScheduled=3, currentNumberScheduled=3, numberReady=3))


async def test_on_the_real_api_server_nodes_come_and_go(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only="daemonset-controller"), kubelet(admin):
            await admin.create(DAEMONSETS, daemon_set())
            for name in ("n1", "n2"):
                await admin.create(NODES, {"metadata": {"name": name}})
                await admin.patch(NODES, name, {"spec": {"taints": None}})  # ready, as node lifecycle would say
            await until(lambda: _status(admin, desiredNumberScheduled=2, currentNumberScheduled=2), 10)
            (revision,) = await items(admin, CONTROLLERREVISIONS)
            assert revision["revision"] == 1
            pods = await items(admin, PODS)
            assert {node_of(p) for p in pods} >= {"n1"}
            labels = pods[0]["metadata"]["labels"]
            assert labels["controller-revision-hash"] == revision["metadata"]["labels"]["controller-revision-hash"]
            assert labels["pod-template-generation"] == "1"
            await admin.patch(NODES, "n2", {"spec": {"taints": [{"key": "x", "effect": "NoExecute"}]}})
            await until(lambda: _status(admin, desiredNumberScheduled=1), 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


# -- by hash or by generation ----------------------------------------------------------------------------------


def marked(name: str, on: str, generation: str, digest: str = "another") -> dict[str, Any]:
    found = pod(name, on, digest)
    found["metadata"]["labels"]["pod-template-generation"] = generation
    return found


def of_generation(text: str) -> dict[str, Any]:
    owner = daemon_set()
    owner["metadata"]["annotations"] = {GENERATION: text}
    return owner


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3", "3"),
        ("+03", "3"),  # as Go reads and writes it
        ("-2", "-2"),
        ("", None),
        ("three", None),
        ("٣", None),
        (str(2**63), None),
    ],
)
def test_generations_of_a_template(text: str, found: str | None):
    assert generation_of(of_generation(text)) == found


def test_pods_of_the_present_generation_are_updated_though_their_hash_is_another():
    """After a collision of hashes, or under a release that makes them otherwise, nobody is replaced."""
    nodes = [node("a"), node("b")]
    pods = [marked("1", "a", "4"), marked("2", "b", "3")]
    owner = of_generation("4")
    assert status_of(owner, nodes, by_node(pods), "now", None, 2e9)["updatedNumberScheduled"] == 1
    assert names(roll(owner, nodes, by_node(pods), "now", 2e9).delete) == ["2"]
    unknown = of_generation("four")
    assert "updatedNumberScheduled" not in status_of(unknown, nodes, by_node(pods), "now", None, 2e9)
