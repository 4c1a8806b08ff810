"""Job, the deciding half: is it over and why, which pods to make and to delete, and its conditions.

Follows upstream's `job_controller.go`; reasons and messages are upstream's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from shirube.client.rest import Object
from shirube.controllers import job_indexes
from shirube.controllers import pods as of_pods
from shirube.controllers.job_back_off import Failures, delay
from shirube.controllers.job_policy import judge_failure, succeeded_by_policy
from shirube.controllers.job_view import (
    FAILURES,
    IGNORED_FAILURES,
    View,
    count_annotation,
    finished_at,
    indexed,
    only_failed_are_replaced,
    per_index,
    pod_failed,
    tracked,
)
from shirube.controllers.ownership import deleting
from shirube.foundation.clock import parse_rfc3339, rfc3339

MOST_AT_ONCE = 500
_UNLIMITED = 2**31 - 1


class Ending(NamedTuple):
    """`kind` is Failed or Complete."""

    kind: str
    reason: str
    message: str

    @property
    def interim(self) -> str:
        return "FailureTarget" if self.kind == "Failed" else "SuccessCriteriaMet"


def held(job: Object, kind: str) -> Object | None:
    """The condition, if it is True."""
    found = of_pods.condition(job, kind)
    return found if found is not None and found.get("status") == "True" else None


def over(job: Object) -> bool:
    return held(job, "Complete") is not None or held(job, "Failed") is not None


def suspended(job: Object) -> bool:
    return bool(job["spec"].get("suspend"))


def deadline_left(job: Object, now: float) -> float | None:
    """Seconds until the Job has been active too long; None without a deadline."""
    seconds, start = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if seconds is None or start is None or suspended(job):
        return None
    return parse_rfc3339(start) + float(seconds) - now


def ending(job: Object, view: View, now: float) -> Ending | None:
    """Why the Job is over, or about to be."""
    for interim, kind in (("SuccessCriteriaMet", "Complete"), ("FailureTarget", "Failed")):
        if (found := held(job, interim)) is not None:
            return Ending(kind, found.get("reason") or "", found.get("message") or "")
    return _failure(job, view, now) or _success(job, view)


def _failure(job: Object, view: View, now: float) -> Ending | None:
    spec = job["spec"]
    for pod in view.pods:
        if pod_failed(job, pod):
            verdict = judge_failure(job, pod)
            if verdict.action == "FailJob":
                return Ending("Failed", "PodFailurePolicy", verdict.message)
    limit = spec.get("backoffLimit")
    limit = _UNLIMITED if limit is None and per_index(job) else 6 if limit is None else int(limit)
    if view.failed > limit or _restarted_too_often(job, view, limit):
        return Ending("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = deadline_left(job, now)
    if left is not None and left <= 0:
        return Ending("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    if indexed(job) and per_index(job) and view.failed_indexes:
        most = spec.get("maxFailedIndexes")
        if most is not None and len(view.failed_indexes) > int(most):
            message = "Job has exceeded the specified maximal number of failed indexes"
            return Ending("Failed", "MaxFailedIndexesExceeded", message)
        if view.succeeded + len(view.failed_indexes) >= (view.completions or 0):
            return Ending("Failed", "FailedIndexes", "Job has failed indexes")
    return None


def _restarted_too_often(job: Object, view: View, limit: int) -> bool:
    """Containers that the kubelet restarts in place count, too (restartPolicy OnFailure)."""
    if (job["spec"]["template"].get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    total = 0
    for pod in view.pods:
        if of_pods.phase(pod) not in ("Running", "Pending"):
            continue
        status = pod.get("status") or {}
        for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            total += int(one.get("restartCount") or 0)
    return total > 0 if limit == 0 else total >= limit


def _success(job: Object, view: View) -> Ending | None:
    if indexed(job) and (message := succeeded_by_policy(job, view.done_indexes)):
        return Ending("Complete", "SuccessPolicy", message)
    if view.completions is None:
        done = view.succeeded > 0 and not view.active
    else:
        done = view.succeeded >= view.completions and not (suspended(job) and view.completions == 0)
    return Ending("Complete", "CompletionsReached", "Reached expected number of succeeded pods") if done else None


# -- pods ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Plan:
    create: int = 0
    indexes: list[int] = field(default_factory=list)  # of the pods to create, for Indexed Jobs
    delete: list[Object] = field(default_factory=list)
    again: float | None = None  # seconds until a back-off is over


def plan(job: Object, view: View, now: float, failures: Failures | None = None) -> Plan:
    """Which pods to make or delete while the Job goes on. `failures`: what is remembered of pods that are gone."""
    if suspended(job):
        return Plan(delete=view.active[:MOST_AT_ONCE])
    active = len(view.active)
    parallelism = job["spec"].get("parallelism")
    parallelism = 1 if parallelism is None else int(parallelism)
    if view.completions is None:
        wanted = active if view.succeeded > 0 else parallelism
    else:
        wanted = min(max(view.completions - view.succeeded, 0), parallelism)
    victims = _victims(job, view, max(active - wanted, 0), now)
    if victims:
        return Plan(delete=victims[:MOST_AT_ONCE])
    missing = wanted - active
    if only_failed_are_replaced(job):
        missing -= len(view.terminating)
    missing = min(missing, MOST_AT_ONCE)
    if missing <= 0:
        return Plan()
    if per_index(job):
        return _by_index(view, missing, now)
    left = (failures or Failures().look(view)).left(now)
    if left > 0:
        return Plan(again=left)
    if indexed(job):
        indexes = _free_indexes(view, missing)
        return Plan(create=len(indexes), indexes=indexes)
    return Plan(create=missing)


def _victims(job: Object, view: View, surplus: int, now: float) -> list[Object]:
    """Pods beyond what is wanted; of an Indexed Job first those of no index or of one taken already."""
    out: list[Object] = []
    rest = view.active
    if indexed(job):
        best: dict[int, Object] = {}
        for pod in of_pods.deletion_order(view.active, (), now)[::-1]:
            index = job_indexes.index_of(pod)
            gone = view.done_indexes | view.failed_indexes
            if index is None or index in best or index in gone or index >= (view.completions or 0):
                out.append(pod)
            else:
                best[index] = pod
        rest = list(best.values())
    more = surplus - len(out)
    return out + (of_pods.deletion_order(rest, (), now)[:more] if more > 0 else [])


def _taken_indexes(view: View) -> set[int]:
    taken = view.done_indexes | view.failed_indexes
    there = [*view.active, *view.terminating] if only_failed_are_replaced(view.job) else view.active
    return taken | {i for p in there if (i := job_indexes.index_of(p)) is not None}


def _free_indexes(view: View, count: int) -> list[int]:
    taken = _taken_indexes(view)
    out: list[int] = []
    for index in range(view.completions or 0):
        if len(out) == count:
            break
        if index not in taken:
            out.append(index)
    return out


def _by_index(view: View, count: int, now: float) -> Plan:
    """The lowest free indexes, each backing off by itself. One that does keeps its turn, as upstream has it."""
    todo, waits = Plan(), []
    for index in _free_indexes(view, count):
        failed = view.latest_failures.get(index)
        if failed is not None:
            left = finished_at(failed) + delay(sum(index_failures(view, index))) - now
            if left > 0:
                waits.append(left)
                continue
        todo.indexes.append(index)
    todo.create = len(todo.indexes)
    todo.again = min(waits) if waits else None
    return todo


def index_failures(view: View, index: int) -> tuple[int, int]:
    """(failures that count, failures ignored) of an index so far: what its next pod is marked with."""
    pod = view.latest_failures.get(index)
    if pod is None:
        return 0, 0
    counted, ignored = count_annotation(pod, FAILURES), count_annotation(pod, IGNORED_FAILURES)
    if judge_failure(view.job, pod).action == "Ignore":
        return counted, ignored + 1
    return counted + 1, ignored


# -- status -------------------------------------------------------------------------------------------------


def with_condition(status: Object, kind: str, value: str, reason: str, message: str, now: float) -> Object:
    """The status with that condition, in the place of the one before; unchanged when it holds already."""
    conditions = list(status.get("conditions") or ())
    stamp = rfc3339(now)
    new = {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message,
        "lastProbeTime": stamp,
        "lastTransitionTime": stamp,
    }
    for number, one in enumerate(conditions):
        if one["type"] == kind:
            if one["status"] == value and one.get("reason") == reason and one.get("message") == message:
                return status
            conditions[number] = new
            break
    else:
        conditions.append(new)
    return {**status, "conditions": conditions}


def timed(job: Object, status: Object, now: float) -> Object:
    """The status with the start time that it should have. A suspended Job has none, so its deadline begins anew when it
    goes on. (The API lets no start time change while a Job runs.)"""
    if suspended(job):
        return {k: v for k, v in status.items() if k != "startTime"}
    return started(status, status, now)


def suspension(job: Object, status: Object, now: float) -> tuple[Object, str]:
    """(the status that tells of suspension and its end, the event's reason or ""), of a Job that goes on: one that has
    ended is not suspended."""
    told = of_pods.condition({"status": status}, "Suspended")
    if suspended(job):
        if told is None or told["status"] != "True":
            return with_condition(status, "Suspended", "True", "JobSuspended", "Job suspended", now), "Suspended"
    elif told is not None and told["status"] != "False":
        return with_condition(status, "Suspended", "False", "JobResumed", "Job resumed", now), "Resumed"
    return status, ""


def started(status: Object, before: Object, now: float) -> Object:
    """The status with a start time: its own, the one before, or now."""
    if status.get("startTime"):
        return status
    return {**status, "startTime": before.get("startTime") or rfc3339(now)}


def may_end(job: Object, status: Object, view: View) -> bool:
    """All pods are gone or ended, counted and let go: the last condition may be set."""
    left = status.get("uncountedTerminatedPods") or {}
    busy = view.active or view.terminating or any(tracked(p) for p in view.pods)
    return not (busy or left.get("succeeded") or left.get("failed") or deleting(job))


def too_many(job: Object, status: Object) -> bool:
    """More pods have succeeded than were asked for."""
    completions = job["spec"].get("completions")
    return completions is not None and int(status.get("succeeded") or 0) > int(completions)


def without_zeros(status: Object) -> Object:
    out = {k: v for k, v in status.items() if v not in (0, "", None, [])}
    if "uncountedTerminatedPods" in out:
        out["uncountedTerminatedPods"] = {k: v for k, v in out["uncountedTerminatedPods"].items() if v}
    return out
