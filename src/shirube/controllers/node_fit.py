"""Does a node suit: node selectors, required affinity and taints, as the scheduler would judge.

For controllers that place pods themselves or promise placements: DaemonSet, volume binding. No numpy here: a
controller asks for one node at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from shirube.api.errors import ApiError
from shirube.api.selectors import Requirement, requirement
from shirube.client.rest import Object
from shirube.controllers.taint_eviction import tolerates

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


@lru_cache(maxsize=2048)
def _requirement(key: str, operator: str, values: tuple[str, ...]) -> Requirement | None:
    try:
        return requirement(key, _OPERATORS[operator], values)
    except (ApiError, KeyError):
        return None


def _holds(expression: Object, labels: Object) -> bool:
    found = _requirement(expression["key"], expression["operator"], tuple(expression.get("values") or ()))
    return found is not None and found.matches(labels)


def matches_term(term: Object, node: Object) -> bool:
    """One `nodeSelectorTerm`; an empty one matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    labels = node["metadata"].get("labels") or {}
    names = {"metadata.name": node["metadata"]["name"]}
    return all(_holds(e, labels) for e in expressions) and all(_holds(f, names) for f in fields)


def matches_node_selector(selector: Object | None, node: Object) -> bool:
    """A `nodeSelector` of terms (any of which may match); none at all matches every node."""
    if selector is None:
        return True
    return any(matches_term(term, node) for term in selector.get("nodeSelectorTerms") or ())


def required_affinity(spec: Object) -> Object | None:
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity")) or {}
    found: Object | None = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return found


def fits(spec: Object, node: Object) -> bool:
    """The pod's nodeName, nodeSelector and required node affinity allow this node."""
    if spec.get("nodeName") and spec["nodeName"] != node["metadata"]["name"]:
        return False
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    return matches_node_selector(required_affinity(spec), node)


def untolerated(node: Object, tolerations: list[Object], effects: Iterable[str]) -> bool:
    taints = (node.get("spec") or {}).get("taints") or ()
    wanted = set(effects)
    return any(t["effect"] in wanted and not any(tolerates(o, t) for o in tolerations) for t in taints)
