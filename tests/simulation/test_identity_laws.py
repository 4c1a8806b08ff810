"""Laws of pods that have a place: one for each identity, one for each node, and enough of them left to serve.

Nothing fails here but controllers: what a law forbids, nobody else can be blamed for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.simulation.lives import ATTACK, SEEDS, changes, converged, deaths, live

from shirube.api.errors import ApiError
from shirube.api.gvr import DAEMONSETS, DEPLOYMENTS, PODDISRUPTIONBUDGETS, PODS, STATEFULSETS
from shirube.client.rest import Object
from shirube.simulation import world
from shirube.simulation.cluster import Cluster
from shirube.simulation.laws import Laws
from shirube.simulation.wire import Death
from shirube.storage.types import Event

CHANGES = st.lists(
    st.tuples(
        st.one_of(st.tuples(st.just("scale"), st.integers(0, 6)), st.tuples(st.just("template"), st.integers(0, 3))),
        st.one_of(st.floats(0.0, 0.3), st.floats(0.0, 15.0)),
    ),
    max_size=5,
)


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def is_leaving(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def serves(pod: Object) -> bool:
    return is_ready(pod) and not is_leaving(pod)


class Ear:
    """Pods as they are, and what was told of them. `came` and `left` (it is leaving from now on) are asked with all
    the others there are; `gone` with how it was last."""

    def __init__(self) -> None:
        self.pods: dict[str, Object] = {}
        self.told: list[str] = []

    def __call__(self, events: Sequence[Event]) -> None:
        self.objects(events)
        for key, pod in changes(events, "core/pods/default"):
            before = self.pods.pop(key, None)
            others = list(self.pods.values())
            if pod is None:
                assert before is not None
                self.gone(before)
                continue
            self.pods[key] = pod
            if before is None:
                self.came(pod, others)
            elif is_leaving(pod) and not is_leaving(before):
                self.left(before, pod, others)

    def tell(self, pod: Object, text: str) -> None:
        self.told.append(f"{pod['metadata']['name']} {text}")

    def objects(self, events: Sequence[Event]) -> None:
        """Of other kinds."""

    def came(self, pod: Object, others: list[Object]) -> None:
        """Made."""

    def left(self, before: Object, pod: Object, others: list[Object]) -> None:
        """Deleted, and still there."""

    def gone(self, last: Object) -> None:
        """Who ran may not be removed before it has stopped: its successor would run beside it."""
        if (last.get("status") or {}).get("phase") == "Running":
            self.tell(last, "is removed while it runs")


# -- StatefulSets


class OneByOne(Ear):
    def __init__(self, ordered: bool) -> None:
        super().__init__()
        self._ordered = ordered

    @staticmethod
    def _ordinal(pod: Object) -> int:
        return int(pod["metadata"]["name"].rsplit("-", 1)[1])

    def came(self, pod: Object, others: list[Object]) -> None:
        before = {self._ordinal(p) for p in others if serves(p)}
        if self._ordered and not before >= set(range(self._ordinal(pod))):
            self.tell(pod, f"is made while only {sorted(before)} serve")

    def left(self, before: Object, pod: Object, others: list[Object]) -> None:
        """Its successors must serve, or be gone altogether."""
        ordinal = self._ordinal(pod)
        away = [p["metadata"]["name"] for p in others if self._ordinal(p) > ordinal and not serves(p)]
        if self._ordered and away:
            self.tell(pod, f"is taken away while {away} do not serve")


@ATTACK
@given(seed=SEEDS, replicas=st.integers(1, 5), ordered=st.booleans(), acts=CHANGES, ends=deaths(30))
def test_a_stateful_set_has_one_pod_for_each_identity_and_moves_in_order(
    seed: int, replicas: int, ordered: bool, acts: list[Any], ends: list[Death]
):
    ear = OneByOne(ordered)

    async def life(cluster: Cluster, laws: Laws) -> None:
        policy = "OrderedReady" if ordered else "Parallel"
        made = world.stateful_set("db", replicas, podManagementPolicy=policy)
        await cluster.admin.create(STATEFULSETS, made, "default")
        for (what, value), pause in acts:
            await asyncio.sleep(pause)
            template = {"template": {"metadata": {"annotations": {"version": str(value)}}}}
            change = {"replicas": value} if what == "scale" else template
            await cluster.admin.patch(STATEFULSETS, "db", {"spec": change}, "default")
        await converged(cluster)

    live(seed, life, dying="statefulset-controller", deaths=ends, hear=ear)
    assert ear.told == []


# -- DaemonSets


class OnEachNode(Ear):
    """At most one pod for a node, two while one is to take the other's place; enough nodes served once all were. Where
    the elder does not serve, the younger is made at once, whatever the surge: upstream does so."""

    def __init__(self, nodes: int, surge: int, unavailable: int) -> None:
        super().__init__()
        self._nodes, self._surge, self._unavailable = nodes, surge, unavailable
        self._whole = False

    def objects(self, events: Sequence[Event]) -> None:
        for _, daemons in changes(events, "apps/daemonsets/default"):
            status = (daemons or {}).get("status") or {}
            self._whole = self._whole or status.get("numberAvailable") == self._nodes

    @staticmethod
    def _node(pod: Object) -> str:
        term = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        return str(term["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])

    def came(self, pod: Object, others: list[Object]) -> None:
        living = [p for p in (*others, pod) if not is_leaving(p)]
        taken = [self._node(p) for p in living]
        doubled = {node for node in taken if taken.count(node) > 1}
        surging = doubled & {self._node(p) for p in living if is_ready(p)}
        most = 2 if self._surge else 1
        if any(taken.count(node) > most for node in doubled) or len(surging) > self._surge:
            self.tell(pod, f"is made, {sorted(doubled)} have more than one, {self._surge} may")

    def left(self, before: Object, pod: Object, others: list[Object]) -> None:
        served = {self._node(p) for p in others if serves(p)}
        if self._whole and is_ready(before) and len(served) < self._nodes - self._unavailable:
            self.tell(pod, f"is taken away, only {sorted(served)} are served")


@ATTACK
@example(seed=2495, bounds=(1, 0), pauses=[0.3, 0.3, 0.3, 0.3], ends=[])  # two old ones on a node, made in one second
@given(
    seed=SEEDS,
    bounds=st.sampled_from([(0, 1), (0, 2), (1, 0), (2, 0)]),
    pauses=st.lists(st.one_of(st.floats(0.0, 0.3), st.floats(0.0, 15.0)), min_size=1, max_size=4),
    ends=deaths(30),
)
def test_a_daemon_set_keeps_its_bounds(seed: int, bounds: tuple[int, int], pauses: list[float], ends: list[Death]):
    surge, unavailable = bounds
    ear = OnEachNode(4, surge, unavailable)

    async def life(cluster: Cluster, laws: Laws) -> None:
        made = world.daemon_set("agent")
        made["spec"]["updateStrategy"]["rollingUpdate"] = {"maxSurge": surge, "maxUnavailable": unavailable}
        await cluster.admin.create(DAEMONSETS, made, "default")
        await asyncio.sleep(4)
        for version, pause in enumerate(pauses):
            await asyncio.sleep(pause)
            change = {"template": {"metadata": {"annotations": {"version": str(version % 3)}}}}
            await cluster.admin.patch(DAEMONSETS, "agent", {"spec": change}, "default")
        await converged(cluster)

    live(seed, life, nodes=4, dying="daemonset-controller", deaths=ends, hear=ear)
    assert ear.told == []


# -- budgets


class Budget(Ear):
    """No eviction of a pod that serves leaves fewer than `least`."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self._least = least
        self.evictions = 0

    def left(self, before: Object, pod: Object, others: list[Object]) -> None:
        left = sum(1 for p in others if serves(p))
        self.evictions += 1
        if is_ready(before) and left < self._least:
            self.tell(pod, f"is evicted, {left} are left of {self._least}")


async def _evict(cluster: Cluster, which: int) -> None:
    pods = await cluster.list(PODS, "default")
    name = pods[which % len(pods)]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    try:
        await cluster.admin.create(PODS, eviction, "default", "eviction", name)
    except ApiError as error:
        assert error.code in (404, 409, 429)


@ATTACK
@given(
    seed=SEEDS,
    budget=st.sampled_from([({"minAvailable": 4}, 4), ({"maxUnavailable": 1}, 5), ({"minAvailable": "50%"}, 3)]),
    evictions=st.lists(
        st.tuples(st.integers(0, 9), st.one_of(st.just(0.0), st.floats(0.0, 0.1), st.floats(0.0, 5.0))), max_size=12
    ),
    dying=st.sampled_from(["disruption-controller", "replicaset-controller"]),
    ends=deaths(20),
)
def test_evictions_leave_what_a_budget_asks_for(
    seed: int, budget: tuple[Object, int], evictions: list[tuple[int, float]], dying: str, ends: list[Death]
):
    spec, least = budget
    ear = Budget(least)

    async def life(cluster: Cluster, laws: Laws) -> None:
        await cluster.admin.create(DEPLOYMENTS, world.deployment("web", 6), "default")
        selector = {"matchLabels": {"app": "web"}}
        made = {"metadata": {"name": "web"}, "spec": {**spec, "selector": selector}}
        await cluster.admin.create(PODDISRUPTIONBUDGETS, made, "default")
        await converged(cluster)
        async with asyncio.TaskGroup() as group:
            for which, pause in evictions:
                await asyncio.sleep(pause)
                group.create_task(_evict(cluster, which))
        await converged(cluster)
        await asyncio.sleep(20)
        before = ear.evictions
        await _evict(cluster, 0)  # what is whole can spare one
        assert ear.evictions == before + 1

    live(seed, life, dying=dying, deaths=ends, hear=ear)
    assert ear.told == []


# -- the ears


def pod(name: str, *, ready: bool = True, leaving: bool = False, node: str = "n", phase: str = "Running") -> Object:
    fields = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": fields}}
    return {
        "metadata": {"name": name, **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaving else {})},
        "spec": {"affinity": {"nodeAffinity": required}},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


@pytest.mark.parametrize(
    ("hear", "says"),
    [
        (lambda: OneByOne(True).came(pod("db-2"), [pod("db-0"), pod("db-1", ready=False)]), "only [0] serve"),
        (lambda: OneByOne(True).left(pod("db-0"), pod("db-0"), [pod("db-2", leaving=True)]), "['db-2'] do not serve"),
        (lambda: Ear().gone(pod("db-0")), "removed while it runs"),
        (lambda: OnEachNode(2, 0, 1).came(pod("b"), [pod("a")]), "more than one, 0 may"),
        (lambda: OnEachNode(2, 1, 0).came(pod("c"), [pod("a"), pod("b")]), "more than one, 1 may"),
        (lambda: Budget(2).left(pod("a"), pod("a"), [pod("b"), pod("c", leaving=True)]), "1 are left of 2"),
    ],
)
def test_the_ears_hear(hear: Any, says: str, monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr(Ear, "tell", lambda _, __, text: told.append(text))
    hear()
    assert len(told) == 1 and says in told[0]
