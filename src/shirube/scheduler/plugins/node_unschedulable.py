"""NodeUnschedulable: cordoned nodes take only pods that tolerate it."""

from __future__ import annotations

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import Filter, Groups, same
from shirube.scheduler.plugins.taint_toleration import tolerates
from shirube.scheduler.pod import PodInfo

_TAINT = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable(Filter):
    name = "NodeUnschedulable"
    static = True

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        return not tolerates(pod.shape.tolerations, _TAINT)

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        return ~nodes.unschedulable

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        return same("node(s) were unschedulable", rows, resolvable=False)
