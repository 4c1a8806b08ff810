"""UDP flows that are translated to an endpoint which is gone, or were made before there was one. Pure.

The kernel keeps a flow's translation while packets come, so a client that keeps its port would talk to nobody for ever.
The rules are upstream's: of flows to a Service's addresses those stay whose answers come from one of its endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable

from shirube.foundation.conntrack import Flow
from shirube.proxy.endpoints import ServicePort


def stale(flows: Iterable[Flow], ports: Iterable[ServicePort]) -> list[Flow]:
    """The flows to forget, of those to these (UDP) ports."""
    by_address: dict[tuple[str, int], set[tuple[str, int]]] = {}
    by_node_port: dict[int, set[tuple[str, int]]] = {}
    for port in ports:
        if port.protocol != "udp":
            continue
        serving = {*port.internal, *port.everywhere, *port.here}
        for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
            by_address[(address, port.port)] = serving
        if port.node_port:
            by_node_port[port.node_port] = serving
    found = []
    for flow in flows:
        expected = by_address.get((flow.destination, flow.destination_port))
        if expected is None:
            expected = by_node_port.get(flow.destination_port)
        if expected is not None and (flow.answers_from, flow.answers_from_port) not in expected:
            found.append(flow)
    return found
