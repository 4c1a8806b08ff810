"""Hands that meddle with Jobs, their pods and their nodes: in the end every Job is over, nothing is held by it any
more, and the namespace goes when it is told to.

Of pods whose completion hands have hidden (no finalizer, no owner, another label) a Job may count too few; it makes up
for them with more pods, never with fewer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.lives import ATTACK, SEEDS, acts_of, deaths, live

from shirube.api.errors import ApiError
from shirube.api.gvr import CRONJOBS, GVR, JOBS, NAMESPACES, NODES, PODDISRUPTIONBUDGETS, PODS
from shirube.client.rest import Object
from shirube.controllers.job_view import FINALIZER
from shirube.simulation import world
from shirube.simulation.cluster import Cluster
from shirube.simulation.hollow import RUN_SECONDS
from shirube.simulation.laws import Laws
from shirube.simulation.wire import Death

TEAM = "team"
DYING = (
    "job-controller",
    "cronjob-controller",
    "garbage-collector-controller",
    "pod-garbage-collector-controller",
    "namespace-controller",
    "disruption-controller",
    "taint-eviction-controller",
)
INDEX = "batch.kubernetes.io/job-completion-index"


async def _furnish(cluster: Cluster) -> None:
    await cluster.admin.create(NAMESPACES, {"metadata": {"name": TEAM}})
    for name, mode in (("plain", "NonIndexed"), ("indexed", "Indexed")):
        made = world.job(name, 6, 3, annotations={RUN_SECONDS: "6"})
        made["spec"] |= {"completionMode": mode, "backoffLimit": 1000}
        made["spec"].pop("ttlSecondsAfterFinished", None)
        await cluster.admin.create(JOBS, made, TEAM)
    ticking = world.cron_job("tick", 1)
    ticking["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["annotations"] = {RUN_SECONDS: "20"}
    await cluster.admin.create(CRONJOBS, ticking, TEAM)
    one = {"metadata": {"name": "all"}, "spec": {"selector": {}, "minAvailable": 3}}
    await cluster.admin.create(PODDISRUPTIONBUDGETS, one, TEAM)


class Meddler:
    """Each act picks its victim by number, from what is there, in the order of names."""

    def __init__(self, cluster: Cluster) -> None:
        self._admin = cluster.admin

    async def act(self, what: str, which: int, value: int) -> None:
        acts: dict[str, Callable[[int, int], Awaitable[Any]]] = {
            "delete a pod": lambda n, v: self._delete(PODS, n, grace_period_seconds=(None, 0)[v % 2]),
            "evict a pod": self._evict,
            "end a pod": self._end,
            "relabel a pod": lambda n, _: self._patch(PODS, n, {"metadata": {"labels": {"controller-uid": "x"}}}),
            "disown a pod": lambda n, _: self._patch(PODS, n, {"metadata": {"ownerReferences": None}}),
            "free a pod": lambda n, _: self._patch(PODS, n, {"metadata": {"finalizers": None}}),
            "spoil an index": self._spoil,
            "suspend": lambda n, v: self._patch(JOBS, n, {"spec": {"suspend": bool(v % 2)}}),
            "resize": lambda n, v: self._patch(JOBS, n, {"spec": {"parallelism": v % 5}}),
            "delete a job": self._delete_job,
            "taint a node": self._taint,
            "delete a node": lambda n, _: self._delete(NODES, n),
        }
        with contextlib.suppress(ApiError):  # gone meanwhile, or refused: it is only a try
            await acts[what](which, value)

    async def _pick(self, gvr: GVR, which: int) -> Object | None:
        found = (await self._admin.list(gvr, "" if gvr == NODES else TEAM))["items"]
        found.sort(key=lambda o: o["metadata"]["name"])
        return found[which % len(found)] if found else None

    async def _patch(self, gvr: GVR, which: int, change: Object, subresource: str = "") -> None:
        if (one := await self._pick(gvr, which)) is not None:
            namespace = one["metadata"].get("namespace", "")
            await self._admin.patch(gvr, one["metadata"]["name"], change, namespace, subresource=subresource)

    async def _delete(self, gvr: GVR, which: int, **how: Any) -> None:
        if (one := await self._pick(gvr, which)) is not None:
            await self._admin.delete(gvr, one["metadata"]["name"], one["metadata"].get("namespace", ""), **how)

    async def _delete_job(self, which: int, value: int) -> None:
        await self._delete(JOBS, which, propagation_policy=("Background", "Foreground", "Orphan")[value % 3])

    async def _evict(self, which: int, _: int) -> None:
        if (one := await self._pick(PODS, which)) is not None:
            name = one["metadata"]["name"]
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
            await self._admin.create(PODS, body, TEAM, "eviction", name)

    async def _end(self, which: int, value: int) -> None:
        await self._patch(PODS, which, {"status": {"phase": ("Failed", "Succeeded")[value % 2]}}, "status")

    async def _spoil(self, which: int, value: int) -> None:
        word = ("", "-1", "x", "5", "99999999999", None)[value % 6]
        await self._patch(PODS, which, {"metadata": {"annotations": {INDEX: word}}})

    async def _taint(self, which: int, value: int) -> None:
        taints = [{"key": "mine", "effect": "NoExecute"}] if value % 2 else None
        await self._patch(NODES, which, {"spec": {"taints": taints}})


KINDS = [
    "delete a pod",
    "evict a pod",
    "end a pod",
    "relabel a pod",
    "disown a pod",
    "free a pod",
    "spoil an index",
    "suspend",
    "resize",
    "delete a job",
    "taint a node",
    "delete a node",
]
ACTS = acts_of(KINDS, 8.0)


@ATTACK
@given(seed=SEEDS, acts=ACTS, dying=st.sampled_from(DYING), ends=deaths(25))
def test_jobs_are_over_in_the_end_whatever_hands_did(
    seed: int, acts: list[tuple[str, int, int, float]], dying: str, ends: list[Death]
):
    async def life(cluster: Cluster, _: Laws) -> None:
        await _furnish(cluster)
        meddler = Meddler(cluster)
        await asyncio.sleep(4)
        for what, which, value, pause in acts:
            await asyncio.sleep(pause)
            await meddler.act(what, which, value)
        await _let_them_work(cluster)
        await _eventually(lambda: _unfinished(cluster))
        await cluster.admin.delete(NAMESPACES, TEAM)
        await _eventually(lambda: _there(cluster))

    live(seed, life, dying=dying, deaths=ends, judged=False)


async def _let_them_work(cluster: Cluster) -> None:
    await cluster.admin.patch(CRONJOBS, "tick", {"spec": {"suspend": True}}, TEAM)
    await cluster.nodes.add("node-new")
    for node in await cluster.list(NODES):
        taints = [t for t in node["spec"].get("taints") or () if t["key"] == "mine"]
        if taints:
            await cluster.admin.patch(NODES, node["metadata"]["name"], {"spec": {"taints": None}})
    for job in await cluster.list(JOBS, TEAM):
        with contextlib.suppress(ApiError):
            change = {"spec": {"suspend": False, "parallelism": 3}}
            await cluster.admin.patch(JOBS, job["metadata"]["name"], change, TEAM)


async def _unfinished(cluster: Cluster) -> list[str]:
    left = []
    jobs = {j["metadata"]["uid"]: j for j in await cluster.list(JOBS, TEAM)}
    for job in jobs.values():
        status = job.get("status") or {}
        done = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
        name = job["metadata"]["name"]
        if job["metadata"].get("deletionTimestamp"):
            left.append(f"{name} is not gone")
        elif "Complete" not in done:
            left.append(f"{name}: {status}")
        elif name in ("plain", "indexed") and status.get("succeeded") != 6:
            left.append(f"{name} is complete with {status}")
        elif status.get("uncountedTerminatedPods") or status.get("active"):
            left.append(f"{name} is complete and counts still: {status}")
    for pod in await cluster.list(PODS, TEAM):
        metadata = pod["metadata"]
        if FINALIZER in (metadata.get("finalizers") or ()):
            left.append(f"{metadata['name']} is held")
        missing = [r["name"] for r in metadata.get("ownerReferences") or () if r["uid"] not in jobs]
        if missing:
            left.append(f"{metadata['name']} outlives {missing}")
    return left


async def _there(cluster: Cluster) -> list[str]:
    return [n["metadata"]["name"] for n in await cluster.list(NAMESPACES) if n["metadata"]["name"] == TEAM]


async def _eventually(look: Callable[[], Awaitable[list[str]]], seconds: float = 900) -> None:
    for _ in range(int(seconds / 5)):
        if not (left := await look()):
            return
        await asyncio.sleep(5)
    raise AssertionError(left)
