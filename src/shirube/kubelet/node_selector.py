"""Whether a node is what a node selector, a `nodeSelector` map or a required node affinity asks for. Pure.

Follows https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.kubelet import pod as pods

Node = Mapping[str, Any]


def matches(selector: Mapping[str, Any] | None, node: Node) -> bool:
    """A `NodeSelector`: its terms are alternatives; none at all matches nothing."""
    if selector is None:
        return True
    return any(_matches_term(term, node) for term in selector.get("nodeSelectorTerms") or ())


def pod_fits(pod: pods.Pod, node: Node) -> bool:
    """What the pod requires of its node's labels."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    return matches(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"), node)


def _matches_term(term: Mapping[str, Any], node: Node) -> bool:
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    expressions, by_field = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not by_field:
        return False
    return all(_holds(e, labels) for e in expressions) and all(_holds(e, fields) for e in by_field)


def _holds(expression: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    found, wanted = values.get(expression["key"]), list(expression.get("values") or [])
    match expression["operator"]:
        case "In":
            return found in wanted
        case "NotIn":
            return found not in wanted
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
    try:
        number, limit = int(found or ""), int(wanted[0])
    except (ValueError, IndexError):
        return False
    return number > limit if expression["operator"] == "Gt" else number < limit
