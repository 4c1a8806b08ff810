"""What a request is expected to cost, in seats: lists by the objects that they go through, writes by their watchers.

As upstream's estimators: a seat for every hundred objects, and for writes a few milliseconds more for every ten
watchers that will have to be told, during which the seats stay taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext
    from shirube.apiserver.fairness.levels import Level

OBJECTS_PER_SEAT = 100
WATCHERS_PER_SEAT = 10
TELLING = 0.005  # seconds for a seat's worth of watchers

_WRITES = frozenset(("create", "update", "patch", "delete"))
JUDGED = _WRITES | {"list", "watch"}  # all others take one seat


class Work(NamedTuple):
    seats: int = 1
    afterwards: float = 0.0  # seconds that the seats stay taken when the request is done


ONE = Work()


def estimate(rc: RequestContext, level: Level) -> Work:
    """What a request with one of the JUDGED verbs takes, as far as one of its level may."""
    verb = rc.info.verb
    resource = rc.resource
    if resource is None or resource.virtual or rc.info.subresource:
        return ONE
    if verb == "list" or (verb == "watch" and rc.params.get("resourceVersion") in ("", "0")):
        return _list(rc, level.widest)
    if verb in _WRITES:
        watchers = rc.server.caches.of(resource).watchers
        if watchers >= WATCHERS_PER_SEAT:
            rounds = -(-watchers // WATCHERS_PER_SEAT)
            seats = min(rounds, level.widest)
            return Work(1, TELLING * rounds / seats)
    return ONE


def _list(rc: RequestContext, widest: int) -> Work:
    resource = rc.resource
    assert resource is not None
    cache = rc.server.caches.of(resource)
    objects = cache.count(resource.prefix(rc.namespace or None))
    if objects <= OBJECTS_PER_SEAT:
        return ONE
    selective = "labelSelector" in rc.params or "fieldSelector" in rc.params
    limit = rc.params.get("limit")
    if limit.isdigit() and 0 < int(limit) < objects and not selective:
        objects = int(limit)
    return Work(min(-(-objects // OBJECTS_PER_SEAT), widest))
