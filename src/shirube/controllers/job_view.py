"""What a Job's pods amount to: one reading of the Job and its pods that all decisions are made on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shirube.client.rest import Object
from shirube.controllers import job_indexes
from shirube.controllers import pods as of_pods
from shirube.controllers.job_policy import judge_failure
from shirube.controllers.ownership import deleting
from shirube.foundation.clock import parse_rfc3339

FINALIZER = "batch.kubernetes.io/job-tracking"
LET_GO = "shirube.dev/let-go"  # annotation of a pod whose finalizer was taken off without counting, to delete it
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"


def indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def per_index(job: Object) -> bool:
    return job["spec"].get("backoffLimitPerIndex") is not None


def only_failed_are_replaced(job: Object) -> bool:
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def tracked(pod: Object) -> bool:
    """Not counted for good yet."""
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def astray(pod: Object) -> bool:
    """Let go and not deleted: nobody would count how it ends."""
    if tracked(pod) or deleting(pod):
        return False
    return of_pods.active(pod) or LET_GO in (pod["metadata"].get("annotations") or {})


def pod_failed(job: Object, pod: Object) -> bool:
    """Failed, or on its way out and never to be seen failing (its node may be gone)."""
    if of_pods.phase(pod) == "Failed":
        return True
    if only_failed_are_replaced(job):
        return False
    return deleting(pod) and of_pods.phase(pod) != "Succeeded"


def taken_away(job: Object, pod: Object) -> bool:
    """On its way out, failing thereby, and not by our own hand: a reason to wait before the next one is made."""
    marks = pod["metadata"].get("annotations") or {}
    return pod_failed(job, pod) and not of_pods.finished(pod) and LET_GO not in marks


def finished_at(pod: Object) -> float:
    """When a pod ended: its last container or sidecar, if none is left; else when it ceased to be ready; else its
    deletion."""
    status = pod.get("status") or {}
    inits = (pod.get("spec") or {}).get("initContainers") or ()
    sidecars = {one["name"] for one in inits if one.get("restartPolicy") == "Always"}
    beside = [one for one in status.get("initContainerStatuses") or () if one["name"] in sidecars]
    ends = [
        ((one.get("state") or {}).get("terminated") or {}).get("finishedAt")
        for one in (*(status.get("containerStatuses") or ()), *beside)
    ]
    known = [parse_rfc3339(end) for end in ends if end]
    if known and len(known) == len(ends):
        return max(known)
    ready = of_pods.condition(pod, "Ready")
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return parse_rfc3339(ready["lastTransitionTime"])
    if deleting(pod):  # the deletion's time is when its grace is over
        metadata = pod["metadata"]
        return parse_rfc3339(metadata["deletionTimestamp"]) - float(metadata.get("deletionGracePeriodSeconds") or 0)
    return of_pods.created(pod)


def count_annotation(pod: Object, key: str) -> int:
    return job_indexes.number((pod["metadata"].get("annotations") or {}).get(key, "")) or 0


def uncounted(job: Object) -> tuple[set[str], set[str]]:
    """uids of pods (succeeded, failed) that the counters do not include yet."""
    held = (job.get("status") or {}).get("uncountedTerminatedPods") or {}
    return set(held.get("succeeded") or ()), set(held.get("failed") or ())


@dataclass(slots=True)
class View:
    job: Object
    pods: list[Object]
    active: list[Object] = field(default_factory=list)
    terminating: list[Object] = field(default_factory=list)
    succeeded: int = 0  # counted or not
    failed: int = 0
    done_indexes: set[int] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    latest_failures: Mapping[int, Object] = field(default_factory=dict)  # index -> its failed pod with most failures

    @classmethod
    def of(cls, job: Object, pods: Iterable[Object]) -> View:
        view = cls(job, list(pods))
        view.active = [p for p in view.pods if of_pods.active(p)]
        view.terminating = [p for p in view.pods if of_pods.terminating(p)]
        status = job.get("status") or {}
        waiting_succeeded, waiting_failed = uncounted(job)
        fresh = [p for p in view.pods if tracked(p) and p["metadata"]["uid"] not in waiting_succeeded | waiting_failed]
        failures = [p for p in fresh if pod_failed(job, p) and index_counts(job, p)]
        counted = [p for p in failures if judge_failure(job, p).action != "Ignore"]
        view.failed = int(status.get("failed") or 0) + len(waiting_failed) + len(counted)
        if indexed(job):
            view._read_indexes(status)
        else:
            done = sum(1 for p in fresh if of_pods.phase(p) == "Succeeded")
            view.succeeded = int(status.get("succeeded") or 0) + len(waiting_succeeded) + done
        return view

    @property
    def completions(self) -> int | None:
        found: int | None = self.job["spec"].get("completions")
        return found

    def _read_indexes(self, status: Object) -> None:
        limit = self.completions
        self.done_indexes = job_indexes.parse(status.get("completedIndexes"), limit)
        for pod in self.pods:
            index = job_indexes.index_of(pod)
            if index is not None and _below(index, limit) and tracked(pod) and of_pods.phase(pod) == "Succeeded":
                self.done_indexes.add(index)
        self.succeeded = len(self.done_indexes)
        if not per_index(self.job):
            return
        self.failed_indexes = job_indexes.parse(status.get("failedIndexes"), limit) - self.done_indexes
        latest: dict[int, Object] = {}
        for pod in self.pods:
            index = job_indexes.index_of(pod)
            if index is None or not _below(index, limit) or not tracked(pod) or not pod_failed(self.job, pod):
                continue
            best = latest.get(index)
            if best is None or _failures(pod) > _failures(best):
                latest[index] = pod
            if index not in self.done_indexes and self._index_is_lost(pod):
                self.failed_indexes.add(index)
        self.latest_failures = latest

    def _index_is_lost(self, pod: Object) -> bool:
        verdict = judge_failure(self.job, pod).action
        if verdict == "FailIndex":
            return True
        counts = 0 if verdict == "Ignore" else 1
        return count_annotation(pod, FAILURES) + counts > int(self.job["spec"]["backoffLimitPerIndex"])

    def awaits_replacement(self, pod: Object) -> bool:
        """A failed pod that tells how often its index has failed: kept until the next pod carries that on."""
        index = job_indexes.index_of(pod)
        if index is None or self.latest_failures.get(index) is not pod:
            return False
        if index in self.done_indexes or index in self.failed_indexes:
            return False
        return all(job_indexes.index_of(p) != index for p in self.active)


def _below(index: int, limit: int | None) -> bool:
    return limit is None or index < limit


def index_counts(job: Object, pod: Object) -> bool:
    if not indexed(job):
        return True
    index = job_indexes.index_of(pod)
    return index is not None and _below(index, job["spec"].get("completions"))


def _failures(pod: Object) -> tuple[int, float]:
    return count_annotation(pod, FAILURES) + count_annotation(pod, IGNORED_FAILURES), of_pods.created(pod)
