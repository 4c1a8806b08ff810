"""Who owns which fields: `metadata.managedFields`, and server-side apply on top of it.

Every write goes through one of two functions:

- `update_managers(old, new, …)` after any other write: `manager` gets the fields that differ between the two
  objects, everybody else loses those. As upstream, call it on a create when defaults are set and before
  admission changes the object: what admission adds belongs to nobody, and is in nobody's shape.
- `apply_patch(live, applied, …)` for server-side apply: merges, removes what the manager applied before and
  nobody else owns, or raises 409 where others own what would change.

Creating and small updates are on the hot path. A set of fields depends only on an object's shape (names of fields,
keys of list items), so the set of a new object is looked up by its shape and shared: **sets in managedFields are
read-only**. An update looks only at what differs. With `fragments=True` a memoised set is put into the object as
an `orjson.Fragment`, ready to be written, where no Python code will look inside.

Follows sigs.k8s.io/structured-merge-diff and KEP-555. Entries of other API versions of the kind are compared by path,
without conversion: versions of built-in kinds that share storage keep their paths.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api.errors import apply_conflict, bad_request
from shirube.api.managed_fields import sets
from shirube.api.managed_fields.entries import (
    BEFORE_FIRST_APPLY,
    Entries,
    Entry,
    Key,
    capped,
    is_reset,
    key_of,
    read,
    read_foreign,
    shown,
    written,
)
from shirube.api.managed_fields.merging import merge, prune
from shirube.api.managed_fields.node_types import root_of
from shirube.api.managed_fields.nodes import Struct, UndeclaredField
from shirube.api.managed_fields.sets import EMPTY, FieldSet
from shirube.api.patch import plain_copy
from shirube.foundation.clock import rfc3339

if TYPE_CHECKING:
    from shirube.api.schema.types import Type

Json = dict[str, Any]

__all__ = ["apply_patch", "manager_of_user_agent", "update_managers"]

# Shapes that are remembered: a set of a large object is some 50 KB of dicts.
_MAX_SHAPES = 256
_shapes: OrderedDict[Any, tuple[FieldSet, orjson.Fragment]] = OrderedDict()
# The same for objects that are equal beside their metadata: (type, JSON of the rest, shape of metadata).
_MAX_ALIKE, _MAX_REST = 128, 8192
_alike: OrderedDict[Any, tuple[FieldSet, orjson.Fragment]] = OrderedDict()


def manager_of_user_agent(user_agent: str) -> str:
    """The manager's name where the request has none: `kubectl` of `kubectl/v1.36.0 (linux/amd64)`."""
    return "".join(c for c in user_agent.partition("/")[0] if c.isprintable()).encode()[:128].decode("utf-8", "ignore")


def _rest(obj: Json) -> bytes | None:
    """What an object has beside metadata, as JSON; None when it is not worth being remembered by."""
    try:
        text = orjson.dumps({key: value for key, value in obj.items() if key != "metadata"})
    except orjson.JSONEncodeError:
        return None
    return text if len(text) <= _MAX_REST and "metadata" in obj else None


def _fields_of_new(obj: Json, root: Struct) -> tuple[FieldSet, orjson.Fragment]:
    """The fields of an object that was not there before."""
    # Objects of one template are the same but for metadata: their JSON is made sooner than their shape.
    rest = _rest(obj)
    if rest is None:
        return _fields_of_shape(obj, root)
    shape: list[Any] = []
    root.shape({"metadata": obj["metadata"]}, shape)
    like = (root, rest, *shape)
    try:
        known = _alike.get(like)
    except TypeError:
        return _fields_of_shape(obj, root)
    if known is not None:
        _alike.move_to_end(like)
        return known
    known = _alike[like] = _fields_of_shape(obj, root)
    if len(_alike) > _MAX_ALIKE:
        _alike.popitem(last=False)
    return known


def _fields_of_shape(obj: Json, root: Struct) -> tuple[FieldSet, orjson.Fragment]:
    shape: list[Any] = []
    root.shape(obj, shape)
    memo = (root, *shape)
    try:
        known = _shapes.get(memo)
    except TypeError:  # a list-map key that is no scalar: validation will refuse the object
        fields = root.initial(obj)
        return fields, orjson.Fragment(orjson.dumps(fields))
    if known is not None:
        _shapes.move_to_end(memo)
        return known
    fields = root.initial(obj)
    known = fields, orjson.Fragment(orjson.dumps(fields))
    _shapes[memo] = known
    if len(_shapes) > _MAX_SHAPES:
        _shapes.popitem(last=False)
    return known


def _set_managers(obj: Json, entries: list[Json]) -> None:
    metadata = obj.setdefault("metadata", {})
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)


def _managed(obj: Json | None) -> Any:
    return (obj.get("metadata") or {}).get("managedFields") if obj is not None else None


def _time(now: float | str) -> str:
    return now if isinstance(now, str) else rfc3339(now)


# ---------------------------------------------------------------------------------- update


def update_managers(
    old: Json | None,
    new: Json,
    type: Type,
    *,
    manager: str,
    now: float | str,
    operation: str = "Update",
    subresource: str = "",
    fragments: bool = False,
) -> None:
    """Set `new.metadata.managedFields` for a write that made `new` of `old` (None: it is created).

    `now` is seconds since the epoch or RFC 3339 text. `old` is only read; unchanged entries are shared with it.
    """
    root = root_of(type)
    entries = _entries_for_update(old, new, subresource)
    if entries is None:
        _set_managers(new, [])
        return
    version = str(new.get("apiVersion", ""))
    key = key_of(manager, operation, version, subresource)
    if old is None:
        fields, fragment = _fields_of_new(new, root)
        if not fields and not entries:
            _set_managers(new, [])
        elif not entries:
            entry = Entry(fields, version, _time(now), None)
            _set_managers(new, [entry.to_dict(key, fragment if fragments else None)])
        else:
            _set_managers(new, written(_taken(entries, key, version, fields, EMPTY, now)))
        return
    changed, removed = root.compare(old, new)
    if changed is not None or removed is not None:
        entries = _taken(entries, key, version, changed or EMPTY, removed or EMPTY, now)
    _set_managers(new, written(entries))


def _entries_for_update(old: Json | None, new: Json, subresource: str) -> Entries | None:
    """The entries to start from; None when fields of this object are not tracked."""
    given = _managed(new)
    if not subresource and given is not None:
        if is_reset(given):
            return {} if old is None else None
        # Most writers send back what they read: no need to check it again.
        if given is not _managed(old) and given != _managed(old):
            foreign = read_foreign(given)
            if foreign:
                return foreign
    entries = read(_managed(old)) if old is not None else {}
    if old is not None and not entries:
        return None
    return entries


def _taken(entries: Entries, key: Key, version: str, changed: FieldSet, removed: FieldSet, now: float | str) -> Entries:
    """Entries after `key` changed and removed fields."""
    result: Entries = {}
    for other, entry in entries.items():
        fields = sets.difference(sets.difference(entry.fields, removed), changed if other != key else EMPTY)
        if fields is entry.fields:
            result[other] = entry
        elif fields:
            result[other] = Entry(fields, entry.api_version, entry.time, None)
    if changed:
        before = result.get(key)
        fields = sets.union(before.fields, changed) if before is not None else changed
        result[key] = Entry(fields, version, _time(now), None)
    return capped(result)


# ---------------------------------------------------------------------------------- apply


def apply_patch(
    live: Json | None,
    applied: Json,
    type: Type,
    *,
    manager: str,
    force: bool = False,
    now: float | str,
    subresource: str = "",
    reset_fields: tuple[tuple[str, ...], ...] = (),
) -> Json:
    """The object after server-side apply, with its managers; equal to `live` when nothing changes.

    `reset_fields` are paths that this endpoint ignores (`status` of the main resource): they are dropped from
    the configuration. Raises 409 with a cause for every field that others own, unless `force`. Shares nothing with
    its arguments but sets of fields.
    """
    if (applied.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    root = root_of(type)
    applied = plain_copy(applied)
    for path in reset_fields:
        _drop(applied, path)
    version = str(applied.get("apiVersion", ""))
    wanted = _wanted(applied, root, version)
    key = key_of(manager, "Apply", version, subresource)
    if live is None:
        created = merge({}, applied, root)
        _set_managers(created, written(_with(key, {}, wanted, version, now)))
        return created
    entries = read(_managed(live)) or _from_before(live, root, now)
    before = entries.get(key)
    others = {other: entry for other, entry in entries.items() if other != key}
    merged = merge(plain_copy(_without_managers(live)), applied, root)
    if before is not None:
        owned = wanted
        for entry in others.values():
            owned = sets.union(owned, entry.fields)
        prune(merged, before.fields, owned, root)
    changed, removed = root.compare(live, merged)
    others = _without_conflicts(others, changed or EMPTY, removed or EMPTY, force)
    as_before = before is not None and before.fields == wanted and before.api_version == version
    if before is not None and as_before and changed is None and removed is None:
        _set_managers(merged, written({**others, key: before}))
        return merged
    _set_managers(merged, written(capped(_with(key, others, wanted, version, now))))
    return merged


def _from_before(live: Json, root: Struct, now: float | str) -> Entries:
    """The owner of everything in an object whose fields nobody has tracked yet."""
    version = str(live.get("apiVersion", ""))
    fields, _ = _fields_of_new(live, root)
    return _with(key_of(BEFORE_FIRST_APPLY, "Update", version, ""), {}, fields, version, now)


def _with(key: Key, others: Entries, fields: FieldSet, version: str, now: float | str) -> Entries:
    return {**others, key: Entry(fields, version, _time(now), None)} if fields else others


def _without_managers(obj: Json) -> Json:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


def _drop(obj: Any, path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        obj = obj.get(key) if isinstance(obj, dict) else None
    if isinstance(obj, dict):
        obj.pop(path[-1], None)


def _wanted(applied: Json, root: Struct, version: str) -> FieldSet:
    try:
        return root.applied(applied, "") or EMPTY
    except UndeclaredField as error:
        metadata = applied.get("metadata") or {}
        name = "/".join(p for p in (metadata.get("namespace"), metadata.get("name")) if p)
        kind = f"{version}, Kind={applied.get('kind', '')}"
        if "/" not in version:
            kind = "/" + kind
        raise bad_request(f"failed to create typed patch object ({name}; {kind}): {error}") from None


def _without_conflicts(others: Entries, changed: FieldSet, removed: FieldSet, force: bool) -> Entries:
    """Others' entries after an apply; raises when it takes fields from them and may not."""
    conflicts: list[tuple[str, str]] = []
    result: Entries = {}
    for key, entry in sorted(others.items()):
        taken = sets.intersection(entry.fields, changed) if changed else EMPTY
        if taken:
            conflicts.extend((shown(key), path) for path in sets.paths(taken))
        fields = sets.difference(sets.difference(entry.fields, changed), removed)
        if fields is entry.fields:
            result[key] = entry
        elif fields:
            result[key] = Entry(fields, entry.api_version, entry.time, None)
    if conflicts and not force:
        raise apply_conflict(conflicts)
    return result
