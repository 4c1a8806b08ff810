"""How long a Job waits before it replaces pods that failed: 10 s after a failure, twice as long after each further one
since the last success, ten minutes at most.

Failures are remembered beyond the pods that failed: whoever clears those away, by hand or as pod GC, does not make the
next ones come faster. Each pod counts once, when it is first seen to have ended. A new controller begins with the pods
that still exist. (Upstream's begins with none: after a restart it replaces at once.)

Follows upstream's `backoff_utils.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers.job_view import LET_GO, View, finished_at, index_counts, taken_away

BACK_OFF_SECONDS, BACK_OFF_LIMIT = 10.0, 600.0


def delay(failures: int) -> float:
    if failures <= 0:
        return 0.0
    return float(min(BACK_OFF_SECONDS * 2 ** min(failures - 1, 10), BACK_OFF_LIMIT))


@dataclass(slots=True)
class Failures:
    """Those of one Job since its last success."""

    count: int = 0
    last: float = 0.0
    _seen: set[str] = field(default_factory=set)  # uids of pods that have ended and are still there

    def look(self, view: View) -> Failures:
        ended = {pod["metadata"]["uid"]: pod for pod in view.pods if _ended(view.job, pod)}
        self._count([pod for uid, pod in ended.items() if uid not in self._seen])
        self._seen = set(ended)
        return self

    def _count(self, pods: Iterable[Object]) -> None:
        good: list[float] = []
        bad: list[float] = []
        for pod in pods:
            (good if of_pods.phase(pod) == "Succeeded" else bad).append(finished_at(pod))
        if good:
            self.count, self.last = 0, 0.0
            bad = [at for at in bad if at > max(good)]
        if bad:
            self.count += len(bad)
            self.last = max(bad)

    def left(self, now: float) -> float:
        """Seconds until the next pod may be made; none, or fewer, when it may be at once."""
        return self.last + delay(self.count) - now if self.count else 0.0


def _ended(job: Object, pod: Object) -> bool:
    """By itself, or taken away by somebody else; what we have let go has not failed, however it ends."""
    if not index_counts(job, pod) or LET_GO in (pod["metadata"].get("annotations") or {}):
        return False
    return of_pods.finished(pod) or taken_away(job, pod)
