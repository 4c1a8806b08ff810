"""Finished Jobs go once their `ttlSecondsAfterFinished` has passed.

https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/
"""

from __future__ import annotations

from shirube.api.errors import ApiError
from shirube.api.gvr import JOBS
from shirube.client.controller import Controller
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.job_plan import held
from shirube.controllers.ownership import deleting
from shirube.foundation.clock import parse_rfc3339

_ACCOUNT = "ttl-after-finished-controller"


def time_left(job: Object, now: float) -> float | None:
    """Seconds until a Job has to go; None when it has not finished or may stay."""
    seconds = job["spec"].get("ttlSecondsAfterFinished")
    if seconds is None or deleting(job):
        return None
    ended = held(job, "Complete") or held(job, "Failed")
    if ended is None or not ended.get("lastTransitionTime"):
        return None  # runs, or somebody has written that it has ended, not when
    return parse_rfc3339(ended["lastTransitionTime"]) + float(seconds) - now


class TTLAfterFinishedController(Controller[str]):
    name = "ttl-after-finished-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._jobs = context.informer(JOBS)
        super().__init__(self._jobs)
        self._client = context.client_of(_ACCOUNT)
        self._clock = context.clock
        self._jobs.add_handler(self._changed, lambda _, new: self._changed(new))

    def _changed(self, job: Object) -> None:
        if (left := time_left(job, self._clock.now())) is not None:
            self.queue.add_after(key_of(job), max(left, 0.0))

    async def reconcile(self, key: str) -> float | None:
        job = self._jobs.store.get(*split_key(key))
        if job is None or (left := time_left(job, self._clock.now())) is None:
            return None
        if left > 0:
            return left
        metadata = job["metadata"]
        try:  # asked anew: the TTL may just have been prolonged
            fresh = await self._client.get(JOBS, metadata["name"], metadata["namespace"])
            left = time_left(fresh, self._clock.now())
            if fresh["metadata"]["uid"] != metadata["uid"] or left is None:
                return None
            if left > 0:
                return left
            preconditions = {"uid": metadata["uid"], "resourceVersion": fresh["metadata"]["resourceVersion"]}
            await self._client.delete(
                JOBS,
                metadata["name"],
                metadata["namespace"],
                propagation_policy="Foreground",
                preconditions=preconditions,
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None
