"""Laws of workloads, attacked with chance: whatever people do and wherever a controller dies, they hold.

Each example is a life of a small cluster (`lives`); who breaks a law is told by `Laws`, which hears of every commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from tests.simulation.lives import ATTACK, SEEDS, changes, converged, deaths, live

from shirube.api.errors import ApiError
from shirube.api.gvr import CRONJOBS, DEPLOYMENTS, JOBS, PODS, RESOURCEQUOTAS
from shirube.simulation import world
from shirube.simulation.cluster import Cluster
from shirube.simulation.hollow import RUN_SECONDS
from shirube.simulation.laws import Laws
from shirube.simulation.wire import Death
from shirube.storage.types import Event

# -- Deployments

BOUNDS = st.sampled_from([(1, 0), (0, 1), ("25%", "25%"), ("100%", 0), (3, 2)])
ACTS = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("scale"), st.integers(0, 12)),
            st.tuples(st.just("template"), st.integers(0, 3)),
            st.tuples(st.just("pause"), st.booleans()),
        ),
        st.one_of(st.floats(0.0, 0.3), st.floats(0.0, 20.0)),
    ),
    min_size=1,
    max_size=6,
)


@ATTACK
@given(
    seed=SEEDS,
    replicas=st.integers(1, 10),
    bounds=BOUNDS,
    acts=ACTS,
    dying=st.sampled_from(["deployment-controller", "replicaset-controller"]),
    ends=deaths(40),
)
def test_a_deployment_keeps_its_bounds(
    seed: int, replicas: int, bounds: tuple[Any, Any], acts: list[Any], dying: str, ends: list[Death]
):
    async def life(cluster: Cluster, laws: Laws) -> None:
        made = world.deployment("web", replicas, surge=bounds[0], unavailable=bounds[1])
        await cluster.admin.create(DEPLOYMENTS, made, "default")
        for (what, value), pause in acts:
            await asyncio.sleep(pause)
            change = {
                "scale": {"replicas": value},
                "template": {"template": {"metadata": {"annotations": {"version": str(value)}}}},
                "pause": {"paused": value},
            }[what]
            await cluster.admin.patch(DEPLOYMENTS, "web", {"spec": change}, "default")
        await cluster.admin.patch(DEPLOYMENTS, "web", {"spec": {"paused": None}}, "default")
        await converged(cluster)

    live(seed, life, dying=dying, deaths=ends)


@ATTACK
@given(
    seed=SEEDS,
    dying=st.sampled_from(["deployment-controller", "replicaset-controller"]),
    write=st.integers(1, 40),
    applied=st.booleans(),
)
@example(seed=1115, dying="replicaset-controller", write=32, applied=False)
def test_a_deployment_keeps_its_bounds_when_a_controller_dies(seed: int, dying: str, write: int, applied: bool):
    async def life(cluster: Cluster, laws: Laws) -> None:
        await cluster.admin.create(DEPLOYMENTS, world.deployment("web", 6, surge=2, unavailable=1), "default")
        await asyncio.sleep(10)
        change = {"template": {"metadata": {"annotations": {"version": "2"}}}}
        await cluster.admin.patch(DEPLOYMENTS, "web", {"spec": change}, "default")
        await converged(cluster)
        assert laws.checks > 0

    live(seed, life, dying=dying, deaths=[Death(write, applied)])


# -- Jobs


class Tally:
    """Every pod that ever was, and how it ended; indexes that two pods worked on at once."""

    def __init__(self) -> None:
        self.succeeded: dict[str, str] = {}  # uid -> completion index, or ""
        self.made: set[str] = set()
        self.at_work: dict[str, str] = {}  # key -> completion index
        self.doubled: list[str] = []

    def __call__(self, events: Sequence[Event]) -> None:
        for key, pod in changes(events, "core/pods"):
            if pod is None:
                self.at_work.pop(key, None)
                continue
            metadata, phase = pod["metadata"], (pod.get("status") or {}).get("phase")
            index = (metadata.get("annotations") or {}).get("batch.kubernetes.io/job-completion-index", "")
            if phase == "Succeeded":
                self.succeeded[metadata["uid"]] = index
            if phase in ("Succeeded", "Failed") or metadata.get("deletionTimestamp"):
                self.at_work.pop(key, None)
            elif metadata["uid"] not in self.made:
                if index and index in self.at_work.values():
                    self.doubled.append(index)
                self.at_work[key] = index
            self.made.add(metadata["uid"])


@ATTACK
@given(
    seed=SEEDS,
    completions=st.integers(1, 8),
    parallelism=st.integers(1, 4),
    indexed=st.booleans(),
    acts=st.lists(st.tuples(st.sampled_from(["delete", "suspend", "resume"]), st.floats(0.0, 8.0)), max_size=4),
    ends=deaths(30),
)
@example(  # let go, then the controller dies and the Job is resumed before the pod is deleted
    seed=10000,
    completions=6,
    parallelism=3,
    indexed=False,
    acts=[("resume", 2.1239), ("delete", 1.493), ("delete", 1.493), ("suspend", 5.9459)],
    ends=[Death(6, False), Death(27, False), Death(6, False)],
)
def test_a_job_loses_and_doubles_no_pod(
    seed: int,
    completions: int,
    parallelism: int,
    indexed: bool,
    acts: list[tuple[str, float]],
    ends: list[Death],
):
    tally = Tally()

    async def life(cluster: Cluster, laws: Laws) -> None:
        made = world.job("batch", completions, parallelism, annotations={RUN_SECONDS: "4"})
        made["spec"] |= {"completionMode": "Indexed" if indexed else "NonIndexed", "backoffLimit": 100}
        del made["spec"]["ttlSecondsAfterFinished"]
        await cluster.admin.create(JOBS, made, "default")
        for act, pause in acts:
            await asyncio.sleep(pause)
            if act == "delete":
                await _one_gone(cluster)
            else:
                await _suspend(cluster, act == "suspend")
        await _suspend(cluster, False)
        await converged(cluster)
        job = await cluster.get(JOBS, "batch", "default")
        assert job is not None
        status = job["status"]
        assert {c["type"] for c in status["conditions"] if c["status"] == "True"} >= {"Complete"}
        assert status["succeeded"] == completions
        assert status.get("uncountedTerminatedPods", {}) == {}
        assert tally.doubled == []
        if indexed:
            counted = {int(index) for index in tally.succeeded.values()}
            assert counted == set(range(completions))
        else:
            assert len(tally.succeeded) == completions
            if not any(act == "suspend" for act, _ in acts):  # whose pods end without a word
                assert status["succeeded"] + status.get("failed", 0) == len(tally.made)

    live(seed, life, dying="job-controller", deaths=ends, hear=tally)


async def _one_gone(cluster: Cluster) -> None:
    for pod in (await cluster.list(PODS, "default"))[:1]:
        try:
            await cluster.admin.delete(PODS, pod["metadata"]["name"], "default")
        except ApiError as error:
            assert error.code == 404


async def _suspend(cluster: Cluster, suspended: bool) -> None:
    await cluster.admin.patch(JOBS, "batch", {"spec": {"suspend": suspended}}, "default")


# -- CronJobs


@ATTACK
@given(seed=SEEDS, ends=deaths(12))
def test_a_replacing_cron_job_has_one_job_at_a_time(seed: int, ends: list[Death]):
    going: dict[str, str] = {}
    most = 0

    def hear(events: Sequence[Event]) -> None:
        nonlocal most
        for key, job in changes(events, "batch/jobs"):
            if job is None or job["metadata"].get("deletionTimestamp"):
                going.pop(key, None)
            else:
                going[key] = job["metadata"]["name"]
            most = max(most, len(going))

    async def life(cluster: Cluster, laws: Laws) -> None:
        made = world.cron_job("tick", 1)
        made["spec"]["concurrencyPolicy"] = "Replace"
        annotations = {RUN_SECONDS: "1000"}
        made["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["annotations"] = annotations
        await cluster.admin.create(CRONJOBS, made, "default")
        await asyncio.sleep(270)
        jobs = [j for j in await cluster.list(JOBS, "default") if not j["metadata"].get("deletionTimestamp")]
        cron = await cluster.get(CRONJOBS, "tick", "default")
        assert cron is not None
        assert [r["name"] for r in cron["status"]["active"]] == [j["metadata"]["name"] for j in jobs]
        assert len(jobs) == 1

    live(seed, life, dying="cronjob-controller", deaths=ends, hear=hear)
    assert most == 1


# -- quotas


@ATTACK
@given(
    seed=SEEDS,
    pods=st.integers(1, 10),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    acts=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8), st.floats(0, 8)), max_size=5),
    dying=st.sampled_from(["resourcequota-controller", "replicaset-controller"]),
    ends=deaths(12),
)
def test_a_quota_is_never_exceeded(
    seed: int, pods: int, sizes: list[int], acts: list[tuple[int, int, float]], dying: str, ends: list[Death]
):
    async def life(cluster: Cluster, laws: Laws) -> None:
        await cluster.admin.create(RESOURCEQUOTAS, world.quota(pods), "default")
        await asyncio.sleep(2)
        for number, size in enumerate(sizes):
            await cluster.admin.create(DEPLOYMENTS, world.deployment(f"web-{number}", size), "default")
        for which, size, pause in acts:
            await asyncio.sleep(pause)
            name = f"web-{which % len(sizes)}"
            await cluster.admin.patch(DEPLOYMENTS, name, {"spec": {"replicas": size}}, "default")
        await asyncio.sleep(60)
        found = len(await cluster.list(PODS, "default"))
        quota = await cluster.get(RESOURCEQUOTAS, "quota", "default")
        assert quota is not None
        assert quota["status"]["used"]["pods"] == str(found)

    live(seed, life, dying=dying, deaths=ends)
