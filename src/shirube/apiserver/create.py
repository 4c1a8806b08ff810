"""Creating an object: from what a client sent to what is stored.

Guarantees: nothing is written unless every step allows it; a name is taken once, ever so many writers race for
it; a generated name that is taken is tried again. The write is durable, and seen by every later read of this
server, before it is answered.
"""

from __future__ import annotations

from typing import Any

from shirube.api import errors
from shirube.apiserver import stored
from shirube.apiserver.write import Write, Written
from shirube.foundation.clock import rfc3339
from shirube.storage.types import Compare, CompareFailed, Put

Json = dict[str, Any]

GENERATE_TRIES = 8
MAX_GENERATED_BASE = 58  # of 63 characters, 5 are random
_SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


async def create(w: Write, obj: Json, *, own: bool = True) -> Written:
    """`obj` (stored version) belongs to the callee. `own=False`: it has its managedFields already (apply).
    Raises ApiError 400, 403, 409, 422."""
    meta = obj["metadata"]
    check_namespace(w, meta)
    w.name = w.name or meta.get("name", "")
    if meta.get("resourceVersion") not in (None, "", "0"):
        raise errors.ApiError(500, "", "resourceVersion should not be set on objects to be created")
    for field in _SYSTEM_FIELDS:
        meta.pop(field, None)
    prefix = meta.get("generateName", "") if not meta.get("name") else ""
    meta["uid"] = w.server.chance.uid()
    meta["creationTimestamp"] = rfc3339(w.server.clock.now())
    strategy = w.strategy
    strategy.default(obj)
    if own:
        w.own_fields(None, obj)
    if prefix:
        # Upstream names the object before admission sees it; a clash renames it after.
        meta["name"] = w.name = _generated(w, prefix)
    request = w.admission("CREATE", obj, None)
    obj = await w.mutate(request, obj)
    strategy.prepare_for_create(obj)
    if strategy.keeps_requester:
        strategy.prepare_for_requester(obj, w.user.info())
    causes, warnings = strategy.review(obj)
    w.refuse(obj, causes)
    await w.validate(request)
    w.warnings += warnings
    return await _commit(w, obj, prefix)


def check_namespace(w: Write, meta: Json) -> None:
    """The namespace of the object is that of the path; it may be left out. Raises ApiError 400."""
    if not w.resource.namespaced:
        if meta.get("namespace"):
            # Upstream drops it where the resource is found by its path and has no namespaces.
            del meta["namespace"]
        return
    given = meta.get("namespace", "")
    if given and given != w.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
            if w.namespace
            else "an empty namespace may not be set during creation"
        )
    if not w.namespace:
        raise errors.bad_request("an empty namespace may not be set during creation")
    meta["namespace"] = w.namespace


def _generated(w: Write, prefix: str) -> str:
    return prefix[:MAX_GENERATED_BASE] + w.server.chance.suffix()


async def _commit(w: Write, obj: Json, prefix: str) -> Written:
    for left in range(GENERATE_TRIES if prefix else 1, 0, -1):
        try:
            async with w.allocation(obj, None):
                return await _put(w, obj)
        except _NameTaken:
            if prefix and left > 1:
                obj["metadata"]["name"] = w.name = _generated(w, prefix)
    name = obj["metadata"]["name"]
    raise errors.generate_name_conflict(w.resource, name) if prefix else errors.already_exists(w.resource, name)


class _NameTaken(Exception):
    """There is an object of this name."""


async def _put(w: Write, obj: Json) -> Written:
    """Raises _NameTaken."""
    server, hub = w.server, w.hub
    key = hub.key(w.namespace, obj["metadata"]["name"])
    value = await w.encoded(obj)
    if w.dry_run:
        if (await server.caches.fresh(hub)).get(key) is not None:
            raise _NameTaken
        return Written(stored.encode(obj), True)
    server.caches.hint(hub, key, value, obj)
    try:
        revision = await server.storage.commit((Compare(key, 0),), (Put(key, value),))
    except CompareFailed:
        raise _NameTaken from None
    await server.caches.seen(hub, revision)
    return Written(stored.splice(value if w.resource.definition is None else stored.encode(obj), revision), True)
