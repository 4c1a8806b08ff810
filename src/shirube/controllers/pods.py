"""What controllers ask of pods: active, ready, available; and which ones to delete first.

The order of deletion is upstream's `ActivePodsWithRanks`
(https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from shirube.client.rest import Object
from shirube.foundation.clock import parse_rfc3339

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


# Every reconcile asks these of each of its pods: they are written to take few steps.


def phase(pod: Object) -> str:
    status = pod.get("status")
    return (status and status.get("phase")) or "Pending"


def finished(pod: Object) -> bool:
    status = pod.get("status")
    return status is not None and status.get("phase") in ("Succeeded", "Failed")


def active(pod: Object) -> bool:
    return not finished(pod) and not pod["metadata"].get("deletionTimestamp")


def terminating(pod: Object) -> bool:
    return not finished(pod) and bool(pod["metadata"].get("deletionTimestamp"))


def condition(obj: Object, kind: str) -> Object | None:
    status = obj.get("status")
    if status:
        for one in status.get("conditions") or ():
            if one.get("type") == kind:
                found: Object = one
                return found
    return None


def ready(pod: Object) -> bool:
    status = pod.get("status")
    if status:
        for one in status.get("conditions") or ():
            if one.get("type") == "Ready":
                return bool(one.get("status") == "True")
    return False


def became_ready(old: Object, new: Object) -> bool:
    """Good news and nothing else: it is still whose it was, and stays."""
    before, after = old["metadata"], new["metadata"]
    return (
        ready(new)
        and not ready(old)
        and not after.get("deletionTimestamp")
        and before.get("labels") == after.get("labels")
        and before.get("ownerReferences") == after.get("ownerReferences")
    )


def out_of_service(node: Object) -> bool:
    """Whether an administrator has said that the node is off, and stays off for now."""
    return any(t["key"] == OUT_OF_SERVICE for t in (node.get("spec") or {}).get("taints") or ())


def ready_since(pod: Object) -> float | None:
    found = condition(pod, "Ready")
    if found is None or found.get("status") != "True" or not found.get("lastTransitionTime"):
        return None
    return parse_rfc3339(found["lastTransitionTime"])


def available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    """Ready for `min_ready_seconds` at least."""
    if not ready(pod):
        return False
    if not min_ready_seconds:
        return True
    since = ready_since(pod)
    return since is not None and since + min_ready_seconds <= now


def next_available(pods: Iterable[Object], min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the next ready pod becomes available."""
    if not min_ready_seconds:
        return None
    waits = [
        since + min_ready_seconds - now
        for pod in pods
        if (since := ready_since(pod)) is not None and since + min_ready_seconds > now
    ]
    return min(waits) + 0.05 if waits else None


def created(obj: Object) -> float:
    stamp = obj["metadata"].get("creationTimestamp")
    return parse_rfc3339(stamp) if stamp else math.inf


def restarts(pod: Object) -> tuple[int, int]:
    """The most of a container, and the most of a sidecar; init containers that have ended tell nothing of the pod."""
    status = pod.get("status") or {}
    main = max((int(s.get("restartCount") or 0) for s in status.get("containerStatuses") or ()), default=0)
    beside = status.get("initContainerStatuses")
    if not beside:
        return main, 0
    inits = pod["spec"].get("initContainers") or ()
    sidecars = {c["name"] for c in inits if c.get("restartPolicy") == "Always"}
    return main, max((int(s.get("restartCount") or 0) for s in beside if s.get("name") in sidecars), default=0)


def deletion_cost(pod: Object) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _age_bucket(at: float | None, now: float) -> float:
    """Ages are compared on a logarithmic scale: small differences do not always hit the youngest. What has none yet is
    younger than all."""
    if at is None or not math.isfinite(at):
        return -2
    age = now - at
    return math.floor(math.log2(age)) if age >= 1 else -1


def deletion_order(pods: Iterable[Object], related: Iterable[Object], now: float) -> list[Object]:
    """First to delete first. `related` are pods of the same owner and its siblings: those that share a node
    with
    many of them go before those that are alone."""
    crowd: dict[str, int] = {}
    for pod in related:
        if active(pod) and (node := pod["spec"].get("nodeName")):
            crowd[node] = crowd.get(node, 0) + 1

    def rank(pod: Object) -> tuple[object, ...]:
        node = pod["spec"].get("nodeName") or ""
        is_ready = ready(pod)
        main, beside = restarts(pod)
        return (
            bool(node),
            _PHASES.get(phase(pod), 1),
            is_ready,
            deletion_cost(pod),
            -crowd.get(node, 0),
            _age_bucket(ready_since(pod), now) if is_ready else 0,
            -main,
            -beside,
            _age_bucket(created(pod), now),
            pod["metadata"].get("uid", ""),
        )

    return sorted(pods, key=rank)


def choose_victims(pods: list[Object], related: Iterable[Object], count: int, now: float) -> list[Object]:
    if count >= len(pods):
        return pods
    return deletion_order(pods, related, now)[:count]
