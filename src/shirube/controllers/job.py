"""Job: pods run until enough of them have succeeded.

`job_view` reads the pods, `job_plan` decides, `job_tracking` counts; this module reads the caches and carries
out, in the order that makes counting safe: pods are made or deleted, the status with the uids to count is
stored, then finalizers are taken off. Pods whose Job is over or gone lose their finalizer, too, or they could
never be deleted. A pod that is taken away uncounted loses its finalizer and gets a mark (`LET_GO`) just before; both
happen only to the pod as it was seen. One that is found like that, alive or with an end that nobody has counted,
was not deleted (we died, it changed, somebody forbade it): it is tracked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from shirube.api.errors import ApiError
from shirube.api.gvr import JOBS, PODS
from shirube.api.selectors import LabelSelector, label_selector_from
from shirube.client.controller import Controller
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import job_plan as planning
from shirube.controllers import pods as of_pods
from shirube.controllers.context import Context
from shirube.controllers.expectations import Expectations
from shirube.controllers.job_back_off import Failures
from shirube.controllers.job_pod import new_pod
from shirube.controllers.job_tracking import Counting, count
from shirube.controllers.job_view import FINALIZER, LET_GO, View, astray, indexed, per_index, tracked
from shirube.controllers.ownership import (
    BY_CONTROLLER,
    Claimer,
    controller_of,
    deleting,
    index_by_controller,
    owned_and_orphans,
)
from shirube.controllers.pod_control import PodControl, namespace_terminating, slow_start
from shirube.foundation.clock import rfc3339

_ACCOUNT = "job-controller"
_MANAGER = "kubernetes.io/job-controller"
_ORPHAN = "orphan:"
_AT_ONCE = 32


class JobController(Controller[str]):
    name = "job-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._jobs = context.informer(JOBS)
        self._pods = context.informer(PODS)
        super().__init__(self._jobs, self._pods)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._clock = context.clock
        self._control = PodControl(self._client, self._recorder)
        self._claimer = Claimer(self._client, JOBS, "Job", PODS)
        self._expectations = Expectations(self._clock)
        self._written: dict[str, int] = {}  # resourceVersion of the last status that we stored
        self._failures: dict[str, Failures] = {}  # by the Job's uid, while it is not over
        index_by_controller(self._pods)
        self._jobs.add_handler(self._enqueue, lambda _, new: self._enqueue(new), self._job_deleted)
        self._pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)

    # -- what wakes us -------------------------------------------------------------------------------------

    def _enqueue(self, job: Object) -> None:
        self.queue.add(key_of(job))

    def _job_deleted(self, job: Object) -> None:
        self._expectations.forget(key_of(job))
        self._written.pop(key_of(job), None)
        self._failures.pop(job["metadata"]["uid"], None)
        for pod in self._pods.store.by_index(BY_CONTROLLER, job["metadata"]["uid"]):
            self._enqueue_orphan(pod)

    def _enqueue_orphan(self, pod: Object) -> None:
        if tracked(pod):
            self.queue.add(_ORPHAN + key_of(pod))

    def _job_of(self, pod: Object) -> Object | None:
        reference = controller_of(pod)
        if reference is None or not _names_a_job(reference):
            return None
        job = self._jobs.store.get(pod["metadata"]["namespace"], reference["name"])
        return job if job is not None and job["metadata"]["uid"] == reference["uid"] else None

    def _wake(self, pod: Object) -> None:
        job = self._job_of(pod)
        if job is not None:
            self._enqueue(job)
            if planning.over(job):
                self._enqueue_orphan(pod)
            return
        for one in self._adopters(pod):
            self._enqueue(one)
        self._enqueue_orphan(pod)

    def _adopters(self, pod: Object) -> list[Object]:
        """Jobs that would take a pod without a controller as theirs."""
        if controller_of(pod) is not None or not of_pods.active(pod):
            return []
        labels = pod["metadata"].get("labels") or {}
        return [
            job
            for job in self._jobs.store.list(pod["metadata"]["namespace"])
            if label_selector_from(job["spec"].get("selector")).matches(labels)
            and _ours(job)
            and not planning.over(job)
            and not deleting(job)
        ]

    def _pod_added(self, pod: Object) -> None:
        if (job := self._job_of(pod)) is not None:
            self._expectations.creation_observed(key_of(job))
            if deleting(pod):
                self._expectations.deletion_observed(key_of(job), pod["metadata"]["uid"])
        self._wake(pod)

    def _pod_updated(self, old: Object, new: Object) -> None:
        if deleting(new) and (job := self._job_of(new)) is not None:
            self._expectations.deletion_observed(key_of(job), new["metadata"]["uid"])
        if controller_of(old) != controller_of(new) and (before := self._job_of(old)) is not None:
            self._enqueue(before)
        self._wake(new)

    def _pod_deleted(self, pod: Object) -> None:
        if (job := self._job_of(pod)) is not None:
            self._expectations.deletion_observed(key_of(job), pod["metadata"]["uid"])
            self._enqueue(job)

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_ORPHAN):
            await self._release_orphan(key.removeprefix(_ORPHAN))
            return None
        job = self._jobs.store.get(*split_key(key))
        if job is None:
            self._expectations.forget(key)
            return None
        if not _ours(job):
            return None
        if planning.over(job):  # it may have been ended by another hand
            self._failures.pop(job["metadata"]["uid"], None)
            for pod in self._pods.store.by_index(BY_CONTROLLER, job["metadata"]["uid"]):
                self._enqueue_orphan(pod)
            return None
        if int(job["metadata"]["resourceVersion"]) < self._written.get(key, 0):
            return None  # counters older than the pods' finalizers would count wrong; the newer one wakes us
        selector: LabelSelector = label_selector_from(job["spec"].get("selector"))
        settled = self._expectations.satisfied(key)
        candidates = owned_and_orphans(self._pods, job)
        pods = await self._claimer.claim(job, candidates, selector, of_pods.active, FINALIZER)
        if settled and not deleting(job):
            pods = [await self._track_again(p) if astray(p) else p for p in pods]
        return await self._advance(key, job, View.of(job, pods), settled)

    async def _release_orphan(self, key: str) -> None:
        """A pod that no Job counts any more must not be held."""
        pod = self._pods.store.get(*split_key(key))
        if pod is None or not tracked(pod):
            return
        reference, job = controller_of(pod), self._job_of(pod)
        if reference is not None and not _names_a_job(reference):
            return  # whoever owns it may use the same finalizer
        if (job is None or (_ours(job) and planning.over(job))) and not self._adopters(pod):
            await self._release(pod)

    async def _advance(self, key: str, job: Object, view: View, settled: bool) -> float | None:
        now = self._clock.now()
        before: Object = job.get("status") or {}
        status, event = planning.timed(job, before, now), ""
        end = planning.ending({**job, "status": status}, view, now)
        if end is not None:  # a Job that ends while it is suspended has run, too
            status = planning.started(status, before, now)
        elif settled and not deleting(job):
            status, event = planning.suspension(job, status, now)
        job = {**job, "status": status}
        todo, error, made = planning.Plan(), None, 0
        failures = self._failures.setdefault(job["metadata"]["uid"], Failures()).look(view)
        if deleting(job):
            pass
        elif end is not None:  # what ran when the Job had succeeded has not failed
            await self._delete(key, job, view.active, count_them=end.kind == "Failed")
        elif settled:
            todo = planning.plan(job, view, now, failures)
            await self._delete(key, job, todo.delete, count_them=False)
            made, error = await self._create(key, job, view, todo)
        counting = count(job, view, finishing=end.kind if end else "")
        ready = sum(1 for p in view.active if of_pods.ready(p))
        gone = len(view.active) if end and not deleting(job) else len(todo.delete)
        if settled or end:
            counting.status["active"] = len(view.active) + made - gone
            counting.status["ready"] = ready if not gone else min(ready, len(view.active) - gone)
            counting.status["terminating"] = len(view.terminating) + gone
        await self._report(job, view, counting, end, event)
        await self._release_all(counting.release)
        if error is not None and not namespace_terminating(error):
            raise error
        waits = [w for w in (todo.again, planning.deadline_left(job, now)) if w is not None and w > 0]
        if counting.more:
            waits.append(0.0)
        return min(waits) + 0.01 if waits else None

    # -- acting ---------------------------------------------------------------------------------------------

    async def _create(self, key: str, job: Object, view: View, todo: planning.Plan) -> tuple[int, ApiError | None]:
        if not todo.create:
            return 0, None
        self._expectations.expect_creations(key, todo.create)
        done = 0
        try:

            async def create(number: int) -> None:
                index = todo.indexes[number] if indexed(job) else None
                failures = planning.index_failures(view, index) if index is not None else (0, 0)
                await self._control.create(new_pod(job, index, failures), job)

            done, error = await slow_start(todo.create, create)
            return done, error
        finally:
            self._expectations.creation_observed(key, todo.create - done)

    async def _delete(self, key: str, job: Object, victims: list[Object], *, count_them: bool) -> None:
        """Pods that are not wanted any more are let go first: they have neither succeeded nor failed."""
        self._expectations.expect_deletions(key, (p["metadata"]["uid"] for p in victims))

        async def one(pod: Object) -> None:
            if count_them:
                await self._control.delete(pod, job)
            else:
                await self._control.delete(await self._let_go(pod), job, unchanged=True)

        results = await _bounded(one, victims)
        first: BaseException | None = None
        for pod, result in zip(victims, results, strict=True):
            if result is None:
                continue
            self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            if not (isinstance(result, ApiError) and result.code == 404):
                first = first or result
        if first is not None:
            raise first

    async def _let_go(self, pod: Object) -> Object:
        """Raises Conflict when it is not as we saw it: it may have ended, which counts."""
        version = pod["metadata"]["resourceVersion"]
        finalizers = {"$deleteFromPrimitiveList/finalizers": [FINALIZER]} if tracked(pod) else {}
        return await self._patch(pod, {"resourceVersion": version, "annotations": {LET_GO: "true"}, **finalizers})

    async def _track_again(self, pod: Object) -> Object:
        return await self._patch(pod, {"finalizers": [FINALIZER], "annotations": {LET_GO: None}})

    async def _patch(self, pod: Object, change: Object) -> Object:
        metadata = pod["metadata"]
        patch = {"metadata": {"uid": metadata["uid"], **change}}
        return await self._client.patch(PODS, metadata["name"], patch, metadata["namespace"], type="strategic")

    async def _release_all(self, pods: list[Object]) -> None:
        for result in await _bounded(self._release, pods):
            if result is not None:
                raise result

    async def _release(self, pod: Object) -> None:
        if not tracked(pod):
            return
        try:
            await self._patch(pod, {"$deleteFromPrimitiveList/finalizers": [FINALIZER]})
        except ApiError as error:
            if error.code != 404 and not (error.code == 409 and "uid" in error.message.lower()):
                raise

    # -- reporting ------------------------------------------------------------------------------------------

    async def _report(
        self, job: Object, view: View, counting: Counting, end: planning.Ending | None, event: str
    ) -> None:
        now, status = self._clock.now(), counting.status
        if end is not None and not deleting(job):
            status = planning.with_condition(status, end.interim, "True", end.reason, end.message, now)
            if planning.may_end(job, status, view):
                status = planning.with_condition(status, end.kind, "True", end.reason, end.message, now)
                if end.kind == "Complete":
                    status = {**status, "completionTime": rfc3339(now)}
        stored = self._jobs.store.get(job["metadata"]["namespace"], job["metadata"]["name"])
        status = planning.without_zeros({**status, "terminating": status.get("terminating")})
        before = (stored or {}).get("status") or {}
        if status != planning.without_zeros(before):
            shown = {**status, "ready": status.get("ready", 0), "terminating": status.get("terminating", 0)}
            shown.setdefault("uncountedTerminatedPods", {})
            if per_index(job):
                shown.setdefault("failedIndexes", "")
            stored = await self._client.update_status(JOBS, {**job, "status": shown})
            self._written[key_of(job)] = int(stored["metadata"]["resourceVersion"])
        if event:
            self._recorder.event(job, NORMAL, event, f"Job {event.lower()}")
        for pod, message in counting.ignored:
            self._recorder.event(job, NORMAL, "PodFailurePolicy", f"{key_of(pod)}: {message}")
        if any(c["type"] == "Complete" for c in status.get("conditions") or ()):
            if planning.too_many(job, status):
                message = "Too many succeeded pods running after completion count reached"
                self._recorder.event(job, WARNING, "TooManySucceededPods", message)
            self._recorder.event(job, NORMAL, "Completed", "Job completed")
        elif end is not None and any(c["type"] == "Failed" for c in status.get("conditions") or ()):
            self._recorder.event(job, WARNING, end.reason, end.message)


def _names_a_job(reference: Object) -> bool:
    return bool(reference["kind"] == "Job" and reference["apiVersion"] == JOBS.group_version)


def _ours(job: Object) -> bool:
    """Not managed by somebody else."""
    return job["spec"].get("managedBy") in (None, _MANAGER)


async def _bounded(work: Callable[[Object], Awaitable[None]], pods: Iterable[Object]) -> list[BaseException | None]:
    """`work` on all, a few at once; what each raised."""
    pods = list(pods)
    out: list[BaseException | None] = []
    for start in range(0, len(pods), _AT_ONCE):
        batch = pods[start : start + _AT_ONCE]
        out += await asyncio.gather(*(work(p) for p in batch), return_exceptions=True)
    return out
