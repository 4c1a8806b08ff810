"""Laws of workloads, attacked with chance: whatever people do and wherever a controller dies, they hold.

Each example is a life of a small cluster on virtual time, from a seed that hypothesis draws; who breaks a law is told
by `Laws`, which hears of every commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.api.gvr import CRONJOBS, DEPLOYMENTS, JOBS, PODS, RESOURCEQUOTAS
from shirube.simulation import world
from shirube.simulation.cluster import Cluster, Setup, simulated
from shirube.simulation.convergence import unfinished
from shirube.simulation.hollow import RUN_SECONDS, Pace
from shirube.simulation.laws import Laws
from shirube.simulation.virtual_time import VirtualClock, run
from shirube.simulation.wire import Death, Process
from shirube.storage.memory import MemoryStorage
from shirube.storage.types import Event

ATTACK = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
PACE = Pace(start=(0.1, 2.0), end=(0.1, 1.0))
SEEDS = st.integers(0, 10_000)

Tell = Callable[[list[Event]], None]


def live(
    seed: int,
    life: Callable[[Cluster, Laws], Awaitable[None]],
    *,
    dying: str = "",
    death: Death | None = None,
    hear: Tell | None = None,
) -> None:
    """A small cluster lives through `life`; no law may be broken. `dying` names a controller that dies once."""
    laws = Laws()

    def commit(events: list[Event]) -> None:
        laws(events)
        if hear is not None:
            hear(events)

    async def main(clock: VirtualClock) -> None:
        async with simulated(Setup(seed=seed, pace=PACE), clock, MemoryStorage(commit)) as cluster:
            await cluster.start_controllers([e for e in cluster.entries() if e.name != dying])
            await cluster.start_scheduler()
            for number in range(3):
                await cluster.nodes.add(f"node-{number}")
            await asyncio.sleep(5)
            if dying:
                restarts = asyncio.get_running_loop().create_task(_rise_again(cluster, dying, death))
            await life(cluster, laws)
            if dying:
                restarts.cancel()
                await asyncio.wait([restarts])
            cluster.check_alive()

    run(main)
    assert laws.violations == []
    assert laws.checks > 0


async def _rise_again(cluster: Cluster, name: str, death: Death | None) -> None:
    """The controller, and once it has died its successor."""
    entries = [e for e in cluster.entries() if e.name == name]
    process = Process("mortal", death)
    first = await cluster.start_controllers(entries, process)
    await process.dead.wait()
    await cluster.stop(first)
    await asyncio.sleep(1)
    await cluster.start_controllers(entries, Process("successor"))


async def converged(cluster: Cluster, seconds: float = 900) -> None:
    left: list[str] = ["never looked"]
    deadline = cluster.clock.monotonic() + seconds
    while left and cluster.clock.monotonic() < deadline:
        await asyncio.sleep(5)
        left = await unfinished(cluster)
    assert left == []


# -- Deployments

BOUNDS = st.sampled_from([(1, 0), (0, 1), ("25%", "25%"), ("100%", 0), (3, 2)])
ACTS = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("scale"), st.integers(0, 12)),
            st.tuples(st.just("template"), st.integers(0, 3)),
            st.tuples(st.just("pause"), st.booleans()),
        ),
        st.floats(0.0, 20.0),
    ),
    min_size=1,
    max_size=6,
)


@ATTACK
@given(seed=SEEDS, replicas=st.integers(1, 10), bounds=BOUNDS, acts=ACTS)
def test_a_deployment_keeps_its_bounds(seed: int, replicas: int, bounds: tuple[Any, Any], acts: list[Any]):
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

    live(seed, life)


@ATTACK
@given(
    seed=SEEDS,
    dying=st.sampled_from(["deployment-controller", "replicaset-controller"]),
    write=st.integers(1, 40),
    applied=st.booleans(),
)
def test_a_deployment_keeps_its_bounds_when_a_controller_dies(seed: int, dying: str, write: int, applied: bool):
    async def life(cluster: Cluster, laws: Laws) -> None:
        await cluster.admin.create(DEPLOYMENTS, world.deployment("web", 6, surge=2, unavailable=1), "default")
        await asyncio.sleep(10)
        change = {"template": {"metadata": {"annotations": {"version": "2"}}}}
        await cluster.admin.patch(DEPLOYMENTS, "web", {"spec": change}, "default")
        await converged(cluster)

    live(seed, life, dying=dying, death=Death(write, applied))


# -- Jobs


class Tally:
    """Every pod that ever was, and how it ended."""

    def __init__(self) -> None:
        self.succeeded: dict[str, str] = {}  # uid -> completion index, or ""
        self.made: set[str] = set()

    def __call__(self, events: list[Event]) -> None:
        for event in events:
            if event.key.startswith("/registry/core/pods/") and event.kind == "PUT":
                pod = orjson.loads(event.value)
                metadata = pod["metadata"]
                self.made.add(metadata["uid"])
                if (pod.get("status") or {}).get("phase") == "Succeeded":
                    index = (metadata.get("annotations") or {}).get("batch.kubernetes.io/job-completion-index", "")
                    self.succeeded[metadata["uid"]] = index


@ATTACK
@given(
    seed=SEEDS,
    completions=st.integers(1, 8),
    parallelism=st.integers(1, 4),
    indexed=st.booleans(),
    deletions=st.lists(st.floats(0.0, 10.0), max_size=3),
    write=st.integers(1, 30),
    applied=st.booleans(),
)
def test_a_job_loses_and_doubles_no_pod(
    seed: int,
    completions: int,
    parallelism: int,
    indexed: bool,
    deletions: list[float],
    write: int,
    applied: bool,
):
    tally = Tally()

    async def life(cluster: Cluster, laws: Laws) -> None:
        made = world.job("batch", completions, parallelism, annotations={RUN_SECONDS: "4"})
        made["spec"] |= {"completionMode": "Indexed" if indexed else "NonIndexed", "backoffLimit": 100}
        del made["spec"]["ttlSecondsAfterFinished"]
        await cluster.admin.create(JOBS, made, "default")
        for pause in deletions:
            await asyncio.sleep(pause)
            pods = await cluster.list(PODS, "default")
            if pods:
                await _gone(cluster, pods[0]["metadata"]["name"])
        await converged(cluster)
        job = await cluster.get(JOBS, "batch", "default")
        assert job is not None
        status = job["status"]
        assert {c["type"] for c in status["conditions"] if c["status"] == "True"} >= {"Complete"}
        assert status["succeeded"] == completions
        assert status.get("uncountedTerminatedPods", {}) == {}
        if indexed:
            counted = {int(index) for index in tally.succeeded.values()}
            assert counted == set(range(completions))
        else:
            assert len(tally.succeeded) == completions
            assert status["succeeded"] + status.get("failed", 0) == len(tally.made)

    live(seed, life, dying="job-controller", death=Death(write, applied), hear=tally)


async def _gone(cluster: Cluster, name: str) -> None:
    try:
        await cluster.admin.delete(PODS, name, "default")
    except ApiError as error:
        assert error.code == 404


# -- CronJobs


@ATTACK
@given(seed=SEEDS, write=st.integers(1, 12), applied=st.booleans())
def test_a_replacing_cron_job_has_one_job_at_a_time(seed: int, write: int, applied: bool):
    going: dict[str, str] = {}
    most = 0

    def hear(events: list[Event]) -> None:
        nonlocal most
        for event in events:
            if not event.key.startswith("/registry/batch/jobs/"):
                continue
            obj = orjson.loads(event.value) if event.kind == "PUT" else None
            if obj is None or obj["metadata"].get("deletionTimestamp"):
                going.pop(event.key, None)
            else:
                going[event.key] = obj["metadata"]["name"]
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

    live(seed, life, dying="cronjob-controller", death=Death(write, applied), hear=hear)
    assert most == 1


# -- quotas


@ATTACK
@given(
    seed=SEEDS,
    pods=st.integers(1, 10),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    changes=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8), st.floats(0, 8)), max_size=5),
)
def test_a_quota_is_never_exceeded(seed: int, pods: int, sizes: list[int], changes: list[tuple[int, int, float]]):
    async def life(cluster: Cluster, laws: Laws) -> None:
        await cluster.admin.create(RESOURCEQUOTAS, world.quota(pods), "default")
        await asyncio.sleep(2)
        for number, size in enumerate(sizes):
            await cluster.admin.create(DEPLOYMENTS, world.deployment(f"web-{number}", size), "default")
        for which, size, pause in changes:
            await asyncio.sleep(pause)
            name = f"web-{which % len(sizes)}"
            await cluster.admin.patch(DEPLOYMENTS, name, {"spec": {"replicas": size}}, "default")
        await asyncio.sleep(60)
        found = len(await cluster.list(PODS, "default"))
        quota = await cluster.get(RESOURCEQUOTAS, "quota", "default")
        assert quota is not None
        assert quota["status"]["used"]["pods"] == str(found)

    live(seed, life)
