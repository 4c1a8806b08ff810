"""StatefulSet, the deciding half: which pods to make, to delete, to mend next, and what to report.

Ordered sets take one step at a time: pods are made from the lowest ordinal up, each waiting for the one before
to be ready and available, and taken away from the highest down; never more than one pod is on its way. Parallel
sets do all at once, some hundreds in a step. Rolling updates go from the highest ordinal down to the partition, one
pod after the other: each is waited for, whatever is down below it. A set that says `maxUnavailable` goes by that
instead, so many pods at a time; in a parallel one old pods that are down already go first, and cost nothing.

Follows upstream's `stateful_set_control.go`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers.deployment_rollout import int_or_percent
from shirube.controllers.revisions import POD_LABEL

_NAME = re.compile(r"(.*)-(0|[1-9][0-9]{0,9})")
_MOST = 2**32  # the first ordinal and the size have 31 bits each
_AT_ONCE = 500


def ordinal_of(name: str, prefix: str) -> int:
    """-1 for a name that no pod (or claim) of this set has: `web-7` is one, `web-07` is not."""
    found = _NAME.fullmatch(name)
    ordinal = int(found[2]) if found and found[1] == prefix else -1
    return ordinal if ordinal < _MOST else -1


def replicas_of(owner: Object) -> int:
    replicas = owner["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def start_of(owner: Object) -> int:
    return int((owner["spec"].get("ordinals") or {}).get("start") or 0)


def ordered(owner: Object) -> bool:
    return bool(owner["spec"].get("podManagementPolicy") != "Parallel")


def rolling(owner: Object) -> Object | None:
    """The rolling update's parameters; None for OnDelete."""
    strategy = owner["spec"].get("updateStrategy") or {}
    return (strategy.get("rollingUpdate") or {}) if strategy.get("type", "RollingUpdate") == "RollingUpdate" else None


def ordinals(owner: Object) -> range:
    return range(start_of(owner), start_of(owner) + replicas_of(owner))


def in_range(owner: Object, ordinal: int) -> bool:
    return ordinal in ordinals(owner)


def revision_of(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(POD_LABEL) or "")


def max_unavailable(owner: Object) -> int:
    value = (rolling(owner) or {}).get("maxUnavailable")
    return max(int_or_percent(1 if value is None else value, replicas_of(owner), round_up=False), 1)


@dataclass(slots=True)
class Plan:
    create: list[tuple[int, str]] = field(default_factory=list)  # (ordinal, revision's name)
    delete: list[Object] = field(default_factory=list)
    replace: list[Object] = field(default_factory=list)  # finished pods, deleted to be made anew
    mend: list[Object] = field(default_factory=list)  # pods whose identity or claims may be wrong


@dataclass(slots=True)
class _Sorted:
    """Pods by their places."""

    there: dict[int, Object]  # lowest ordinal first
    condemned: list[Object]  # highest ordinal first

    @classmethod
    def of(cls, owner: Object, pods: list[Object]) -> _Sorted:
        name = owner["metadata"]["name"]
        known = sorted(((ordinal_of(p["metadata"]["name"], name), p) for p in pods), key=lambda one: one[0])
        return cls(
            {ordinal: pod for ordinal, pod in known if in_range(owner, ordinal)},
            [pod for ordinal, pod in reversed(known) if ordinal >= 0 and not in_range(owner, ordinal)],
        )


def running_and_ready(pod: Object) -> bool:
    return of_pods.phase(pod) == "Running" and of_pods.ready(pod)


def plan(owner: Object, pods: list[Object], current: str, update: str, now: float) -> Plan:
    """`current` and `update` are names of revisions; `pods` all that are the set's."""
    todo = Plan()
    if owner["metadata"].get("deletionTimestamp"):
        return todo
    places = _Sorted.of(owner, pods)
    minimum = int(owner["spec"].get("minReadySeconds") or 0)

    def up(pod: Object) -> bool:
        return running_and_ready(pod) and of_pods.available(pod, minimum, now)

    if not _fill(owner, places, current, update, up, todo):
        return todo
    if not _shrink(owner, places, up, todo):
        return todo
    if not todo.create and not todo.replace:
        _update(owner, places, update, up, todo)
    return todo


def _wanted_revision(owner: Object, ordinal: int, current: str, update: str) -> str:
    parameters = rolling(owner)
    if parameters is None:
        return update
    return current if ordinal < start_of(owner) + int(parameters.get("partition") or 0) else update


def _fill(owner: Object, places: _Sorted, current: str, update: str, up: Any, todo: Plan) -> bool:
    """Every place gets its pod. False when the next step has to wait for one."""
    if not ordered(owner):
        for pod in places.there.values():
            _look_after(pod, todo)
        missing = islice((n for n in ordinals(owner) if n not in places.there), _AT_ONCE)
        todo.create = [(n, _wanted_revision(owner, n, current, update)) for n in missing]
        return True
    for ordinal in ordinals(owner):
        there = places.there.get(ordinal)
        if there is None:
            todo.create.append((ordinal, _wanted_revision(owner, ordinal, current, update)))
            return False
        if not _look_after(there, todo) or not up(there):
            return False
    return True


def _look_after(pod: Object, todo: Plan) -> bool:
    """Whether it is there to stay."""
    going = bool(pod["metadata"].get("deletionTimestamp"))
    if of_pods.finished(pod):
        if not going:
            todo.replace.append(pod)
        return False
    if not going:
        todo.mend.append(pod)
    return not going


def _shrink(owner: Object, places: _Sorted, up: Any, todo: Plan) -> bool:
    """Pods beyond the range go. False when the next step has to wait for one."""
    one_by_one = ordered(owner)
    # An ordered set never takes a healthy pod away while another of its pods is in trouble.
    everybody = [*places.there.values(), *places.condemned[::-1]]
    first_unhealthy = next((p for p in everybody if not running_and_ready(p)), None)
    for pod in places.condemned:
        if pod["metadata"].get("deletionTimestamp"):
            if one_by_one:
                return False
            continue
        if one_by_one and not up(pod) and pod is not first_unhealthy:
            return False
        todo.delete.append(pod)
        if one_by_one:
            return False
    return True


def _update(owner: Object, places: _Sorted, update: str, up: Any, todo: Plan) -> None:
    parameters = rolling(owner)
    if parameters is None:
        return
    lowest = start_of(owner) + int(parameters.get("partition") or 0)
    if parameters.get("maxUnavailable") is None:
        todo.delete += _next_down([p for n, p in reversed(places.there.items()) if n >= lowest], update, up)
        return
    down = sum(1 for p in places.there.values() if p["metadata"].get("deletionTimestamp") or not up(p))
    old = [
        pod
        for ordinal, pod in reversed(places.there.items())
        if ordinal >= lowest and revision_of(pod) != update and not pod["metadata"].get("deletionTimestamp")
    ]
    # Only a parallel set has some that are down here. They must not wait for a place in the budget that they take up
    # themselves: a broken template would never be replaced.
    todo.delete += [p for p in old if not up(p)]
    todo.delete += [p for p in old if up(p)][: max(max_unavailable(owner) - down, 0)]


def _next_down(pods: list[Object], update: str, up: Any) -> list[Object]:
    """The first old pod from the top, unless one above it is not up yet."""
    for pod in pods:
        going = bool(pod["metadata"].get("deletionTimestamp"))
        if revision_of(pod) != update and not going:
            return [pod]
        if going or not up(pod):
            break
    return []


def status_of(
    owner: Object, pods: list[Object], current: str, update: str, collisions: int | None, now: float
) -> Object:
    """The status that the pods make; a finished rollout makes the update the current revision."""
    old = owner.get("status") or {}
    minimum = int(owner["spec"].get("minReadySeconds") or 0)
    name = owner["metadata"]["name"]
    known = [p for p in pods if ordinal_of(p["metadata"]["name"], name) >= 0]
    alive = [p for p in known if not p["metadata"].get("deletionTimestamp")]
    ready = [p for p in known if running_and_ready(p)]
    status: Object = {
        "observedGeneration": int(owner["metadata"].get("generation") or 0),
        "replicas": len(known),
        "readyReplicas": len(ready),
        "availableReplicas": sum(1 for p in ready if of_pods.available(p, minimum, now)),
        "currentReplicas": sum(1 for p in alive if revision_of(p) == current),
        "updatedReplicas": sum(1 for p in alive if revision_of(p) == update),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": collisions or 0,
    }
    wanted = replicas_of(owner)
    if (
        rolling(owner) is not None
        and status["updatedReplicas"] == status["replicas"] == status["readyReplicas"] == wanted
    ):
        status["currentReplicas"] = status["updatedReplicas"]
        status["currentRevision"] = update
    if old.get("conditions"):
        status["conditions"] = old["conditions"]
    return comparable(status)


def comparable(status: Object) -> Object:
    """A status as it is written: what the API leaves out when it is nothing is left out, the rest is there."""
    kept = ("replicas", "availableReplicas", "collisionCount")
    found = {k: v for k, v in status.items() if v != 0 or k in kept}
    return {"collisionCount": 0, "availableReplicas": 0} | found
