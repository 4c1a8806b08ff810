"""The default plugins, each answering for all nodes at once. Pure.

A filter takes the pod, the columns and the indexes of the candidates, and returns for each the reason why it does
not fit ("" where it does); a score returns 0 to 100 for each. Names, reasons and formulas are upstream's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shirube.scheduler.columns import Ints, NodeColumns
from shirube.scheduler.pod import CPU, MEMORY, PODS, PodInfo

Object = dict[str, Any]
Reasons = NDArray[np.object_]
Scores = NDArray[np.float64]
Filter = Callable[[PodInfo, NodeColumns, Ints], Reasons]
Score = Callable[[PodInfo, NodeColumns, Ints], Scores]

MAX_SCORE = 100
_UNSCHEDULABLE = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


def _reasons(fits: NDArray[np.bool_], reason: str) -> Reasons:
    return np.where(fits, "", reason).astype(object)


def node_unschedulable(pod: PodInfo, nodes: NodeColumns, at: Ints) -> Reasons:
    if tolerates(pod.tolerations, _UNSCHEDULABLE):
        return _reasons(np.ones(len(at), dtype=np.bool_), "")
    return _reasons(~nodes.unschedulable[at], "node(s) were unschedulable")


def node_name(pod: PodInfo, nodes: NodeColumns, at: Ints) -> Reasons:
    fits = np.fromiter((not pod.node_name or nodes.rows[i].name == pod.node_name for i in at), np.bool_, len(at))
    return _reasons(fits, "node(s) didn't match the requested node name")


def taint_toleration(pod: PodInfo, nodes: NodeColumns, at: Ints) -> Reasons:
    known: dict[tuple[tuple[str, str, str], ...], bool] = {}

    def fits(i: int) -> bool:
        taints = nodes.rows[i].taints
        if taints not in known:
            known[taints] = all(tolerates(pod.tolerations, t) for t in taints if t[2] in ("NoSchedule", "NoExecute"))
        return known[taints]

    return _reasons(np.fromiter((fits(i) for i in at), np.bool_, len(at)), "node(s) had untolerated taint(s)")


def node_affinity(pod: PodInfo, nodes: NodeColumns, at: Ints) -> Reasons:
    if not pod.selector and pod.required_terms is None:
        return _reasons(np.ones(len(at), dtype=np.bool_), "")

    def fits(i: int) -> bool:
        row = nodes.rows[i]
        if any(row.labels.get(k) != v for k, v in pod.selector.items()):
            return False
        if pod.required_terms is None:
            return True
        return any(matches_term(term, row.labels, row.name) for term in pod.required_terms)

    reason = "node(s) didn't match Pod's node affinity/selector"
    return _reasons(np.fromiter((fits(i) for i in at), np.bool_, len(at)), reason)


def node_ports(pod: PodInfo, nodes: NodeColumns, at: Ints) -> Reasons:
    if not pod.ports:
        return _reasons(np.ones(len(at), dtype=np.bool_), "")
    free = np.fromiter((not _conflict(pod.ports, nodes.rows[i].ports) for i in at), np.bool_, len(at))
    return _reasons(free, "node(s) didn't have free ports for the requested pod ports")


def _conflict(wanted: Iterable[tuple[str, str, int]], used: Iterable[tuple[str, str, int]]) -> bool:
    anywhere = "0.0.0.0"  # noqa: S104 - the wildcard of host ports
    return any(
        protocol == p and port == n and (host == h or anywhere in (host, h))
        for host, protocol, port in wanted
        for h, p, n in used
    )


def resources_fit(pod: PodInfo, nodes: NodeColumns, at: Ints) -> Reasons:
    found = _reasons(nodes.requested[PODS][at] + 1 <= nodes.allocatable[PODS][at], "Too many pods")
    for resource, amount in sorted(pod.requests.items()):
        if amount == 0:
            continue
        if resource in nodes.allocatable:
            fits = nodes.requested[resource][at] + amount <= nodes.allocatable[resource][at]
        else:
            fits = np.zeros(len(at), dtype=np.bool_)
        reason = f"Insufficient {resource}"
        for i in np.flatnonzero(~fits):
            found[i] = f"{found[i]}\n{reason}" if found[i] else reason
    return found


def least_allocated(pod: PodInfo, nodes: NodeColumns, at: Ints) -> Scores:
    total = np.zeros(len(at))
    for used, more, resource in (
        (nodes.nonzero_cpu, pod.nonzero_cpu, CPU),
        (nodes.nonzero_memory, pod.nonzero_memory, MEMORY),
    ):
        capacity = nodes.allocatable[resource][at]
        free = capacity - used[at] - more
        total += np.where((capacity > 0) & (free > 0), free * MAX_SCORE // np.maximum(capacity, 1), 0)
    return total // 2


def balanced_allocation(pod: PodInfo, nodes: NodeColumns, at: Ints) -> Scores:
    fractions = []
    for resource in (CPU, MEMORY):
        capacity = np.maximum(nodes.allocatable[resource][at], 1)
        used = nodes.requested[resource][at] + pod.requests.get(resource, 0)
        fractions.append(np.minimum(used / capacity, 1.0))
    return np.floor((1 - np.abs(fractions[0] - fractions[1]) / 2) * MAX_SCORE)


def preferred_affinity(pod: PodInfo, nodes: NodeColumns, at: Ints) -> Scores:
    if not pod.preferred_terms:
        return np.zeros(len(at))

    def score(i: int) -> int:
        row = nodes.rows[i]
        terms = ((t["weight"], t["preference"]) for t in pod.preferred_terms)
        return sum(weight for weight, term in terms if matches_term(term, row.labels, row.name))

    return _normalised(np.fromiter((score(i) for i in at), np.float64, len(at)))


def prefer_no_schedule(pod: PodInfo, nodes: NodeColumns, at: Ints) -> Scores:
    def intolerable(i: int) -> int:
        return sum(1 for t in nodes.rows[i].taints if t[2] == "PreferNoSchedule" and not tolerates(pod.tolerations, t))

    return MAX_SCORE - _normalised(np.fromiter((intolerable(i) for i in at), np.float64, len(at)))


def _normalised(scores: Scores) -> Scores:
    most = scores.max(initial=0)
    return np.floor(scores * MAX_SCORE / most) if most > 0 else scores


def tolerates(tolerations: Iterable[Object], taint: tuple[str, str, str]) -> bool:
    """Whether one of the tolerations lets the pod bear the taint (key, value, effect)."""
    key, value, effect = taint
    for toleration in tolerations:
        if toleration.get("effect") and toleration["effect"] != effect:
            continue
        if toleration.get("key") and toleration["key"] != key:
            continue
        operator = toleration.get("operator") or "Equal"
        if operator == "Exists" or (operator == "Equal" and toleration.get("value", "") == value):
            return True
    return False


def matches_term(term: Object, labels: dict[str, str], name: str) -> bool:
    """A nodeSelectorTerm; an empty one matches nothing."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    return all(_expression(e, labels) for e in expressions) and all(
        _expression(e, {"metadata.name": name}) for e in fields
    )


def _expression(expression: Object, labels: dict[str, str]) -> bool:
    have = labels.get(expression["key"])
    values = expression.get("values") or []
    match expression["operator"]:
        case "In":
            return have in values
        case "NotIn":
            return have is None or have not in values
        case "Exists":
            return have is not None
        case "DoesNotExist":
            return have is None
        case "Gt" | "Lt" as operator:
            try:
                number, bound = int(have or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return number > bound if operator == "Gt" else number < bound
    return False


FILTERS: tuple[tuple[str, Filter], ...] = (
    ("NodeUnschedulable", node_unschedulable),
    ("NodeName", node_name),
    ("TaintToleration", taint_toleration),
    ("NodeAffinity", node_affinity),
    ("NodePorts", node_ports),
    ("NodeResourcesFit", resources_fit),
)
SCORES: tuple[tuple[str, Score, int], ...] = (
    ("NodeResourcesFit", least_allocated, 1),
    ("NodeResourcesBalancedAllocation", balanced_allocation, 1),
    ("NodeAffinity", preferred_affinity, 2),
    ("TaintToleration", prefer_no_schedule, 3),
)
