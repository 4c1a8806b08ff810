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


def test_available_after_min_ready_seconds():
    assert of_pods.available(pod("p", ready=5), 5, NOW)
    assert not of_pods.available(pod("p", ready=4), 5, NOW)
    assert of_pods.next_available([pod("p", ready=4)], 5, NOW) == 1.05
    assert of_pods.next_available([pod("p", ready=6)], 5, NOW) is None


def test_victims_are_all_when_all_are_wanted():
    pods = [pod("a"), pod("b")]
    assert of_pods.choose_victims(pods, pods, 5, NOW) == pods
