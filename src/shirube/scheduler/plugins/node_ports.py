"""NodePorts: no two pods of a node listen on the same host port, protocol and address."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import Filter, Groups, same
from shirube.scheduler.pod import PodInfo, Port

_ANYWHERE = "0.0.0.0"  # noqa: S104 - the wildcard of host ports


class NodePorts(Filter):
    name = "NodePorts"

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        return bool(pod.shape.ports)

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits = np.ones(nodes.size, dtype=np.bool_)
        ports = pod.shape.ports
        for at in {at for _, protocol, port in ports for at in nodes.ports_used.get((protocol, port), ())}:
            fits[at] = not conflict(ports, nodes.rows[at].ports)
        return fits

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        return same("node(s) didn't have free ports for the requested pod ports", rows, resolvable=True)


def conflict(wanted: Iterable[Port], used: Iterable[Port]) -> bool:
    return any(
        protocol == p and port == n and (host == h or _ANYWHERE in (host, h))
        for host, protocol, port in wanted
        for h, p, n in used
    )
