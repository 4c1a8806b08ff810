"""``matchLabelKeys``: the pod's own label values become part of the selectors when it is created.

Follows ``applyMatchLabelKeysAndMismatchLabelKeys`` of upstream's pod strategy (KEP-3633, KEP-3243).
"""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _merge(term: Obj, labels: dict[str, str]) -> None:
    selector = term.get("labelSelector")
    if selector is None:
        return
    for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        for key in term.get(field) or ():
            if key in labels:
                expressions = selector.setdefault("matchExpressions", [])
                expressions.append({"key": key, "operator": operator, "values": [labels[key]]})


def merge_match_label_keys(pod: Obj) -> None:
    """Write the keys of affinity terms and spread constraints into their label selectors."""
    labels = pod["metadata"].get("labels") or {}
    affinity = pod["spec"].get("affinity") or {}
    for field in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(field) or {}
        for term in rules.get(_REQUIRED) or ():
            _merge(term, labels)
        for weighted in rules.get(_PREFERRED) or ():
            _merge(weighted.get("podAffinityTerm") or {}, labels)
    for constraint in pod["spec"].get("topologySpreadConstraints") or ():
        _merge(constraint, labels)
