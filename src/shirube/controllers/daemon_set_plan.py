"""DaemonSet, the deciding half: a pod on each node that suits, and how a new template gets there.

Every pod is made for one node (a required affinity on its name), so a set's state is a table of nodes and their
pods. `plan` mends that table first (nodes without a pod, pods that may not stay, doubles, finished pods), then
`roll` replaces pods of an old template: `maxUnavailable` at a time, or by a second pod on up to `maxSurge` nodes.

Follows upstream's `daemon_controller.go` and `update.go`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers.deployment_rollout import int_or_percent
from shirube.controllers.node_fit import fits, required_affinity, untolerated
from shirube.controllers.ownership import deleting
from shirube.controllers.revisions import POD_LABEL

GENERATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK_TOLERATED = ("node.kubernetes.io/network-unavailable", "NoSchedule")

Table = Mapping[str, list[Object]]  # node's name -> pods


def tolerations(spec: Object) -> list[Object]:
    """The template's own and those that every daemon has, which go before the template's: a daemon is never evicted
    from a node that has fallen silent, not after `tolerationSeconds` either."""
    more = [*_TOLERATED, _HOST_NETWORK_TOLERATED] if spec.get("hostNetwork") else list(_TOLERATED)
    every = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in more]
    own = [one for one in spec.get("tolerations") or () if _lasting(one) not in every]
    return own + every


def _lasting(toleration: Object) -> Object:
    return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}


def judge(owner: Object, node: Object, tolerated: list[Object] | None = None) -> tuple[bool, bool]:
    """(a pod should run there, one that runs there may stay). `tolerated`: the tolerations, from who asks often."""
    spec = owner["spec"]["template"]["spec"]
    if not fits(spec, node):
        return False, False
    if not (node.get("spec") or {}).get("taints"):
        return True, True
    if tolerated is None:
        tolerated = tolerations(spec)
    if untolerated(node, tolerated, ("NoExecute",)):
        return False, False
    return not untolerated(node, tolerated, ("NoSchedule",)), True


def node_of(pod: Object) -> str:
    """The node that a pod runs on or was made for."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    for term in (required_affinity(spec) or {}).get("nodeSelectorTerms") or ():
        for expression in term.get("matchFields") or ():
            if expression["key"] == "metadata.name" and len(expression.get("values") or ()) == 1:
                return str(expression["values"][0])
    return ""


def pinned(affinity: Object | None, node: str) -> Object:
    """An affinity to that node alone, all else as it was."""
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    kept = dict((affinity or {}).get("nodeAffinity") or {})
    kept["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [by_name]}
    return {**(affinity or {}), "nodeAffinity": kept}


def by_node(pods: Iterable[Object]) -> dict[str, list[Object]]:
    table: dict[str, list[Object]] = {}
    for pod in pods:
        if of_pods.finished(pod) and deleting(pod):
            continue  # only its finalizers keep it: its place is free
        table.setdefault(node_of(pod), []).append(pod)
    return table


class Mark(NamedTuple):
    """By what pods of the present template are known: its hash, or its generation, which the API counts."""

    digest: str
    generation: str | None


def generation_of(owner: Object) -> str | None:
    """The template's generation as a label says it; None when people have written there what is no number."""
    text = (owner["metadata"].get("annotations") or {}).get(GENERATION, "")
    if not _NUMBER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        return None
    return str(int(text))


def mark_of(owner: Object, digest: str) -> Mark:
    return Mark(digest, generation_of(owner))


def updated(pod: Object, mark: Mark) -> bool:
    """One that has either: pods outlive a hash that is made otherwise, after a collision or by another release."""
    labels = pod["metadata"].get("labels") or {}
    if labels.get(POD_LABEL) == mark.digest:
        return True
    return mark.generation is not None and labels.get(GENERATION_LABEL) == mark.generation


def is_rolling(owner: Object) -> bool:
    return bool((owner["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def bounds(owner: Object, desired: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers; never both zero."""
    rolling = (owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = int_or_percent(rolling.get("maxSurge") or 0, desired, round_up=True)
    value = rolling.get("maxUnavailable")
    unavailable = int_or_percent(1 if value is None else value, desired, round_up=True)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, unavailable


@dataclass(slots=True)
class Plan:
    create: list[str] = field(default_factory=list)  # nodes
    delete: list[Object] = field(default_factory=list)
    failed: list[Object] = field(default_factory=list)  # finished pods, deleted with back-off and an event


def plan(owner: Object, nodes: Iterable[Object], table: Table, digest: str, now: float) -> Plan:
    """What brings the nodes and their pods in line, whatever the template's age."""
    todo = Plan()
    minimum, mark = int(owner["spec"].get("minReadySeconds") or 0), mark_of(owner, digest)
    names = set()
    nodes = list(nodes)
    tolerated = tolerations(owner["spec"]["template"]["spec"])
    judged = {node["metadata"]["name"]: judge(owner, node, tolerated) for node in nodes}
    surging = is_rolling(owner) and bounds(owner, sum(run for run, _ in judged.values()))[0] > 0
    for name, (run, stay) in judged.items():
        names.add(name)
        there = table.get(name, [])
        if run and not there:
            todo.create.append(name)
        elif stay and len(there) == 1:  # by far the most
            if deleting(there[0]):
                if surging and run:
                    todo.create.append(name)  # a second pod on the node is what it is allowed
            elif of_pods.finished(there[0]):
                todo.failed.append(there[0])
        elif stay:
            alive = [p for p in there if not deleting(p)]
            if surging and run and not alive:
                todo.create.append(name)
            finished = [p for p in alive if of_pods.finished(p)]
            todo.failed += finished
            running = [p for p in alive if not of_pods.finished(p)]
            todo.delete += _doubles(running, mark, surging, minimum, now)
        else:
            todo.delete += [p for p in there if not deleting(p)]
    for name, there in table.items():
        if name not in names:  # the node is gone; what never ran there never will
            todo.delete += [p for p in there if not p["spec"].get("nodeName") and not deleting(p)]
    return todo


def _age(pod: Object) -> tuple[bool, float, str]:
    return not pod["spec"].get("nodeName"), of_pods.created(pod), pod["metadata"]["uid"]


def _doubles(running: list[Object], mark: Mark, surging: bool, minimum: int, now: float) -> list[Object]:
    if len(running) <= 1:
        return []
    if not surging:
        return sorted(running, key=_age)[1:]

    def worth(pod: Object) -> tuple[bool, bool, float, str]:
        """A pod that serves is kept: a template changed twice in a second leaves two old ones of the same age."""
        return not of_pods.available(pod, minimum, now), *_age(pod)

    new = sorted((p for p in running if updated(p, mark)), key=worth)
    old = sorted((p for p in running if not updated(p, mark)), key=worth)
    out = new[1:] + old[1:]
    # An old one that serves nobody may hold the very place that the new one needs.
    if new and old and (not of_pods.ready(old[0]) or of_pods.available(new[0], minimum, now)):
        out.append(old[0])
    return out


def _one_of_each(there: list[Object], mark: Mark) -> tuple[Object | None, Object | None] | None:
    """(new pod, old pod) of a node; None when there are more of a sort."""
    alive = [p for p in there if not deleting(p)]
    new = [p for p in alive if updated(p, mark)]
    old = [p for p in alive if not updated(p, mark)]
    if len(new) > 1 or len(old) > 1:
        return None
    return (new[0] if new else None), (old[0] if old else None)


def roll(owner: Object, nodes: Iterable[Object], table: Table, digest: str, now: float) -> Plan:
    """The next step of a rolling update. Old pods go also from nodes that they may stay on, but would not be made for
    any more: nobody will replace them."""
    minimum, mark = int(owner["spec"].get("minReadySeconds") or 0), mark_of(owner, digest)
    tolerated = tolerations(owner["spec"]["template"]["spec"])
    judged = {node["metadata"]["name"]: judge(owner, node, tolerated) for node in nodes}
    wanted = [name for name, (run, _) in judged.items() if run]
    kept = [name for name, (run, stay) in judged.items() if stay and not run]
    surge, unavailable = bounds(owner, len(wanted))

    def up(pod: Object) -> bool:
        return of_pods.available(pod, minimum, now)

    if surge:
        todo = _surge(wanted, table, mark, surge, up)
        todo.delete += _leaving(wanted, kept, table, mark, up)
        return todo
    pairs = (_one_of_each(table.get(name, []), mark) for name in kept)
    left = [pair[1] for pair in pairs if pair is not None and pair[1] is not None]
    return _replace(wanted, table, mark, unavailable, up, left)


def _replace(
    wanted: list[str], table: Table, mark: Mark, limit: int, up: Callable[[Object], bool], left: list[Object]
) -> Plan:
    down, at_once, candidates = 0, [], []
    for name in wanted:
        pair = _one_of_each(table.get(name, []), mark)
        if pair is None or (pair[0] is None) == (pair[1] is None):
            down += 1  # the other half of the controller is at work there
            continue
        new, old = pair
        if new is not None:
            down += not up(new)
        elif old is not None and up(old):
            candidates.append(old)
        elif old is not None:
            at_once.append(old)
            down += 1
    at_once += [pod for pod in left if not up(pod)]
    candidates += [pod for pod in left if up(pod)]
    return Plan(delete=at_once + candidates[: max(limit - down, 0)])


def _surge(wanted: list[str], table: Table, mark: Mark, limit: int, up: Callable[[Object], bool]) -> Plan:
    surged = 0
    todo = Plan()
    candidates: list[str] = []
    for name in wanted:
        pair = _one_of_each(table.get(name, []), mark)
        if pair is None:
            surged += 1
            continue
        new, old = pair
        if old is None:
            continue
        if new is None:
            (candidates if up(old) else todo.create).append(name)
        elif up(new):
            todo.delete.append(old)
        else:
            surged += 1
    todo.create += candidates[: max(limit - surged, 0)]
    return todo


def _leaving(
    wanted: list[str], kept: list[str], table: Table, mark: Mark, up: Callable[[Object], bool]
) -> list[Object]:
    """Old pods of nodes that get no new ones. Who surges expects to miss nobody: one that serves goes only when more
    serve than nodes want one."""
    serving = 0
    now: list[Object] = []
    later: list[Object] = []
    for name in (*wanted, *kept):
        new, old = _one_of_each(table.get(name, []), mark) or (None, None)
        first = old or new
        serving += first is not None and up(first)
        if old is None or name not in kept:
            continue
        if new is None:
            (later if up(old) else now).append(old)
        elif up(new):
            now.append(old)
    return now + later[: max(serving - len(wanted), 0)]


def status_of(
    owner: Object, nodes: Iterable[Object], table: Table, digest: str, collisions: int | None, now: float
) -> Object:
    minimum, mark = int(owner["spec"].get("minReadySeconds") or 0), mark_of(owner, digest)
    tolerated = tolerations(owner["spec"]["template"]["spec"])
    count = dict.fromkeys(("desired", "current", "misscheduled", "ready", "available", "updated"), 0)
    for node in nodes:
        there = table.get(node["metadata"]["name"], [])
        if not judge(owner, node, tolerated)[0]:
            count["misscheduled"] += bool(there)
            continue
        count["desired"] += 1
        if not there:
            continue
        count["current"] += 1
        # While a second one surges, the node's daemon is still the old one.
        first = there[0] if len(there) == 1 else min(there, key=_age)
        is_ready = of_pods.ready(first)
        count["ready"] += is_ready
        count["available"] += is_ready and of_pods.available(first, minimum, now)
        count["updated"] += updated(first, mark)
    status: Object = {
        "currentNumberScheduled": count["current"],
        "numberMisscheduled": count["misscheduled"],
        "desiredNumberScheduled": count["desired"],
        "numberReady": count["ready"],
        "observedGeneration": int(owner["metadata"].get("generation") or 0),
        "updatedNumberScheduled": count["updated"],
        "numberAvailable": count["available"],
        "numberUnavailable": count["desired"] - count["available"],
    }
    optional = ("updatedNumberScheduled", "numberAvailable", "numberUnavailable", "observedGeneration")
    status = {k: v for k, v in status.items() if v or k not in optional}
    if collisions is not None:
        status["collisionCount"] = collisions
    if (owner.get("status") or {}).get("conditions"):
        status["conditions"] = owner["status"]["conditions"]
    return status
