"""PodDisruptionBudget status: how many pods may be evicted just now.

The eviction subresource takes `disruptionsAllowed` down and notes the pod in `disruptedPods`; this controller
counts anew whenever pods change. A noted pod counts as gone for two minutes, then it was not deleted after all.
A `DisruptionTarget` condition that nothing followed is taken back after as long.

Follows upstream's `disruption.go` and https://kubernetes.io/docs/tasks/run-application/configure-pdb/.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from shirube.api.errors import ApiError
from shirube.api.gvr import (
    DEPLOYMENTS,
    GVR,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
)
from shirube.api.selectors import LabelSelector, label_selector_from
from shirube.client.controller import Controller
from shirube.client.discovery import Served, discover
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import Informer, key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers.context import Context
from shirube.controllers.deployment_rollout import int_or_percent
from shirube.controllers.ownership import controller_of, deleting
from shirube.controllers.pace import Pace
from shirube.controllers.pod_selection import filed_under, filings, index_labels, selected
from shirube.controllers.told import Told
from shirube.foundation.clock import parse_rfc3339, rfc3339

_ACCOUNT = "disruption-controller"
DELETION_SECONDS = 120.0
AGAIN_SECONDS = 30.0  # after a failure
_POD = "pod:"
_BY_SELECTOR = "selector"
_APPS = ("apps", "extensions")
_DEPLOYMENTS = tuple(("Deployment", group) for group in _APPS)
_UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of "
    "the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please "
    'set ".spec.minAvailable" field of the PDB to an integer value.'
)


def selector_of(budget: Object) -> LabelSelector | None:
    """None matches nothing; an empty selector every pod of the namespace."""
    selector = (budget.get("spec") or {}).get("selector")
    return None if selector is None else label_selector_from(selector)


def desired(budget: Object, pods: int, scale: int) -> tuple[int, int]:
    """(expected pods, desired healthy). `scale` is what the pods' controllers ask for together."""
    spec = budget.get("spec") or {}
    if (most := spec.get("maxUnavailable")) is not None:
        return scale, max(scale - int_or_percent(most, scale, round_up=True), 0)
    least = spec.get("minAvailable")
    if least is None:
        return 0, 0  # one that says neither expects nothing, and so allows nothing
    if isinstance(least, int):
        return pods, least
    return scale, int_or_percent(least, scale, round_up=True)


def needs_scale(budget: Object) -> bool:
    spec = budget.get("spec") or {}
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


@dataclass(slots=True)
class Disrupted:
    """Pods whose eviction was granted: still to vanish, or never deleted."""

    waiting: dict[str, str] = field(default_factory=dict)
    kept: list[Object] = field(default_factory=list)
    again: float | None = None


def disrupted(budget: Object, pods: Iterable[Object], now: float) -> Disrupted:
    noted = (budget.get("status") or {}).get("disruptedPods") or {}
    out = Disrupted()
    for pod in pods:
        name = pod["metadata"]["name"]
        if name not in noted or deleting(pod):
            continue
        left = parse_rfc3339(noted[name]) + DELETION_SECONDS - now if noted[name] else 0.0
        if left <= 0:
            out.kept.append(pod)
        else:
            out.waiting[name] = noted[name]
            out.again = left if out.again is None else min(out.again, left)
    return out


def status_of(budget: Object, pods: list[Object], expected: int, wanted: int, gone: Disrupted, now: float) -> Object:
    healthy = sum(1 for p in pods if of_pods.ready(p) and not deleting(p) and p["metadata"]["name"] not in gone.waiting)
    allowed = max(healthy - wanted, 0) if expected > 0 else 0
    old = budget.get("status") or {}
    status: Object = {
        "currentHealthy": healthy,
        "desiredHealthy": wanted,
        "expectedPods": expected,
        "disruptionsAllowed": allowed,
        "observedGeneration": int(budget["metadata"].get("generation") or 0),
    }
    if gone.waiting:
        status["disruptedPods"] = gone.waiting
    reason = "SufficientPods" if allowed else "InsufficientPods"
    status["conditions"] = _with_allowed(old, "True" if allowed else "False", reason, "", status, now)
    return status


def failed_status(budget: Object, message: str, now: float) -> Object:
    """When it cannot be told, nothing may be evicted."""
    old = {**(budget.get("status") or {}), "disruptionsAllowed": 0}
    return {**old, "conditions": _with_allowed(old, "False", "SyncFailed", message, old, now)}


def _with_allowed(old: Object, value: str, reason: str, message: str, status: Object, now: float) -> list[Object]:
    conditions = [c for c in old.get("conditions") or () if c["type"] != "DisruptionAllowed"]
    known = of_pods.condition({"status": old}, "DisruptionAllowed")
    since = known.get("lastTransitionTime") if known is not None and known["status"] == value else None
    new: Object = {
        "type": "DisruptionAllowed",
        "status": value,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since or rfc3339(now),
    }
    if status.get("observedGeneration"):
        new["observedGeneration"] = status["observedGeneration"]
    return [*conditions, new]


def stale_target(pod: Object, now: float) -> float | None:
    """Seconds until the pod's DisruptionTarget condition is out of date; None without one. A node agent's is never: its
    pods may take as long as they like to end."""
    found = of_pods.condition(pod, "DisruptionTarget")
    if found is None or found["status"] != "True" or deleting(pod) or of_pods.finished(pod):
        return None
    if found.get("reason") == "TerminationByKubelet":
        return None
    since = found.get("lastTransitionTime")  # without one it was written by hand
    return parse_rfc3339(since) + DELETION_SECONDS - now if since else 0.0


def _shown(pod: Object) -> tuple[object, ...]:
    """What of a pod a budget, or a stale condition, is about."""
    metadata = pod["metadata"]
    return (
        metadata.get("labels"),
        metadata.get("deletionTimestamp"),
        metadata.get("ownerReferences"),
        of_pods.ready(pod),
        of_pods.finished(pod),
        of_pods.condition(pod, "DisruptionTarget"),
    )


def _group(reference: Object) -> str:
    return str(reference["apiVersion"]).rpartition("/")[0]


class _NoScale(Exception):
    pass


class DisruptionController(Controller[str]):
    name = "disruption-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        self._budgets = context.informer(PODDISRUPTIONBUDGETS)
        self._pods = context.informer(PODS)
        index_labels(self._pods)
        self._budgets.add_index(_BY_SELECTOR, lambda b: filed_under(b["metadata"]["namespace"], selector_of(b)))
        self._owners: dict[str, Informer] = {
            "ReplicaSet": context.informer(REPLICASETS),
            "Deployment": context.informer(DEPLOYMENTS),
            "StatefulSet": context.informer(STATEFULSETS),
            "ReplicationController": context.informer(REPLICATIONCONTROLLERS),
        }
        super().__init__(self._budgets, self._pods, *self._owners.values())
        self._client = context.client_of(_ACCOUNT)
        self._reader = context.reader
        self._recorder = context.recorder("controllermanager", _ACCOUNT)
        self._clock = context.clock
        self._served: Served | None = None
        self._told = Told()
        self._pace = Pace(self._clock)
        self._budgets.add_handler(self._added, self._updated, lambda budget: self._told.forget(key_of(budget)))
        self._pods.add_handler(self._pod_changed, self._pod_updated, self._pod_deleted)
        for informer in self._owners.values():
            informer.add_handler(on_update=self._owner_updated)

    # -- what wakes us -------------------------------------------------------------------------------------

    def _enqueue(self, budget: Object) -> None:
        self.queue.add(key_of(budget))

    def _added(self, budget: Object) -> None:
        self._enqueue(budget)
        if (selector := selector_of(budget)) is not None:
            for pod in sorted(selected(self._pods, budget["metadata"]["namespace"], selector), key=key_of):
                self._tell_of_several(pod, self._of(pod))

    def _updated(self, old: Object, new: Object) -> None:
        if not self._told.echo(old, new):
            self._enqueue(new)

    def _of(self, pod: Object) -> list[Object]:
        """The budgets that select it."""
        labels = pod["metadata"].get("labels") or {}
        return [
            budget
            for place in filings(pod)
            for budget in self._budgets.store.by_index(_BY_SELECTOR, place)
            if (selector := selector_of(budget)) is not None and selector.matches(labels)
        ]

    def _tell_of_several(self, pod: Object, budgets: list[Object]) -> None:
        """Nobody can evict such a pod: the eviction subresource goes by one budget, and refuses."""
        if len(budgets) > 1:
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            chosen = min(budget["metadata"]["name"] for budget in budgets)
            about = f'Pod "{namespace}"/"{name}" matches multiple PodDisruptionBudgets.'
            message = f'{about}  Chose "{chosen}" arbitrarily.'
            self._recorder.event(pod, WARNING, "MultiplePodDisruptionBudgets", message)

    def _wake(self, pod: Object, *, can_wait: bool = False) -> list[Object]:
        budgets = self._of(pod)
        for budget in budgets:
            key = key_of(budget)
            self.queue.add_after(key, self._pace.left(key) if can_wait else 0.0)
        return budgets

    def _pod_changed(self, pod: Object, *, can_wait: bool = False) -> None:
        self._tell_of_several(pod, self._wake(pod, can_wait=can_wait))
        if (left := stale_target(pod, self._clock.now())) is not None:
            self.queue.add_after(_POD + key_of(pod), max(left, 0.0))

    def _pod_deleted(self, pod: Object) -> None:
        self._wake(pod)

    def _pod_updated(self, old: Object, new: Object) -> None:
        if _shown(old) == _shown(new):
            return
        if old["metadata"].get("labels") != new["metadata"].get("labels"):
            self._wake(old)
        self._pod_changed(new, can_wait=of_pods.became_ready(old, new))

    def _owner_updated(self, old: Object, new: Object) -> None:
        """Those budgets that count the owner's pods; upstream's look at owners only when a pod changes."""
        spec = new.get("spec") or {}
        if (old.get("spec") or {}).get("replicas") == spec.get("replicas"):
            return
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        for budget in self._budgets.store.list(new["metadata"]["namespace"]):
            if needs_scale(budget) and (selector := selector_of(budget)) is not None and selector.matches(labels):
                self._enqueue(budget)

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_POD):
            return await self._take_target_back(key.removeprefix(_POD))
        budget = self._budgets.store.get(*split_key(key))
        if budget is None or deleting(budget):
            return None
        now, selector = self._clock.now(), selector_of(budget)
        pods = selected(self._pods, budget["metadata"]["namespace"], selector) if selector is not None else []
        if not pods:
            self._recorder.event(budget, NORMAL, "NoPods", "No matching pods found")
        try:
            scale = await self._scale(budget, pods) if needs_scale(budget) else 0
        except (_NoScale, ApiError) as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            self._recorder.event(budget, WARNING, "CalculateExpectedPodCountFailed", message)
            await self._write(budget, failed_status(budget, str(error), now))
            return AGAIN_SECONDS
        expected, wanted = desired(budget, len(pods), scale)
        gone = disrupted(budget, pods, now)
        for pod in gone.kept:
            message = f"Pod was expected by PDB {key} to be deleted but it wasn't"
            self._recorder.event(pod, WARNING, "NotDeleted", message)
        await self._write(budget, status_of(budget, pods, expected, wanted, gone, now))
        return gone.again

    async def _write(self, budget: Object, status: Object) -> None:
        self._told.remember(key_of(budget), status)
        if status != budget.get("status"):
            self._pace.done(key_of(budget))
            await self._client.update_status(PODDISRUPTIONBUDGETS, {**budget, "status": status})

    async def _scale(self, budget: Object, pods: list[Object]) -> int:
        """What the controllers of the pods ask for together; each is counted once."""
        scales: dict[str, int] = {}  # by the topmost controller
        asked: set[str] = set()
        unmanaged = False
        for pod in pods:
            reference = controller_of(pod)
            if reference is None:
                unmanaged = True
            elif reference["uid"] not in asked:
                asked.add(reference["uid"])
                uid, scale = await self._scale_of(pod["metadata"]["namespace"], reference)
                scales[uid] = scale
        if unmanaged:
            self._recorder.event(budget, WARNING, "UnmanagedPods", _UNMANAGED.format(selector_of(budget)))
        return sum(scales.values())

    async def _scale_of(self, namespace: str, reference: Object) -> tuple[str, int]:
        """(uid of the topmost controller, its replicas)."""
        group, kind = _group(reference), reference["kind"]
        if kind not in self._owners or group not in (_APPS if kind != "ReplicationController" else ("",)):
            return reference["uid"], await self._scale_subresource(namespace, reference)
        owner = self._owner(namespace, reference)
        if owner is None:
            return reference["uid"], 0
        above = controller_of(owner)
        if kind == "ReplicaSet" and above is not None and (above["kind"], _group(above)) in _DEPLOYMENTS:
            owner = self._owner(namespace, above) or owner  # one that is gone has let its ReplicaSet go
        replicas = (owner.get("spec") or {}).get("replicas")
        return owner["metadata"]["uid"], 1 if replicas is None else int(replicas)

    def _owner(self, namespace: str, reference: Object) -> Object | None:
        found = self._owners[reference["kind"]].store.get(namespace, reference["name"])
        return found if found is not None and found["metadata"]["uid"] == reference["uid"] else None

    async def _scale_subresource(self, namespace: str, reference: Object) -> int:
        served = await self._find(reference)
        what = f"{reference['apiVersion']} {reference['kind']}"
        if served is None:
            raise _NoScale(f"{what} is not served")
        try:
            scale = await self._client.get(served, reference["name"], namespace, subresource="scale")
        except ApiError as error:
            if error.code != 404:
                raise
            if await self._can_scale(served):
                return 0  # gone itself: it asks for none
            name = f"{served.resource}.{served.group}".rstrip(".")
            raise _NoScale(f"{name} does not implement the scale subresource") from error
        return int((scale.get("spec") or {}).get("replicas") or 0)

    async def _can_scale(self, served: GVR) -> bool:
        root = f"/apis/{served.group_version}" if served.group else f"/api/{served.version}"
        document = orjson.loads(await self._reader.raw("GET", root))
        return any(r["name"] == f"{served.resource}/scale" for r in document.get("resources") or ())

    async def _find(self, reference: Object) -> GVR | None:
        for fresh in (False, True):
            if fresh or self._served is None:
                self._served = await discover(self._reader)
            found = self._served.by_kind(reference["apiVersion"], reference["kind"])
            if found is not None:
                return found.gvr
        return None

    async def _take_target_back(self, key: str) -> float | None:
        pod = self._pods.store.get(*split_key(key))
        if pod is None or (left := stale_target(pod, self._clock.now())) is None:
            return None
        if left > 0:
            return left
        metadata = pod["metadata"]
        condition = {
            "type": "DisruptionTarget",
            "status": "False",
            "reason": None,
            "message": None,
            "lastTransitionTime": rfc3339(self._clock.now()),
        }
        patch = {
            "metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
            "status": {"conditions": [condition]},
        }
        try:
            await self._client.patch(
                PODS, metadata["name"], patch, metadata["namespace"], type="strategic", subresource="status"
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None
