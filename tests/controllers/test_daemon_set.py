from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import House, items, kubelet
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.gvr import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from shirube.client.rest import Client
from shirube.controllers.daemon_set import DaemonSetController
from shirube.controllers.daemon_set_plan import bounds, by_node, judge, node_of, pinned, plan, roll, status_of


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
