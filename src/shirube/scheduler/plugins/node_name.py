"""NodeName: the node that the spec names, and no other."""

from __future__ import annotations

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import Filter, Groups, same
from shirube.scheduler.pod import PodInfo


class NodeName(Filter):
    name = "NodeName"

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        return bool(pod.node_name)

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits = np.zeros(nodes.size, dtype=np.bool_)
        at = nodes.index(pod.node_name)
        if at is not None:
            fits[at] = True
        return fits

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        return same("node(s) didn't match the requested node name", rows, resolvable=False)
