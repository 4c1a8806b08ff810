"""How fast nodes may be emptied, by failure zone.

One node that falls silent is a broken node; half a zone is more likely a broken network, and moving all its pods
would only do harm. A zone's nodes get their NoExecute taints at 0.1 a second; in a zone of which 55 % (and more
than two nodes) are not ready at 0.01 a second if it has more than 50 nodes, else not at all. When every node of
every zone is not ready, the fault is ours and none is emptied. Follows upstream's node lifecycle controller.
https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction
"""

from __future__ import annotations

from collections.abc import Iterable

from shirube.client.rest import Object

NORMAL, PARTIAL, FULL = "Normal", "PartialDisruption", "FullDisruption"
RATE, SECONDARY_RATE = 0.1, 0.01
_UNHEALTHY, _LARGE = 0.55, 50
_REGION, _ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"


def zone_of(node: Object) -> tuple[str, str]:
    labels = node["metadata"].get("labels") or {}
    return labels.get(_REGION, ""), labels.get(_ZONE, "")


def state(ready: Iterable[bool]) -> str:
    """Of a zone, from whether each of its nodes is ready."""
    each = list(ready)
    down = each.count(False)
    if each and down == len(each):
        return FULL
    return PARTIAL if down > 2 and down / len(each) >= _UNHEALTHY else NORMAL


def rate(zone_state: str, nodes: int) -> float:
    """Nodes a second. A zone that is down as a whole, while others live, is emptied at the usual pace."""
    if zone_state == PARTIAL:
        return SECONDARY_RATE if nodes > _LARGE else 0.0
    return RATE


class Pace:
    """When the next node of a zone may be tainted; times are monotonic seconds."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}

    def wait(self, zone: tuple[str, str], per_second: float, now: float) -> float | None:
        """Seconds to wait, 0 when one may go now; None when none may."""
        if per_second <= 0:
            return None
        return max(self._last[zone] + 1 / per_second - now, 0.0) if zone in self._last else 0.0

    def taken(self, zone: tuple[str, str], now: float) -> None:
        self._last[zone] = now
