"""DaemonSet: one pod on every node that suits it.

`daemon_set_plan` decides; `revisions` keeps the templates; this module reads the caches and carries the plan
out. What was created or deleted is expected in the cache before the next plan, since pods' names are chosen by
the server. A pod that failed is replaced with a back-off per node, or a crashing daemon would be made anew
without pause.
"""

from __future__ import annotations

import asyncio

from shirube.api.errors import ApiError
from shirube.api.gvr import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from shirube.api.selectors import LabelSelector, label_selector_from
from shirube.client.controller import Controller
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import daemon_set_plan as planning
from shirube.controllers import pods as of_pods
from shirube.controllers import revisions as history
from shirube.controllers.context import Context
from shirube.controllers.deployment_rollout import template_hash
from shirube.controllers.expectations import Expectations
from shirube.controllers.ownership import (
    Claimer,
    controller_of,
    deleting,
    index_by_controller,
    owned_and_orphans,
)
from shirube.controllers.pace import Pace
from shirube.controllers.pod_control import PodControl, namespace_terminating, pod_from_template, slow_start
from shirube.controllers.told import Told

_ACCOUNT = "daemon-set-controller"
_BURST = 250
_BACK_OFF_SECONDS, _BACK_OFF_LIMIT = 1.0, 900.0


class _BackOff:
    """How long a node has to wait for its next pod after failures; forgotten after twice the longest wait."""

    def __init__(self) -> None:
        self._waits: dict[tuple[str, str], tuple[float, float]] = {}  # (owner's uid, node) -> (since, seconds)

    def left(self, uid: str, node: str, now: float) -> float:
        since, wait = self._waits.get((uid, node), (0.0, 0.0))
        return max(since + wait - now, 0.0) if wait else 0.0

    def failed(self, uid: str, node: str, now: float) -> None:
        since, wait = self._waits.get((uid, node), (0.0, 0.0))
        if now - since > 2 * _BACK_OFF_LIMIT:
            wait = 0.0
        self._waits[uid, node] = now, min(wait * 2 or _BACK_OFF_SECONDS, _BACK_OFF_LIMIT)

    def forget(self, uid: str) -> None:
        for key in [k for k in self._waits if k[0] == uid]:
            del self._waits[key]


def _counted(pod: Object) -> tuple[object, ...]:
    """What of a pod that is on its node decides what is next, or is told."""
    metadata = pod["metadata"]
    return (
        of_pods.phase(pod) if of_pods.finished(pod) else "",
        metadata.get("deletionTimestamp"),
        metadata.get("labels"),
        metadata.get("ownerReferences"),
    )


class DaemonSetController(Controller[str]):
    name = "daemonset-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        self._sets = context.informer(DAEMONSETS)
        self._pods = context.informer(PODS)
        self._nodes = context.informer(NODES)
        self._revisions = context.informer(CONTROLLERREVISIONS)
        super().__init__(self._sets, self._pods, self._nodes, self._revisions)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._clock = context.clock
        self._control = PodControl(self._client, self._recorder)
        self._claimer = Claimer(self._client, DAEMONSETS, "DaemonSet", PODS)
        self._revision_claimer = Claimer(self._client, DAEMONSETS, "DaemonSet", CONTROLLERREVISIONS)
        self._history = history.RevisionHistory(self._client, DAEMONSETS, "DaemonSet", history.POD_LABEL)
        self._expectations = Expectations(self._clock)
        self._back_off = _BackOff()
        self._told = Told()
        self._pace = Pace(self._clock)
        index_by_controller(self._pods)
        index_by_controller(self._revisions)
        self._sets.add_handler(self._enqueue, self._set_updated, self._set_deleted)
        self._pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)
        self._nodes.add_handler(self._node_changed, self._node_updated, self._node_changed)

    # -- what wakes us -------------------------------------------------------------------------------------

    def _enqueue(self, owner: Object) -> None:
        self.queue.add(key_of(owner))

    def _set_updated(self, old: Object, new: Object) -> None:
        if not self._told.echo(old, new):
            self._enqueue(new)

    def _set_deleted(self, owner: Object) -> None:
        self._told.forget(key_of(owner))
        self._expectations.forget(key_of(owner))
        self._back_off.forget(owner["metadata"]["uid"])

    def _join(self, key: str) -> None:
        """With what else happens in this moment: a look at a set is one at all nodes, and a zone that fails is many
        events."""
        self.queue.add_after(key, self._pace.left(key))

    def _node_changed(self, _: Object) -> None:
        for owner in self._sets.store:
            self._join(key_of(owner))

    def _node_updated(self, old: Object, new: Object) -> None:
        if old["metadata"].get("labels") != new["metadata"].get("labels") or (old.get("spec") or {}).get("taints") != (
            new.get("spec") or {}
        ).get("taints"):
            self._node_changed(new)

    def _owner_key(self, pod: Object) -> str | None:
        reference = controller_of(pod)
        if reference is None or reference["kind"] != "DaemonSet":
            return None
        key = f"{pod['metadata']['namespace']}/{reference['name']}"
        owner = self._sets.store.get_by_key(key)
        return key if owner is not None and owner["metadata"]["uid"] == reference["uid"] else None

    def _wake_for_orphan(self, pod: Object) -> None:
        labels = pod["metadata"].get("labels") or {}
        for owner in self._sets.store.list(pod["metadata"]["namespace"]) if labels else ():
            if self._selector(owner).matches(labels):
                self._enqueue(owner)

    def _pod_added(self, pod: Object) -> None:
        if (key := self._owner_key(pod)) is not None:
            self._expectations.creation_observed(key)
            if deleting(pod):
                self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            self.queue.add(key)
        elif controller_of(pod) is None:
            self._wake_for_orphan(pod)

    def _pod_updated(self, old: Object, new: Object) -> None:
        key, before = self._owner_key(new), self._owner_key(old)
        if before is not None and before != key:
            self.queue.add(before)
        if key is not None:
            if deleting(new):
                self._expectations.deletion_observed(key, new["metadata"]["uid"])
            if key != before or _counted(old) != _counted(new):
                self.queue.add(key)
            elif of_pods.condition(old, "Ready") != of_pods.condition(new, "Ready"):
                self._join(key)
            self._look_again_when_available(key, old, new)
        elif controller_of(new) is None and old["metadata"].get("labels") != new["metadata"].get("labels"):
            self._wake_for_orphan(new)

    def _look_again_when_available(self, key: str, old: Object, new: Object) -> None:
        owner = self._sets.store.get_by_key(key)
        if owner is not None and not of_pods.ready(old) and of_pods.ready(new):
            minimum = owner["spec"].get("minReadySeconds") or 0
            if minimum:
                self.queue.add_after(key, minimum + 1)

    def _pod_deleted(self, pod: Object) -> None:
        if (key := self._owner_key(pod)) is not None:
            self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            self.queue.add(key)

    @staticmethod
    def _selector(owner: Object) -> LabelSelector:
        return label_selector_from(owner["spec"].get("selector"))

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        owner = self._sets.store.get(*split_key(key))
        if owner is None:
            self._expectations.forget(key)
            return None
        selector = self._selector(owner)
        if selector.empty:
            self._recorder.event(
                owner,
                WARNING,
                "SelectingAll",
                "This daemon set is selecting all pods. A non-empty selector is required.",
            )
            return None
        if deleting(owner):
            return None
        self._pace.done(key)
        kept = await self._revision_claimer.claim(owner, owned_and_orphans(self._revisions, owner), selector)
        labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
        current, collisions = await self._history.current(owner, kept, labels)
        current, digest = await self._marked(owner, current, collisions)
        settled = self._expectations.satisfied(key)
        pods = await self._claimer.claim(owner, owned_and_orphans(self._pods, owner), selector)
        doubles = [r for r in kept if history.equal(r, owner) and r["metadata"]["name"] != current["metadata"]["name"]]
        if doubles:
            return await self._merge(doubles, pods, digest)
        again, failure = None, None
        try:
            if settled:
                again = await self._step(key, owner, pods, digest)
        except ApiError as error:
            failure = error
        await self._report(owner, pods, digest, collisions)
        if failure is not None:
            raise failure
        if settled:
            await self._clean_up(owner, kept, current, pods)
        minimum = int(owner["spec"].get("minReadySeconds") or 0)
        waits = [w for w in (again, of_pods.next_available(pods, minimum, self._clock.now())) if w]
        return min(waits) if waits else None

    async def _marked(self, owner: Object, revision: Object, collisions: int | None) -> tuple[Object, str]:
        """The revision and the label by which its pods are known. One that people made, or touched, may lack it."""
        metadata = revision["metadata"]
        labels = metadata.get("labels") or {}
        if digest := labels.get(history.POD_LABEL):
            return revision, str(digest)
        digest = template_hash(owner["spec"]["template"], collisions)
        marked = {**metadata, "labels": {**labels, history.POD_LABEL: digest}}
        return await self._client.update(CONTROLLERREVISIONS, {**revision, "metadata": marked}), digest

    async def _merge(self, doubles: list[Object], pods: list[Object], digest: str) -> float:
        """Several revisions hold the present template: pods of the others are marked as the newest's and stay."""
        digests = {(r["metadata"].get("labels") or {}).get(history.POD_LABEL) for r in doubles}
        for pod in pods:
            metadata = pod["metadata"]
            if (metadata.get("labels") or {}).get(history.POD_LABEL) in digests:
                patch = {"metadata": {"labels": {history.POD_LABEL: digest}}}
                await self._client.patch(PODS, metadata["name"], patch, metadata["namespace"])
        for revision in doubles:
            await self._history.delete(revision)
        return 0.1

    async def _step(self, key: str, owner: Object, pods: list[Object], digest: str) -> float | None:
        """Mend, then roll; seconds after which a node's back-off is over."""
        table = planning.by_node(pods)
        nodes, now = list(self._nodes.store), self._clock.now()
        todo = planning.plan(owner, nodes, table, digest, now)
        again = self._finished(owner, todo)
        if not todo.create and not todo.delete and planning.is_rolling(owner):
            todo = planning.roll(owner, nodes, table, digest, now)
        await self._act(key, owner, todo, digest)
        return again

    def _finished(self, owner: Object, todo: planning.Plan) -> float | None:
        waits = []
        uid, now = owner["metadata"]["uid"], self._clock.monotonic()
        for pod in todo.failed:
            node = planning.node_of(pod)
            failed = of_pods.phase(pod) == "Failed"
            if failed:
                if left := self._back_off.left(uid, node, now):
                    waits.append(left)
                    continue
                self._back_off.failed(uid, node, now)
            word, verb = ("failed", "kill") if failed else ("succeeded", "delete")
            self._recorder.event(
                owner,
                WARNING if failed else NORMAL,
                f"{word.capitalize()}DaemonPod",
                f"Found {word} daemon pod {key_of(pod)} on node {node}, will try to {verb} it",
            )
            todo.delete.append(pod)
        return min(waits) if waits else None

    async def _act(self, key: str, owner: Object, todo: planning.Plan, digest: str) -> None:
        nodes, victims = todo.create[:_BURST], todo.delete[:_BURST]
        self._expectations.expect_creations(key, len(nodes))
        self._expectations.expect_deletions(key, (p["metadata"]["uid"] for p in victims))
        done = 0

        async def create(number: int) -> None:
            await self._control.create(new_pod(owner, nodes[number], digest), owner)

        try:
            done, error = await slow_start(len(nodes), create)
        finally:
            self._expectations.creation_observed(key, len(nodes) - done)
        results = await asyncio.gather(*(self._control.delete(p, owner) for p in victims), return_exceptions=True)
        for pod, result in zip(victims, results, strict=True):
            if result is not None:
                self._expectations.deletion_observed(key, pod["metadata"]["uid"])
        failures = [r for r in results if isinstance(r, BaseException)]
        for failure in failures:
            if not (isinstance(failure, ApiError) and failure.code == 404):
                raise failure
        if error is not None and not namespace_terminating(error):
            raise error

    async def _report(self, owner: Object, pods: list[Object], digest: str, collisions: int | None) -> None:
        status = planning.status_of(
            owner, self._nodes.store, planning.by_node(pods), digest, collisions, self._clock.now()
        )
        self._told.remember(key_of(owner), status)
        if status != owner.get("status"):
            await self._client.update_status(DAEMONSETS, {**owner, "status": status})

    async def _clean_up(self, owner: Object, kept: list[Object], current: Object, pods: list[Object]) -> None:
        used = {(p["metadata"].get("labels") or {}).get(history.POD_LABEL) for p in pods}
        live = {
            r["metadata"]["name"]
            for r in (*kept, current)
            if (r["metadata"].get("labels") or {}).get(history.POD_LABEL) in used
            or r["metadata"]["name"] == current["metadata"]["name"]
        }
        for revision in history.to_clean_up(kept, live, owner["spec"].get("revisionHistoryLimit")):
            await self._history.delete(revision)


def new_pod(owner: Object, node: str, digest: str) -> Object:
    pod = pod_from_template(owner["spec"]["template"], owner, "apps/v1", "DaemonSet")
    labels = pod["metadata"]["labels"]
    labels[history.POD_LABEL] = digest
    generation = planning.generation_of(owner)
    if generation is not None and not generation.startswith("-"):  # which no label's value may
        labels[planning.GENERATION_LABEL] = generation
    spec = pod["spec"]
    spec["affinity"] = planning.pinned(spec.get("affinity"), node)
    spec["tolerations"] = planning.tolerations(spec)
    return pod
