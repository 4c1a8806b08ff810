"""Changing an object: read what is there, make the new one, compare and commit, again when another was faster.

`guaranteed` is the loop that every change goes through: PUT, patches, status, special handlers. Guarantees: the
new object is made from, and validated against, exactly the state that it replaces; one that says nothing new is
not written and keeps its resourceVersion; an object that was only waiting for its last finalizer goes with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import errors
from shirube.api.strategy import keep
from shirube.apiserver import allocation, create, stored
from shirube.apiserver.write import Preconditions, Write, Written
from shirube.foundation.clock import rfc3339
from shirube.storage.types import Compare, CompareFailed, Delete, KeyValue, Op, Put

if TYPE_CHECKING:
    from shirube.api.strategy import Strategy

Json = dict[str, Any]
Change = Callable[[Json], Json | None]
Prepare = Callable[[Json, Json], None]
Validate = Callable[[Json, Json], list[errors.Cause]]

TRIES = 32  # of writers that all change one object, each round lets one through
PATCH_TRIES = 5  # as upstream: what a patch applies to should not run away from its author
_CARRIED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


async def current(w: Write) -> tuple[bytes, int] | None:
    """(bytes with resourceVersion, revision) of the object as every acknowledged write left it."""
    hub = w.hub
    cache = await w.server.caches.fresh(hub)
    entry = cache.get(hub.key(w.namespace, w.name))
    return (await w.shown(entry.data, entry.revision), entry.revision) if entry is not None else None


async def replace(w: Write, obj: Json) -> Written:
    """PUT: `obj` (stored version) becomes the object. With a resourceVersion only in place of that one."""
    meta = obj["metadata"]
    name = meta.get("name", "")
    if name and name != w.name:
        raise errors.bad_request(f"the name of the object ({name}) does not match the name on the URL ({w.name})")
    if not name:
        meta["name"] = w.name
    if not w.resource.namespaced:
        meta.pop("namespace", None)
    elif meta.get("namespace") and meta["namespace"] != w.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    else:
        meta["namespace"] = w.namespace
    version = meta.get("resourceVersion") or ""
    if version and not version.isdigit():
        raise errors.bad_request(f"resourceVersion: Invalid value: {errors.quote(version)}: must be a number")
    version = "" if version == "0" else version
    spare = None if version else orjson.dumps(obj)  # an unconditional update may have to start again
    strategy = w.strategy

    def change(old: Json) -> Json:
        nonlocal obj, spare
        if version:
            if version != old["metadata"]["resourceVersion"]:
                raise errors.conflict(w.resource, w.name)
        elif not strategy.allow_unconditional_update:
            cause = errors.Cause.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(w.hub.group, w.hub.kind, w.name, [cause])
        if obj is None:
            assert spare is not None
            return orjson.loads(spare)
        new, obj = obj, None  # type: ignore[assignment]
        return new

    uid = meta.get("uid") or None
    missing = None
    if strategy.allow_create_on_update and not w.subresource:

        async def missing() -> Written:
            if version:
                raise errors.conflict(w.resource, w.name)
            if w.may_create is not None:
                await w.may_create()
            return await create.create(w, orjson.loads(spare) if spare else obj)

    preconditions = Preconditions(uid=uid) if uid else None
    return await guaranteed(w, change, preconditions, copy=False, missing=missing)


async def guaranteed(
    w: Write,
    change: Change,
    preconditions: Preconditions | None = None,
    *,
    own: bool = True,
    copy: bool = True,
    tries: int = TRIES,
    missing: Callable[[], Awaitable[Written]] | None = None,
) -> Written:
    """Read, change, write, until no other write comes between.

    `change` gets its own copy of the object and returns the new one, or None for no change; it may raise
    ApiError and may be called again. `own=False`: managedFields are the change's business (apply). `copy=False`:
    `change` only reads what it gets, and what it returns shares nothing with that but managedFields.
    `missing` makes the object when there is none, else that is 404.
    """
    found = await current(w)
    for _ in range(tries):
        if found is None:
            if missing is None:
                raise errors.not_found(w.resource, w.name)
            try:
                return await missing()
            except errors.ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
                found = await current(w)
                continue
        data, revision = found
        old = stored.decode(data)
        if preconditions is not None:
            preconditions.check(w.resource, w.name, old["metadata"])
        new = change(stored.decode(data) if copy else old)
        if new is None:
            return Written(data)
        new = await prepare(w, new, old, own)
        try:
            async with w.allocation(new, old):
                gone = finished(w, new, old)
                if not gone and not w.rewrite and _same(new, old) and not await _sealed_otherwise(w):
                    return Written(data)
                written = await _store(w, new, revision, gone)
        except CompareFailed as failure:
            found = await found_in(w, failure.current)
            continue
        if gone:
            await w.release(old)
        return Written(written)
    raise errors.conflict(w.resource, w.name)


async def _sealed_otherwise(w: Write) -> bool:
    """Whether to write although nothing changes: the stored value is encrypted with an old key."""
    encryption = w.server.encryption
    return encryption is not None and not w.dry_run and await encryption.stale(w.hub.key(w.namespace, w.name))


async def _store(w: Write, new: Json, revision: int, gone: bool) -> bytes:
    if w.dry_run:
        new["metadata"]["resourceVersion"] = str(revision)
        return orjson.dumps(new)
    key = w.hub.key(w.namespace, w.name)
    op: Op = Delete(key) if gone else Put(key, await w.encoded(new))
    return await commit(w, op, revision, new)


async def prepare(w: Write, new: Json, old: Json, own: bool = True) -> Json:
    """Every step between the new object and its bytes. Returns it (admission may have made another)."""
    meta, old_meta = new["metadata"], old["metadata"]
    for field in _CARRIED:
        if field in old_meta and (field not in meta or not meta[field]):
            meta[field] = old_meta[field]
    strategy = w.strategy
    strategy.default(new)
    if own:
        _reset_ignored(w, new, old)
        w.own_fields(old, new)
    request = w.admission("UPDATE", new, old)
    new = await w.mutate(request, new)
    prepare_for, validate = part_rules(strategy, w.subresource)
    prepare_for(new, old)
    if strategy.keeps_times:
        strategy.stamp(new, old, rfc3339(w.server.clock.now()))
    if w.allocates:
        allocation.carry_over(new, old)
    causes = validate(new, old)
    w.refuse(new, causes)
    await w.validate(request)
    if not w.subresource:
        w.warnings += strategy.warnings(new, old)
    return new


def _reset_ignored(w: Write, new: Json, old: Json) -> None:
    """What this endpoint leaves as it is whatever the writer sent, nobody comes to own (resetFields upstream)."""
    if w.subresource == "status":
        for field in [f for f in new if f not in ("apiVersion", "kind", "metadata", "status")]:
            if field not in old:
                del new[field]
        new.update({f: v for f, v in old.items() if f not in ("apiVersion", "kind", "metadata", "status")})
    elif not w.subresource and w.strategy.has_status:
        keep(new, old, "status")


# Subresources that write a part of an object, and the rules of a strategy for that part.
PARTS = {
    "": ("prepare_for_update", "validate_update"),
    "status": ("prepare_for_status_update", "validate_status_update"),
    "finalize": ("prepare_for_finalize", "validate_finalize"),
    "ephemeralcontainers": (
        "prepare_for_ephemeral_containers_update",
        "validate_ephemeral_containers_update",
    ),
    "resize": ("prepare_for_resize", "validate_resize"),
    "approval": ("prepare_for_approval", "validate_approval"),
}


def part_rules(strategy: Strategy, subresource: str) -> tuple[Prepare, Validate]:
    """(prepare, validate) of an update. Approval without rules of its own is one of the status; special handlers
    (scale, binding) change the object."""
    prepare_name, validate_name = PARTS.get(subresource, PARTS[""])
    if not hasattr(strategy, prepare_name):
        prepare_name, validate_name = PARTS["status"]
    return getattr(strategy, prepare_name), getattr(strategy, validate_name)


def finished(w: Write, new: Json, old: Json) -> bool:
    """Whether this update took the last finalizer of an object that is being deleted."""
    if new["metadata"].get("finalizers"):
        return False
    if w.hub.kind == "Namespace" and not w.hub.group:
        # Namespaces have no grace period: the last of either kind of finalizers takes them.
        return bool(old["metadata"].get("deletionTimestamp")) and not (new.get("spec") or {}).get("finalizers")
    return bool(old["metadata"].get("deletionGracePeriodSeconds") == 0)


async def commit(w: Write, op: Op, revision: int, new: Json) -> bytes:
    """Compare, commit, wait until readers see it; the object's bytes. Raises CompareFailed."""
    if isinstance(op, Put):
        w.server.caches.hint(w.hub, op.key, op.value, new)
    revision = await w.server.storage.commit((Compare(op.key, revision),), (op,))
    await w.server.caches.seen(w.hub, revision)
    value = op.value if isinstance(op, Put) and w.resource.definition is None else stored.encode(new)
    return stored.splice(value, revision)


def _same(new: Json, old: Json) -> bool:
    version = old["metadata"].pop("resourceVersion", None)
    given = new["metadata"].pop("resourceVersion", None)
    same = new == old
    if version is not None:
        old["metadata"]["resourceVersion"] = version
    if given is not None:
        new["metadata"]["resourceVersion"] = given
    return same


async def found_in(w: Write, kv: KeyValue | None) -> tuple[bytes, int] | None:
    if kv is None:
        return None
    return await w.shown(stored.splice(kv.value, kv.mod_revision), kv.mod_revision), kv.mod_revision
