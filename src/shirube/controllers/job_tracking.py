"""Counting a Job's pods, each exactly once, whatever dies in between.

A pod is made with the finalizer `batch.kubernetes.io/job-tracking`, so none is gone uncounted. When it has
ended, its uid is first written to `status.uncountedTerminatedPods` (an index that succeeded: to
`completedIndexes`, a set, which counts by itself), then its finalizer is taken off, then, once the cache shows
that, the uid is dropped and the counter raised in the same write. After a crash anywhere the next pass finds
one of these three states and goes on.

https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/2307-job-tracking-without-lingering-pods
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shirube.client.rest import Object
from shirube.controllers import job_indexes
from shirube.controllers import pods as of_pods
from shirube.controllers.job_policy import judge_failure
from shirube.controllers.job_view import View, indexed, per_index, pod_failed, tracked, uncounted
from shirube.controllers.ownership import deleting

MOST_UNCOUNTED = 500


@dataclass(slots=True)
class Counting:
    """`status` is the Job's with counters and uncounted pods brought up to date; `release` are the pods whose
    finalizer may go once that status is stored."""

    status: Object
    release: list[Object] = field(default_factory=list)
    ignored: list[tuple[Object, str]] = field(default_factory=list)  # (pod, the rule's message), for events
    more: bool = False


def settle_counters(status: Object, pods: list[Object]) -> Object:
    """Uids whose pods have lost their finalizer (or are gone) move into the counters."""
    held = status.get("uncountedTerminatedPods") or {}
    still = {p["metadata"]["uid"] for p in pods if tracked(p)}
    out = dict(status)
    left: Object = {}
    for key in ("succeeded", "failed"):
        uids = list(held.get(key) or ())
        done = [uid for uid in uids if uid not in still]
        if done:
            out[key] = int(out.get(key) or 0) + len(done)
        if len(done) < len(uids):
            left[key] = [uid for uid in uids if uid in still]
    out["uncountedTerminatedPods"] = left
    return out


def count(job: Object, view: View, *, finishing: str) -> Counting:
    """`finishing` is "", "Failed" or "Complete": pods of a Job that ends are let go whatever they are at."""
    result = Counting(settle_counters(job.get("status") or {}, view.pods))
    held = {k: list(v) for k, v in result.status["uncountedTerminatedPods"].items()}
    known = set().union(*uncounted(job))
    added = 0
    for pod in view.pods:
        if not tracked(pod):
            continue
        uid = pod["metadata"]["uid"]
        if uid in known:
            result.release.append(pod)
            continue
        failed, succeeded = pod_failed(job, pod), of_pods.phase(pod) == "Succeeded"
        if not (failed or succeeded or finishing or deleting(job)):
            continue
        if failed and not finishing and not deleting(job) and view.awaits_replacement(pod):
            continue
        if added >= MOST_UNCOUNTED:
            result.more = True
            break
        if finishing and not failed and not succeeded and not deleting(job) and not deleting(pod):
            continue  # it is deleted first, and let go when that shows
        result.release.append(pod)
        kind = _kind(job, pod, succeeded, failed or finishing == "Failed", result)
        if kind:
            held.setdefault(kind, []).append(uid)
            added += 1
    result.status["uncountedTerminatedPods"] = held
    if indexed(job):
        result.status["completedIndexes"] = job_indexes.format(view.done_indexes)
        result.status["succeeded"] = view.succeeded
        if per_index(job):
            result.status["failedIndexes"] = job_indexes.format(view.failed_indexes)
    return result


def _kind(job: Object, pod: Object, succeeded: bool, failed: bool, result: Counting) -> str:
    """Which uncounted list a pod enters; "" for none."""
    if indexed(job):
        index = job_indexes.index_of(pod)
        completions = job["spec"].get("completions")
        if index is None or (completions is not None and index >= completions):
            return ""
    if succeeded:
        return "" if indexed(job) else "succeeded"
    if not failed:
        return ""
    verdict = judge_failure(job, pod)
    if verdict.message and verdict.action != "FailJob":  # that one is told with the Job's end
        result.ignored.append((pod, f"{verdict.action}: {verdict.message}"))
    return "" if verdict.action == "Ignore" else "failed"
