from __future__ import annotations

from typing import Any

from shirube.controllers import pods as of_pods
from shirube.foundation.clock import rfc3339

NOW = 1_750_000_000.0


def pod(
    name: str,
    *,
    node: str = "n",
    phase: str = "Running",
    ready: float | None = 100,
    cost: str = "",
    restarts: int = 0,
    age: float = 1000,
) -> dict[str, Any]:
    conditions = []
    if ready is not None:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(NOW - ready)}]
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": rfc3339(NOW - age),
            "annotations": {of_pods.DELETION_COST: cost} if cost else {},
        },
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"restartCount": restarts}],
        },
    }


def first(*pods: dict[str, Any]) -> str:
    return of_pods.deletion_order(pods, pods, NOW)[0]["metadata"]["name"]


def test_the_order_of_deletion_is_upstreams():
    usual = pod("usual")
    assert first(usual, pod("unassigned", node="")) == "unassigned"
    assert first(usual, pod("pending", phase="Pending", ready=None)) == "pending"
    assert first(usual, pod("unready", ready=None)) == "unready"
    assert first(usual, pod("cheap", cost="-5")) == "cheap"
    assert first(pod("alone", node="m"), pod("crowd"), pod("crowd2")) == "crowd"
    assert first(usual, pod("fresh", ready=2)) == "fresh"
    assert first(usual, pod("restless", restarts=3)) == "restless"
    assert first(usual, pod("young", age=5)) == "young"


def with_inits(one: dict[str, Any], sidecar: int, ended: int) -> dict[str, Any]:
    one["spec"]["initContainers"] = [{"name": "side", "restartPolicy": "Always"}, {"name": "first"}]
    one["status"]["initContainerStatuses"] = [
        {"name": "side", "restartCount": sidecar},
        {"name": "first", "restartCount": ended},
    ]
    return one


def test_restarts_of_sidecars_count_after_those_of_containers():
    assert first(pod("main", restarts=2), with_inits(pod("side"), 9, 0)) == "main"
    assert first(with_inits(pod("less"), 1, 0), with_inits(pod("more"), 3, 0)) == "more"
    ended = with_inits(pod("z-ended"), 0, 50)  # it took many tries to begin with, and has run well since
    assert first(ended, with_inits(pod("restless"), 1, 0)) == "restless"
    assert of_pods.restarts(ended) == (0, 0)


def test_the_whole_order():
    """Each goes before the next, in whatever order they are given."""
    stages = [
        pod("unassigned", node="", phase="Pending", ready=None),
        pod("pending", phase="Pending", ready=None, restarts=9),
        pod("unknown", phase="Unknown", ready=None),
        pod("not-ready", ready=None, age=40),
        pod("cheap", cost="-10", ready=90_000),
        pod("crowd-a", node="crowded", ready=90_000),
        pod("crowd-b", node="crowded", ready=90_000, age=90_000),
        pod("fresh", node="l", ready=3),
        pod("restless", node="m", restarts=2, ready=90_000),
        pod("young", node="o", ready=90_000, age=100),
        pod("old", node="p", ready=90_000, age=90_000),
        pod("dear", node="q", cost="10", ready=1, restarts=5),
    ]
    names = [p["metadata"]["name"] for p in stages]
    for turn in range(len(stages)):
        mixed = stages[turn:] + stages[:turn][::-1]
        assert [p["metadata"]["name"] for p in of_pods.deletion_order(mixed, mixed, NOW)] == names
    untold = pod("untold")
    del untold["status"]["conditions"][0]["lastTransitionTime"]
    assert first(pod("a-now", ready=0), untold) == "untold"


def test_pods_of_other_sets_on_the_node_count():
    alone, beside = pod("alone", node="m"), pod("beside")
    related = [alone, beside, pod("sibling"), pod("gone", node="m", phase="Failed")]
    assert of_pods.choose_victims([alone, beside], related, 1, NOW) == [beside]


def test_available_after_min_ready_seconds():
    assert of_pods.available(pod("p", ready=5), 5, NOW)
    assert not of_pods.available(pod("p", ready=4), 5, NOW)
    assert of_pods.next_available([pod("p", ready=4)], 5, NOW) == 1.05
    assert of_pods.next_available([pod("p", ready=6)], 5, NOW) is None


def test_victims_are_all_when_all_are_wanted():
    pods = [pod("a"), pod("b")]
    assert of_pods.choose_victims(pods, pods, 5, NOW) == pods
