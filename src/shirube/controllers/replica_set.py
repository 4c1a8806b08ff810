"""ReplicaSet: as many pods as asked for, made from its template.

Plan: count the active pods that are ours (adopting matching orphans, releasing those that match no more) and
create or delete the difference, at most 500 at once. Act: creations by slow start, deletions in upstream's
order; what was done is expected in the cache before the next plan. Then the status is written, only when it
changed.

`ReplicaSetController` is also what ReplicationController runs on: the same behaviour with another selector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from shirube.api.errors import ApiError
from shirube.api.gvr import GVR, PODS, REPLICASETS
from shirube.api.selectors import LabelSelector, label_selector_from
from shirube.client.controller import Controller
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers.context import Context
from shirube.controllers.expectations import Expectations
from shirube.controllers.ownership import (
    Claimer,
    controller_of,
    deleting,
    index_by_controller,
    owned,
    owned_and_orphans,
)
from shirube.controllers.pace import Pace
from shirube.controllers.pod_control import PodControl, namespace_terminating, pod_from_template, slow_start
from shirube.controllers.told import Told
from shirube.foundation.clock import rfc3339

_BURST = 500


@dataclass(frozen=True, slots=True)
class Plan:
    create: int = 0
    delete: list[Object] = field(default_factory=list)


def plan(wanted: int, pods: list[Object], related: Iterable[Object], now: float) -> Plan:
    """`pods` are the active ones that are ours; `related` rank those to delete."""
    difference = len(pods) - wanted
    if difference < 0:
        return Plan(create=min(-difference, _BURST))
    if difference > 0:
        return Plan(delete=of_pods.choose_victims(pods, related, min(difference, _BURST), now))
    return Plan()


def status_of(
    owner: Object,
    claimed: list[Object],
    now: float,
    failure: tuple[str, str] | None,
    template_labels: Object,
    settled: bool = True,
) -> Object:
    """The status that the pods make. `failure` is (reason, message) of what could not be done. While the cache does
    not show yet what was done for an earlier spec (not `settled`), the present one has not been seen: a Deployment
    relies on the counts of a status that has seen its size."""
    spec, old = owner["spec"], owner.get("status") or {}
    pods = [p for p in claimed if of_pods.active(p)]
    ready = [p for p in pods if of_pods.ready(p)]
    minimum = spec.get("minReadySeconds") or 0
    wanted_labels = template_labels.items()
    status: Object = {
        "replicas": len(pods),
        "fullyLabeledReplicas": sum(1 for p in pods if wanted_labels <= (p["metadata"].get("labels") or {}).items()),
        "readyReplicas": len(ready),
        "availableReplicas": sum(1 for p in ready if of_pods.available(p, minimum, now)),
        "terminatingReplicas": sum(1 for p in claimed if of_pods.terminating(p)),
        "observedGeneration": max(
            owner["metadata"].get("generation", 0) if settled else 0, int(old.get("observedGeneration") or 0)
        ),
    }
    conditions = [c for c in old.get("conditions") or () if c["type"] != "ReplicaFailure"]
    if failure is not None:
        known = of_pods.condition(owner, "ReplicaFailure")
        if known is not None:
            conditions.append(known)
        else:
            conditions.append(
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "lastTransitionTime": rfc3339(now),
                    "reason": failure[0],
                    "message": failure[1],
                }
            )
    if conditions:
        status["conditions"] = conditions
    return _without_zeros(status)


def _without_zeros(status: Object) -> Object:
    """As the API prints it: these two are shown when they are zero, too."""
    return {k: v for k, v in status.items() if v != 0 or k in ("replicas", "terminatingReplicas")}


def _counted(pod: Object) -> tuple[object, ...]:
    """What of a pod that keeps its labels its owner looks at while nothing is to be deleted."""
    ready = of_pods.condition(pod, "Ready")
    return ready and (ready.get("status"), ready.get("lastTransitionTime")), of_pods.finished(pod)


class ReplicaSetController(Controller[str]):
    name = "replicaset-controller"
    workers = 5
    gvr: ClassVar[GVR] = REPLICASETS
    kind: ClassVar[str] = "ReplicaSet"
    account: ClassVar[str] = "replicaset-controller"
    tells_terminating: ClassVar[bool] = True  # whether the kind's status has a place for it

    def __init__(self, context: Context) -> None:
        self._owners = context.informer(self.gvr)
        self._pods = context.informer(PODS)
        super().__init__(self._owners, self._pods)
        self._client = context.client_of(self.account)
        self._clock = context.clock
        self._control = PodControl(self._client, context.recorder(self.name, self.account))
        self._claimer = Claimer(self._client, self.gvr, self.kind, PODS)
        self._expectations = Expectations(self._clock)
        self._told = Told(_without_zeros)
        self._pace = Pace(self._clock)
        index_by_controller(self._owners)
        index_by_controller(self._pods)
        self._owners.add_handler(self._enqueue, self._owner_updated, self._owner_deleted)
        self._pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)

    # -- what wakes us -------------------------------------------------------------------------------------

    def _enqueue(self, owner: Object) -> None:
        self.queue.add(key_of(owner))

    def _owner_updated(self, old: Object, new: Object) -> None:
        if not self._told.echo(old, new):
            self._enqueue(new)

    def _owner_deleted(self, owner: Object) -> None:
        self._expectations.forget(key_of(owner))
        self._told.forget(key_of(owner))
        self._enqueue(owner)

    def _owner_key(self, pod: Object) -> str | None:
        reference = controller_of(pod)
        if reference is None or reference["kind"] != self.kind:
            return None
        key = f"{pod['metadata']['namespace']}/{reference['name']}"
        owner = self._owners.store.get_by_key(key)
        # Not for a former owner of that name, nor for one that somebody else made up.
        return key if owner is not None and owner["metadata"]["uid"] == reference["uid"] else None

    def _wake_for_orphan(self, pod: Object) -> None:
        labels = pod["metadata"].get("labels") or {}
        if not labels:
            return
        for owner in self._owners.store.list(pod["metadata"]["namespace"]):
            if self.selector(owner).matches(labels):
                self._enqueue(owner)

    def _wake_claimants(self, pod: Object) -> None:
        """All that call it theirs: one of them is wrong."""
        for reference in pod["metadata"].get("ownerReferences") or ():
            if reference.get("controller") and reference["kind"] == self.kind:
                self.queue.add(f"{pod['metadata']['namespace']}/{reference['name']}")

    def _pod_added(self, pod: Object) -> None:
        if deleting(pod):
            self._pod_deleted(pod)  # seen for the first time after a restart, already on its way out
            return
        if (key := self._owner_key(pod)) is not None:
            self._expectations.creation_observed(key)
            self.queue.add(key)
        elif controller_of(pod) is None:
            self._wake_for_orphan(pod)

    def _pod_updated(self, old: Object, new: Object) -> None:
        if deleting(new):
            self._pod_deleted(new)
            return
        key, before = self._owner_key(new), self._owner_key(old)
        if before is not None and before != key:
            self.queue.add(before)
        relabelled = old["metadata"].get("labels") != new["metadata"].get("labels")
        if old["metadata"].get("ownerReferences") != new["metadata"].get("ownerReferences"):
            self._wake_claimants(new)
        elif key is not None and (relabelled or _counted(old) != _counted(new)):
            self.queue.add_after(key, self._pace.left(key) if of_pods.became_ready(old, new) else 0.0)
        if key is None and controller_of(new) is None and (before is not None or relabelled):
            self._wake_for_orphan(new)

    def _pod_deleted(self, pod: Object) -> None:
        if (key := self._owner_key(pod)) is not None:
            self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            self.queue.add(key)

    # -- what differs for ReplicationController -------------------------------------------------------------

    def selector(self, owner: Object) -> LabelSelector:
        return label_selector_from(owner["spec"].get("selector"))

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        owner = self._owners.store.get(*split_key(key))
        if owner is None:
            self._expectations.forget(key)
            return None
        selector = self.selector(owner)
        settled = self._expectations.satisfied(key)
        # Finished pods are neither counted nor adopted; terminating ones are counted in the status.
        claimed = await self._claimer.claim(
            owner,
            [p for p in owned_and_orphans(self._pods, owner) if not of_pods.finished(p)],
            selector,
            of_pods.active,
        )
        failure, error = None, None
        if settled and not deleting(owner):
            failure, error = await self._act(key, owner, [p for p in claimed if of_pods.active(p)])
        now = self._clock.now()
        template = owner["spec"].get("template") or {}
        labels = (template.get("metadata") or {}).get("labels") or {}
        status = status_of(owner, claimed, now, failure, labels, settled)
        if not self.tells_terminating:
            del status["terminatingReplicas"]
        await self._write_status(key, owner, status)
        if error is not None and not namespace_terminating(error):
            raise error
        minimum = owner["spec"].get("minReadySeconds") or 0
        if minimum and status.get("availableReplicas", 0) != status.get("readyReplicas", 0):
            return of_pods.next_available(claimed, minimum, now)
        return None

    async def _act(self, key: str, owner: Object, pods: list[Object]) -> tuple[tuple[str, str] | None, ApiError | None]:
        replicas = owner["spec"].get("replicas")
        wanted = 1 if replicas is None else replicas
        todo = plan(wanted, pods, self._related(owner), self._clock.now())
        if todo.create:
            error = await self._create(key, owner, todo.create)
            return (("FailedCreate", error.message) if error else None), error
        if todo.delete:
            error = await self._delete(key, owner, todo.delete)
            return (("FailedDelete", error.message) if error else None), error
        return None, None

    def _related(self, owner: Object) -> list[Object]:
        """Pods of all owners that share our controller: the deployment's other revisions, too."""
        reference = controller_of(owner)
        siblings = self._owners.store.by_index("controller", reference["uid"]) if reference else [owner]
        return [p for s in siblings for p in owned(self._pods, s)]

    async def _create(self, key: str, owner: Object, count: int) -> ApiError | None:
        pod = pod_from_template(owner["spec"]["template"], owner, self.gvr.group_version, self.kind)
        self._expectations.expect_creations(key, count)
        done = 0
        try:

            async def create(_: int) -> None:
                await self._control.create(pod, owner)

            done, error = await slow_start(count, create)
            return error
        finally:
            self._expectations.creation_observed(key, count - done)

    async def _delete(self, key: str, owner: Object, victims: list[Object]) -> ApiError | None:
        self._expectations.expect_deletions(key, (p["metadata"]["uid"] for p in victims))
        results = await asyncio.gather(*(self._control.delete(pod, owner) for pod in victims), return_exceptions=True)
        first: ApiError | None = None
        for pod, result in zip(victims, results, strict=True):
            if result is None:
                continue
            self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            if not isinstance(result, ApiError):
                raise result
            if result.code != 404:
                first = first or result
        return first

    async def _write_status(self, key: str, owner: Object, status: Object) -> None:
        self._told.remember(key, status)
        if _without_zeros(owner.get("status") or {}) == status:
            return
        self._pace.done(key)
        await self._client.update_status(self.gvr, {**owner, "status": status})
