"""CronJob: a Job at every time that its schedule names.

Nothing polls: each CronJob is looked at again at its next time. The name of a Job follows from its scheduled
time, so a second attempt after a crash finds the first one's.
"""

from __future__ import annotations

from shirube.api.errors import ApiError
from shirube.api.gvr import CRONJOBS, JOBS
from shirube.client.controller import Controller
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import cron_job_plan as planning
from shirube.controllers.context import Context
from shirube.controllers.cron_schedule import Schedule, UnknownTimeZone, UnparseableSchedule
from shirube.controllers.ownership import controller_of, deleting, index_by_controller, owned
from shirube.controllers.pod_control import namespace_terminating
from shirube.foundation.clock import rfc3339

_ACCOUNT = "cronjob-controller"


class CronJobController(Controller[str]):
    name = "cronjob-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._cron_jobs = context.informer(CRONJOBS)
        self._jobs = context.informer(JOBS)
        super().__init__(self._cron_jobs, self._jobs)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._clock = context.clock
        index_by_controller(self._jobs)
        self._cron_jobs.add_handler(self._enqueue, lambda _, new: self._enqueue(new))
        self._jobs.add_handler(self._job_changed, lambda _, new: self._job_changed(new), self._job_changed)

    def _enqueue(self, cron_job: Object) -> None:
        self.queue.add(key_of(cron_job))

    def _job_changed(self, job: Object) -> None:
        owner = controller_of(job)
        if owner is not None and owner["kind"] == "CronJob":
            self.queue.add(f"{job['metadata']['namespace']}/{owner['name']}")

    async def reconcile(self, key: str) -> float | None:
        cron_job = self._cron_jobs.store.get(*split_key(key))
        if cron_job is None:
            return None
        jobs = owned(self._jobs, cron_job)
        jobs += await self._not_seen_yet(cron_job, jobs)
        cron_job = await self._as_stored(cron_job, jobs)
        status, told = planning.refreshed(cron_job, jobs)
        if status != (cron_job.get("status") or {}):
            cron_job = await self._client.update_status(CRONJOBS, {**cron_job, "status": status})
        self._tell(cron_job, told)
        for job in planning.to_clean_up(cron_job, jobs):
            await self._delete(cron_job, job)
        if deleting(cron_job):
            return None
        schedule = self._schedule(cron_job)
        if schedule is None:
            return None
        active = (cron_job.get("status") or {}).get("active") or []
        todo = planning.plan(cron_job, schedule, len(active), self._clock.now())
        self._tell(cron_job, todo.told)
        if todo.start is not None:
            await self._start(cron_job, schedule, todo.start, jobs if todo.replace else [])
        return todo.again

    async def _as_stored(self, cron_job: Object, jobs: list[Object]) -> Object:
        """The CronJob, asked for anew when a running Job of its is not on its list: a Job just made is often seen
        before the status that lists it."""
        if not planning.unlisted(cron_job, jobs):
            return cron_job
        metadata = cron_job["metadata"]
        try:
            fresh = await self._client.get(CRONJOBS, metadata["name"], metadata["namespace"])
        except ApiError as error:
            if error.code != 404:
                raise
            return cron_job
        return fresh if fresh["metadata"]["uid"] == metadata["uid"] else cron_job

    async def _not_seen_yet(self, cron_job: Object, jobs: list[Object]) -> list[Object]:
        """Active Jobs that the cache does not hold are asked for: they may be younger than it."""
        seen, out = {j["metadata"]["uid"] for j in jobs}, []
        for one in (cron_job.get("status") or {}).get("active") or ():
            if one.get("uid") in seen:
                continue
            try:
                found = await self._client.get(JOBS, one["name"], cron_job["metadata"]["namespace"])
            except ApiError as error:
                if error.code != 404:
                    raise
                continue
            if found["metadata"]["uid"] == one.get("uid"):
                out.append(found)
        return out

    def _schedule(self, cron_job: Object) -> Schedule | None:
        spec = cron_job["spec"]
        try:
            return Schedule(spec["schedule"], spec.get("timeZone"))
        except UnknownTimeZone as error:
            self._recorder.event(
                cron_job, WARNING, "UnknownTimeZone", f'invalid timeZone: "{spec["timeZone"]}": {error}'
            )
        except UnparseableSchedule as error:
            message = f'unparseable schedule: "{spec["schedule"]}" : {error}'
            self._recorder.event(cron_job, WARNING, "UnparseableSchedule", message)
        return None

    def _tell(self, cron_job: Object, told: list[planning.Told]) -> None:
        for kind, reason, message in told:
            self._recorder.event(cron_job, kind, reason, message)

    async def _start(self, cron_job: Object, schedule: Schedule, at: float, running: list[Object]) -> None:
        status = cron_job.get("status") or {}
        active = list(status.get("active") or ())
        wanted = planning.new_job(cron_job, schedule, at)
        name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
        for job in planning.to_replace(cron_job, running, name):
            await self._delete(cron_job, job)
            active = [r for r in active if r.get("uid") != job["metadata"]["uid"]]
        try:
            made = await self._client.create(JOBS, wanted)
            self._recorder.event(cron_job, NORMAL, "SuccessfulCreate", f"Created job {name}")
        except ApiError as error:
            if namespace_terminating(error):
                return  # nothing can be made there any more, not even an event
            if error.reason != "AlreadyExists":
                self._recorder.event(cron_job, WARNING, "FailedCreate", f"Error creating job: {error.message}")
                raise
            made = await self._client.get(JOBS, name, namespace)
            owner = controller_of(made)
            if owner is None or owner["uid"] != cron_job["metadata"]["uid"]:
                message = f"Error creating job: {error.message}"
                self._recorder.event(cron_job, WARNING, "FailedCreate", message)
                return  # somebody else's has the name: the next time has another one
        if not planning.finish_kind(made) and all(r.get("uid") != made["metadata"]["uid"] for r in active):
            active.append(planning.reference(made))
        status = {**status, "active": active, "lastScheduleTime": rfc3339(at)}
        await self._client.update_status(CRONJOBS, {**cron_job, "status": status})

    async def _delete(self, cron_job: Object, job: Object) -> None:
        if deleting(job):
            return  # told to go, and held by somebody
        metadata = job["metadata"]
        try:
            await self._client.delete(
                JOBS,
                metadata["name"],
                metadata["namespace"],
                propagation_policy="Background",
                preconditions={"uid": metadata["uid"]},
            )
        except ApiError as error:
            if error.code == 404:
                return
            self._recorder.event(cron_job, WARNING, "FailedDelete", f"Deleted job: {error.message}")
            raise
        self._recorder.event(cron_job, NORMAL, "SuccessfulDelete", f"Deleted job {metadata['name']}")
