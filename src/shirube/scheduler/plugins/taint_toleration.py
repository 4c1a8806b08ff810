"""TaintToleration: NoSchedule and NoExecute taints keep pods away, PreferNoSchedule makes nodes less liked.

Each distinct set of taints is judged once; nodes hold its code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns, Taint
from shirube.scheduler.plugins.framework import MAX_SCORE, Filter, Groups, Score, normalised, same
from shirube.scheduler.plugins.node_affinity import parse_integer
from shirube.scheduler.pod import PodInfo

Object = dict[str, Any]


class TaintToleration(Filter, Score):
    name = "TaintToleration"
    static = True

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        return len(nodes.taint_sets) > 1

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        return tolerated(pod, nodes)

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        return same("node(s) had untolerated taint(s)", rows, resolvable=False)

    def score(self, pod: PodInfo, nodes: NodeColumns, mask: Bools) -> Ints | int | None:
        if len(nodes.taint_sets) == 1:
            return MAX_SCORE
        mine = [t for t in pod.shape.tolerations if t.get("effect") in (None, "", "PreferNoSchedule")]
        bad = [
            sum(1 for t in taints if t[2] == "PreferNoSchedule" and not tolerates(mine, t))
            for taints in nodes.taint_sets
        ]
        if not any(bad):
            return MAX_SCORE
        return normalised(np.array(bad, dtype=np.int64)[nodes.taint_codes], mask, reverse=True)


def tolerated(pod: PodInfo, nodes: NodeColumns) -> Bools:
    """Nodes without a NoSchedule or NoExecute taint that the pod does not tolerate."""
    mine = pod.shape.tolerations
    fine = [all(tolerates(mine, t) for t in taints if t[2] != "PreferNoSchedule") for taints in nodes.taint_sets]
    return np.array(fine, dtype=np.bool_)[nodes.taint_codes]


def tolerates(tolerations: Iterable[Object], taint: Taint) -> bool:
    """Whether one of the tolerations lets the pod bear the taint (key, value, effect)."""
    key, value, effect = taint
    for toleration in tolerations:
        if toleration.get("effect") and toleration["effect"] != effect:
            continue
        if toleration.get("key") and toleration["key"] != key:
            continue
        if _value_tolerated(toleration, value):
            return True
    return False


def _value_tolerated(toleration: Object, value: str) -> bool:
    match toleration.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            return bool(toleration.get("value", "") == value)
        case "Gt" | "Lt" as operator:
            have, bound = parse_integer(value), parse_integer(toleration.get("value", ""))
            if have is None or bound is None:
                return False
            return have > bound if operator == "Gt" else have < bound
    return False
