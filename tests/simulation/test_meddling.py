"""Hands that meddle with what belongs to workloads: whatever they do, the workloads are whole again in the end.

People and other programs delete pods, change their labels, take their owners away, resize ReplicaSets, throw revisions
away, in the midst of rollouts and while a controller dies. Pods that were let go on the way are nobody's; they are
cleared away at the end, as their names may be needed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.lives import ATTACK, SEEDS, acts_of, converged, deaths, live
from tests.simulation.storage_stories import LOCAL_CLASS, RETENTION, claim_template

from shirube.api.errors import ApiError
from shirube.api.gvr import (
    CONTROLLERREVISIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    GVR,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    REPLICASETS,
    STATEFULSETS,
    STORAGECLASSES,
)
from shirube.client.rest import Object
from shirube.controllers.deployment_rollout import DESIRED, REVISION
from shirube.controllers.ownership import controller_of
from shirube.simulation import world
from shirube.simulation.cluster import Cluster
from shirube.simulation.laws import Laws
from shirube.simulation.wire import Death

OWNERS = ((DEPLOYMENTS, "web"), (STATEFULSETS, "db"), (STATEFULSETS, "log"), (DAEMONSETS, "agent"))
TAINT = {"key": "example.com/away", "effect": "NoSchedule"}
DYING = ("deployment-controller", "replicaset-controller", "statefulset-controller", "daemonset-controller")


async def _furnish(cluster: Cluster, surging: bool) -> None:
    made = world.daemon_set("agent")
    del made["spec"]["template"]["spec"]["tolerations"]
    if surging:
        made["spec"]["updateStrategy"]["rollingUpdate"] = {"maxSurge": 1, "maxUnavailable": 0}
    claims = {"volumeClaimTemplates": [claim_template("data")], "persistentVolumeClaimRetentionPolicy": RETENTION}
    await cluster.admin.create(STORAGECLASSES, LOCAL_CLASS)
    for gvr, obj in (
        (DEPLOYMENTS, world.deployment("web", 4, surge=1, unavailable=1)),
        (STATEFULSETS, world.stateful_set("db", 3, **claims)),
        (STATEFULSETS, world.stateful_set("log", 3, podManagementPolicy="Parallel")),
        (DAEMONSETS, made),
    ):
        await cluster.admin.create(gvr, obj, "default")


class Meddler:
    """Each act picks its victim by number, from what is there, in the order of names."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._admin = cluster.admin

    async def act(self, what: str, which: int, value: int) -> None:
        with contextlib.suppress(ApiError):  # gone meanwhile, or refused: it is only a try
            await KINDS[what](self, which, value)

    async def _pick(self, gvr: GVR, which: int) -> Object | None:
        namespace = None if gvr == NODES else "default"
        found = sorted((await self._admin.list(gvr, namespace))["items"], key=lambda o: o["metadata"]["name"])
        return found[which % len(found)] if found else None

    async def _patch(self, gvr: GVR, which: int, change: Object, subresource: str = "") -> None:
        if (one := await self._pick(gvr, which)) is not None:
            metadata = one["metadata"]
            await self._admin.patch(gvr, metadata["name"], change, metadata.get("namespace"), subresource=subresource)

    async def _delete(self, gvr: GVR, which: int) -> None:
        if (one := await self._pick(gvr, which)) is not None:
            await self._admin.delete(gvr, one["metadata"]["name"], "default")

    async def _scale(self, which: int, value: int) -> None:
        gvr, name = OWNERS[which % 3]
        await self._admin.patch(gvr, name, {"spec": {"replicas": value % 6}}, "default")

    async def _change(self, which: int, value: int) -> None:
        gvr, name = OWNERS[which % len(OWNERS)]
        template = {"metadata": {"annotations": {"version": str(value % 3)}}}
        await self._admin.patch(gvr, name, {"spec": {"template": template}}, "default")

    async def _relabel_pod(self, which: int, _: int) -> None:
        await self._patch(PODS, which, {"metadata": {"labels": {"app": "nobody"}}})

    async def _misname_pod(self, which: int, _: int) -> None:
        labels = {"controller-revision-hash": "none", "pod-template-hash": None}
        await self._patch(PODS, which, {"metadata": {"labels": labels}})

    async def _fail_pod(self, which: int, _: int) -> None:
        await self._patch(PODS, which, {"status": {"phase": "Failed"}}, "status")

    async def _disown(self, gvr: GVR, which: int) -> None:
        await self._patch(gvr, which, {"metadata": {"ownerReferences": None}})

    async def _resize(self, which: int, value: int) -> None:
        await self._patch(REPLICASETS, which, {"spec": {"replicas": value % 8}})

    async def _annotate(self, which: int, value: int) -> None:
        word = ("some", "-3", "2", "99999999999")[value % 4]
        await self._patch(REPLICASETS, which, {"metadata": {"annotations": {DESIRED: word, REVISION: word}}})

    async def _unlabel_revision(self, which: int, _: int) -> None:
        await self._patch(CONTROLLERREVISIONS, which, {"metadata": {"labels": {"controller-revision-hash": None}}})

    async def _replace(self, which: int, value: int) -> None:
        """By the same name, of the same selector; its objects are left behind, or on their way out."""
        gvr, name = OWNERS[which % len(OWNERS)]
        old = await self._admin.get(gvr, name, "default")
        policy = ("Orphan", "Background", "Foreground")[value % 3]
        await self._admin.delete(gvr, name, "default", propagation_policy=policy)
        again = {"apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": {"name": name}, "spec": old["spec"]}
        deadline = self._cluster.clock.monotonic() + 120
        while self._cluster.clock.monotonic() < deadline:
            try:
                await self._admin.create(gvr, again, "default")
                return
            except ApiError as error:
                assert error.reason == "AlreadyExists", error
            await asyncio.sleep(0.5)
        raise AssertionError(f"{name} never goes")

    async def _strategy(self, which: int, value: int) -> None:
        gvr, name = OWNERS[which % len(OWNERS)]
        if gvr == DEPLOYMENTS:
            rolling = {"maxSurge": value % 3, "maxUnavailable": "50%"}
            strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
            change = {"strategy": {"type": "Recreate", "rollingUpdate": None} if value % 2 else strategy}
        elif gvr == DAEMONSETS:
            rolling = {"maxSurge": "50%", "maxUnavailable": 0} if value % 2 else {"maxSurge": 0, "maxUnavailable": 2}
            change = {"updateStrategy": {"rollingUpdate": rolling}}
        else:
            change = {"updateStrategy": {"rollingUpdate": {"maxUnavailable": value % 3 + 1}}}
        await self._admin.patch(gvr, name, {"spec": change}, "default")

    async def _taint(self, which: int, value: int) -> None:
        await self._patch(NODES, which, {"spec": {"taints": [TAINT] if value % 2 else None}})

    async def tidy(self) -> None:
        for node in (await self._admin.list(NODES))["items"]:
            await self._admin.patch(NODES, node["metadata"]["name"], {"spec": {"taints": None}})
        for pod in (await self._admin.list(PODS, "default"))["items"]:
            if controller_of(pod) is None:
                with contextlib.suppress(ApiError):  # adopted or gone meanwhile
                    await self._admin.delete(PODS, pod["metadata"]["name"], "default")


KINDS: dict[str, Callable[[Meddler, int, int], Awaitable[Any]]] = {
    "scale": Meddler._scale,
    "change": Meddler._change,
    "delete a pod": lambda m, n, _: m._delete(PODS, n),
    "relabel a pod": Meddler._relabel_pod,
    "take a pod's owner": lambda m, n, _: m._disown(PODS, n),
    "give a pod's revision away": Meddler._misname_pod,
    "fail a pod": Meddler._fail_pod,
    "resize a set": Meddler._resize,
    "annotate a set": Meddler._annotate,
    "take a set's owner": lambda m, n, _: m._disown(REPLICASETS, n),
    "delete a set": lambda m, n, _: m._delete(REPLICASETS, n),
    "delete a revision": lambda m, n, _: m._delete(CONTROLLERREVISIONS, n),
    "take a revision's owner": lambda m, n, _: m._disown(CONTROLLERREVISIONS, n),
    "unlabel a revision": Meddler._unlabel_revision,
    "delete a claim": lambda m, n, _: m._delete(PERSISTENTVOLUMECLAIMS, n),
    "take a claim's owner": lambda m, n, _: m._disown(PERSISTENTVOLUMECLAIMS, n),
    "put another in its place": Meddler._replace,
    "change how it is rolled": Meddler._strategy,
    "taint a node": Meddler._taint,
}
ACTS = acts_of(list(KINDS), 10.0)


@ATTACK
@given(seed=SEEDS, acts=ACTS, surging=st.booleans(), dying=st.sampled_from(DYING), ends=deaths(40))
def test_workloads_are_whole_again_whatever_hands_did(
    seed: int, acts: list[tuple[str, int, int, float]], surging: bool, dying: str, ends: list[Death]
):
    async def life(cluster: Cluster, _: Laws) -> None:
        await _furnish(cluster, surging)
        meddler = Meddler(cluster)
        await asyncio.sleep(8)
        for what, which, value, pause in acts:
            await asyncio.sleep(pause)
            await meddler.act(what, which, value)
        await asyncio.sleep(60)
        await meddler.tidy()
        await converged(cluster)
        await _all_of_the_present_template(cluster)

    live(seed, life, dying=dying, deaths=ends, judged=False)


async def _all_of_the_present_template(cluster: Cluster) -> None:
    for gvr, name in OWNERS:
        owner = await cluster.admin.get(gvr, name, "default")
        wanted = (owner["spec"]["template"]["metadata"].get("annotations") or {}).get("version")
        pods = (await cluster.admin.list(PODS, "default", label_selector=f"app={name}"))["items"]
        alive = [p for p in pods if (p.get("status") or {}).get("phase") == "Running"]
        assert {(p["metadata"].get("annotations") or {}).get("version") for p in alive} <= {wanted}, name
        if gvr != DAEMONSETS:
            assert len(alive) == owner["spec"]["replicas"], name
