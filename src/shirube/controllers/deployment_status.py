"""A Deployment's status and conditions: pure functions with upstream's reasons and messages.

`kubectl rollout status` reads `observedGeneration`, the counts and the Progressing condition, so their order
of change matters: Progressing says NewReplicaSetAvailable only when the counts say that the rollout is
complete.
"""

from __future__ import annotations

from collections.abc import Iterable

from shirube.client.rest import Object
from shirube.controllers.deployment_rollout import available_of, bounds, replicas_of
from shirube.controllers.pods import condition
from shirube.foundation.clock import parse_rfc3339, rfc3339

AVAILABLE, PROGRESSING, REPLICA_FAILURE = "Available", "Progressing", "ReplicaFailure"
_NO_DEADLINE = 2**31 - 1


def has_deadline(deployment: Object) -> bool:
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    return deadline is not None and deadline != _NO_DEADLINE


def new_condition(kind: str, status: str, reason: str, message: str, now: float) -> Object:
    stamp = rfc3339(now)
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }


def with_condition(conditions: list[Object], new: Object) -> list[Object]:
    """The conditions with this one set. Unchanged (the same list) when it says nothing new."""
    old = next((c for c in conditions if c["type"] == new["type"]), None)
    if old is not None and old["status"] == new["status"] and old.get("reason") == new["reason"]:
        return conditions
    if old is not None and old["status"] == new["status"]:
        new = {**new, "lastTransitionTime": old["lastTransitionTime"]}
    return [*(c for c in conditions if c["type"] != new["type"]), new]


def without_condition(conditions: list[Object], kind: str) -> list[Object]:
    return [c for c in conditions if c["type"] != kind]


def _count(replica_sets: Iterable[Object], name: str) -> int:
    return sum(int((rs.get("status") or {}).get(name) or 0) for rs in replica_sets)


def counts(deployment: Object, replica_sets: list[Object], new: Object | None, now: float) -> Object:
    """The status without the Progressing condition's verdict."""
    old = deployment.get("status") or {}
    replicas = _count(replica_sets, "replicas")
    available = sum(available_of(rs) for rs in replica_sets)
    status: Object = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": replicas,
        "updatedReplicas": _count([new] if new else [], "replicas"),
        "readyReplicas": _count(replica_sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(sum(replicas_of(rs) for rs in replica_sets) - available, 0),
        "terminatingReplicas": _count(replica_sets, "terminatingReplicas"),
        "collisionCount": old.get("collisionCount"),
    }
    _, unavailable = bounds(deployment)
    conditions = list(old.get("conditions") or ())
    if available >= replicas_of(deployment) - unavailable:
        verdict = new_condition(
            AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now
        )
    else:
        verdict = new_condition(
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            now,
        )
    status["conditions"] = with_condition(conditions, verdict)
    return status


def complete(deployment: Object, status: Object) -> bool:
    wanted = replicas_of(deployment)
    return bool(
        status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
        and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    )


def progressing(old: Object, new: Object) -> bool:
    """Something moved towards the goal since the last status."""

    def olds(status: Object) -> int:
        return int(status.get("replicas") or 0) - int(status.get("updatedReplicas") or 0)

    def more(name: str) -> bool:
        return int(new.get(name) or 0) > int(old.get(name) or 0)

    return more("updatedReplicas") or olds(new) < olds(old) or more("readyReplicas") or more("availableReplicas")


def timed_out(deployment: Object, status: Object, now: float) -> bool:
    """No progress for progressDeadlineSeconds."""
    if not has_deadline(deployment):
        return False
    found = next((c for c in status["conditions"] if c["type"] == PROGRESSING), None)
    if found is None or found.get("reason") == "NewReplicaSetAvailable":
        return False
    if found.get("reason") == "ProgressDeadlineExceeded":
        return True
    since = parse_rfc3339(found.get("lastUpdateTime") or found["lastTransitionTime"])
    return since + int(deployment["spec"]["progressDeadlineSeconds"]) < now


def rollout_status(deployment: Object, replica_sets: list[Object], new: Object | None, now: float) -> Object:
    """The whole status while a rollout is going on or done."""
    status = counts(deployment, replica_sets, new, now)
    conditions: list[Object] = status["conditions"]
    known = condition(deployment, PROGRESSING)
    settled = (
        known is not None
        and status["replicas"] == status["updatedReplicas"]
        and known.get("reason") == "NewReplicaSetAvailable"
    )
    name = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
    if not has_deadline(deployment):
        conditions = without_condition(conditions, PROGRESSING)
    elif not settled:
        if complete(deployment, status):
            conditions = with_condition(
                conditions,
                new_condition(
                    PROGRESSING,
                    "True",
                    "NewReplicaSetAvailable",
                    f"{name} has successfully progressed.",
                    now,
                ),
            )
        elif progressing(deployment.get("status") or {}, status):
            moved = new_condition(PROGRESSING, "True", "ReplicaSetUpdated", f"{name} is progressing.", now)
            if known is not None and known["status"] == "True":
                moved["lastTransitionTime"] = known["lastTransitionTime"]
            conditions = [*without_condition(conditions, PROGRESSING), moved]
        elif timed_out(deployment, status, now):
            conditions = with_condition(
                conditions,
                new_condition(
                    PROGRESSING,
                    "False",
                    "ProgressDeadlineExceeded",
                    f"{name} has timed out progressing.",
                    now,
                ),
            )
    failure = _failure(replica_sets, new)
    conditions = without_condition(conditions, REPLICA_FAILURE)
    if failure is not None:
        kept = condition(deployment, REPLICA_FAILURE)
        conditions = [
            *conditions,
            kept if kept is not None and kept.get("message") == failure["message"] else failure,
        ]
    status["conditions"] = conditions
    return status


def _failure(replica_sets: list[Object], new: Object | None) -> Object | None:
    """What some ReplicaSet could not do; the new one's word goes first."""
    for rs in ([new] if new else []) + replica_sets:
        found = condition(rs, REPLICA_FAILURE)
        if found is not None:
            stamp = found.get("lastTransitionTime")
            return {
                "type": REPLICA_FAILURE,
                "status": found["status"],
                "lastUpdateTime": stamp,
                "lastTransitionTime": stamp,
                "reason": found.get("reason", ""),
                "message": found.get("message", ""),
            }
    return None


def progress_check_after(deployment: Object, status: Object, now: float) -> float | None:
    """Seconds until the deadline has to be looked at, while a rollout is going on."""
    if not has_deadline(deployment) or complete(deployment, status):
        return None
    found = next((c for c in status["conditions"] if c["type"] == PROGRESSING), None)
    if found is None or found.get("reason") in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    since = parse_rfc3339(found.get("lastUpdateTime") or found["lastTransitionTime"])
    return max(since + int(deployment["spec"]["progressDeadlineSeconds"]) - now, 0) + 1


def paused_condition(deployment: Object, now: float) -> Object | None:
    """The Progressing condition that pausing or resuming sets, if it is to change."""
    if not has_deadline(deployment):
        return None
    known = condition(deployment, PROGRESSING)
    if known is not None and known.get("reason") == "ProgressDeadlineExceeded":
        return None
    paused = bool(deployment["spec"].get("paused"))
    said = known is not None and known.get("reason") == "DeploymentPaused"
    if paused and not said:
        return new_condition(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now)
    if not paused and said:
        return new_condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    return None


def without_zeros(status: Object) -> Object:
    """As the API prints it: nulls are left out, and counts that are zero but one."""
    return {k: v for k, v in status.items() if v is not None and v != [] and (v != 0 or k == "terminatingReplicas")}
