"""CronJob, the deciding half: is a Job due, which old ones go, what the status says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

from shirube.client.rest import Object
from shirube.controllers import pods as of_objects
from shirube.controllers.cron_schedule import Schedule
from shirube.controllers.job_plan import held
from shirube.controllers.ownership import controller_reference
from shirube.foundation.clock import parse_rfc3339

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
TOO_MANY = 100
Told = tuple[str, str, str]  # type, reason, message of an event


def finish_kind(job: Object) -> str:
    """Complete, Failed or ""."""
    return next((kind for kind in ("Complete", "Failed") if held(job, kind)), "")


def reference(job: Object) -> Object:
    metadata = job["metadata"]
    out = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "namespace": metadata["namespace"]}
    return {**out, "uid": metadata["uid"], "resourceVersion": metadata.get("resourceVersion", "")}


def unlisted(cron_job: Object, jobs: list[Object]) -> list[Object]:
    """Jobs of its that run, but are not among its active ones."""
    listed = {r.get("uid") for r in (cron_job.get("status") or {}).get("active") or ()}
    return [job for job in jobs if job["metadata"]["uid"] not in listed and not finish_kind(job)]


def refreshed(cron_job: Object, jobs: list[Object]) -> tuple[Object, list[Told]]:
    """The status with finished and vanished Jobs taken off its active list, and the events that tell so."""
    status = dict(cron_job.get("status") or {})
    active = list(status.get("active") or ())
    by_uid = {j["metadata"]["uid"]: j for j in jobs}
    told: list[Told] = []
    listed = {r.get("uid") for r in active}
    for job in sorted(jobs, key=of_objects.created):
        name, kind = job["metadata"]["name"], finish_kind(job)
        known = job["metadata"]["uid"] in listed
        if not known and not kind:
            message = f"Saw a job that the controller did not create or forgot: {name}"
            told.append(("Warning", "UnexpectedJob", message))
        elif known and kind:
            active = [r for r in active if r.get("uid") != job["metadata"]["uid"]]
            told.append(("Normal", "SawCompletedJob", f"Saw completed job: {name}, condition: {kind}"))
        if kind == "Complete":
            ended = (job.get("status") or {}).get("completionTime")
            if ended and ended > (status.get("lastSuccessfulTime") or ""):
                status["lastSuccessfulTime"] = ended
    for one in list(active):
        if one.get("uid") not in by_uid:
            active.remove(one)
            told.append(("Normal", "MissingJob", f"Active job went missing: {one['name']}"))
    status.pop("active", None)
    if active:
        status["active"] = active
    return status, told


def _begun(job: Object) -> tuple[bool, str, str]:
    """Those that never began count as the youngest."""
    start = (job.get("status") or {}).get("startTime") or ""
    return not start, start, job["metadata"]["name"]


def to_clean_up(cron_job: Object, jobs: list[Object]) -> list[Object]:
    """Finished Jobs beyond the history limits, oldest first."""
    spec, out = cron_job["spec"], []
    for kind, key in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        limit = spec.get(key)
        if limit is None:
            continue
        finished = [j for j in jobs if finish_kind(j) == kind]
        finished.sort(key=_begun)
        out += finished[: max(len(finished) - int(limit), 0)]
    return out


@dataclass(slots=True)
class Plan:
    start: float | None = None  # the scheduled time of the Job to make
    replace: bool = False  # delete those that run first
    again: float | None = None  # seconds until the next time
    told: list[Told] = field(default_factory=list)


def plan(cron_job: Object, schedule: Schedule, active: int, now: float) -> Plan:
    spec, status = cron_job["spec"], cron_job.get("status") or {}
    if spec.get("suspend") or cron_job["metadata"].get("deletionTimestamp"):
        return Plan()
    if schedule.never:
        why = "time difference between two schedules is less than 1 second"  # upstream's words for 31 February
        return Plan(told=[("Warning", "InvalidSchedule", f"invalid schedule: {spec['schedule']} : {why}")])
    following = schedule.after(now)
    todo = Plan(again=max(following - now, 0.0) + 0.05 if following is not None else None)
    last = status.get("lastScheduleTime")
    since = parse_rfc3339(last) if last else of_objects.created(cron_job)
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None:
        since = max(since, now - float(deadline))
    due = schedule.latest(since, now)
    if due is None:
        return todo
    if schedule.missed(since, now, TOO_MANY + 1) > TOO_MANY:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        todo.told.append(("Warning", "TooManyMissedTimes", message))
    if deadline is not None and due + float(deadline) < now:
        when = format_datetime(datetime.fromtimestamp(due, UTC))  # upstream's form here, unlike everywhere else
        todo.told.append(("Warning", "MissSchedule", f"Missed scheduled time to start a job: {when}"))
        return todo
    policy = spec.get("concurrencyPolicy")
    if policy == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        todo.told.append(("Normal", "JobAlreadyActive", message))
        return todo
    todo.start, todo.replace = due, policy == "Replace"
    return todo


def to_replace(cron_job: Object, jobs: list[Object], name: str) -> list[Object]:
    """Running Jobs on its list, which give way to the one of this name. (The cache may not know yet that this time was
    dealt with.) Those that people made from it by hand stay."""
    aside = {job["metadata"]["uid"] for job in unlisted(cron_job, jobs)}
    return [
        job
        for job in jobs
        if job["metadata"]["name"] != name and job["metadata"]["uid"] not in aside and not finish_kind(job)
    ]


def job_name(cron_job: Object, at: float) -> str:
    """The same for the same scheduled time, so that none is ever started twice."""
    return f"{cron_job['metadata']['name']}-{int(at) // 60}"


def new_job(cron_job: Object, schedule: Schedule, at: float) -> Object:
    template = cron_job["spec"]["jobTemplate"]
    described = template.get("metadata") or {}
    stamp = datetime.fromtimestamp(at, schedule.zone).isoformat().replace("+00:00", "Z")
    metadata: Object = {
        "name": job_name(cron_job, at),
        "namespace": cron_job["metadata"]["namespace"],
        "labels": dict(described.get("labels") or {}),
        "annotations": {**(described.get("annotations") or {}), SCHEDULED: stamp},
        "ownerReferences": [controller_reference(cron_job, "batch/v1", "CronJob")],
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]}
