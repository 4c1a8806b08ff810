"""Strategic merge patch: a merge patch that knows, from an object's type, how its lists merge.

A list field whose type says `patchStrategy: merge` is merged: maps in it by the merge key, scalars as a set.
Directives in the patch say more: `$patch: replace|delete`, `$retainKeys`, `$deleteFromPrimitiveList/<field>`,
`$setElementOrder/<field>`. Follows `k8s.io/apimachinery/pkg/util/strategicpatch` in results and errors,
including the order of merged lists: `$setElementOrder`, then the patch's order, then the object's. Where the
type is unknown, maps merge and lists are replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from shirube.api.errors import ApiError, bad_request
from shirube.api.patch import plain_copy

if TYPE_CHECKING:
    from shirube.api.schema.types import Type

Json = dict[str, Any]

_PATCH = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE = "$deleteFromPrimitiveList"
_ORDER = "$setElementOrder"


def apply(doc: Json, patch: Any, type: Type | None) -> Json:
    """`doc` with `patch` merged into it as its `type` says."""
    if not isinstance(patch, dict):
        raise bad_request("invalid JSON document: a strategic merge patch is an object")
    return _merge_map(plain_copy(doc), plain_copy(patch), type)


def _child(type: Type | None, key: str) -> Type | None:
    if type is None:
        return None
    if type.kind == "object":
        return type.properties.get(key)
    return type.items if type.kind == "map" else None


def _strategy(type: Type | None) -> tuple[str, str | None]:
    """("merge" | "replace" | "", merge key) of a field."""
    if type is None:
        return "", None
    for strategy in type.patch_strategy:
        if strategy != "retainKeys":
            return strategy, type.patch_merge_key
    return "", type.patch_merge_key


# ---------------------------------------------------------------------------------- maps


def _merge_map(original: Json, patch: Json, type: Type | None) -> Json:
    directive = patch.get(_PATCH)
    if directive == "replace":
        del patch[_PATCH]
        return _clean(patch)
    if directive == "delete":
        return {}
    if _PATCH in patch and directive != "merge":
        raise _bad_directive(directive)
    patch.pop(_PATCH, None)
    if _RETAIN_KEYS in patch:
        _retain_keys(original, patch, patch.pop(_RETAIN_KEYS))
    for key in [k for k in patch if k.startswith(_ORDER)]:
        _merge_ordered(original, patch, key, patch.pop(key), type)
    for key, value in patch.items():
        if key.startswith(_DELETE):
            _delete_from_list(original, _field(key, _DELETE, "primitive list"), value)
        elif value is None:
            original.pop(key, None)
        else:
            original[key] = _merge_value(original.get(key), value, _child(type, key))
    return original


def _merge_value(current: Any, value: Any, type: Type | None) -> Any:
    strategy, key = _strategy(type)
    if isinstance(value, dict) and isinstance(current, dict):
        return _clean(value) if strategy == "replace" else _merge_map(current, value, type)
    if isinstance(value, list) and isinstance(current, list):
        if strategy == "merge" and type is not None:
            return _merge_list(current, value, type, key)
        return _clean(value)
    return _clean(value)


def _retain_keys(original: Json, patch: Json, retained: Any) -> None:
    if not isinstance(retained, list):
        raise bad_request("invalid patch format of retainKeys")
    keep = {key for key in retained if isinstance(key, str)}
    for key, value in patch.items():
        if value is not None and not key.startswith((_DELETE, _ORDER)) and key not in keep:
            raise bad_request("invalid patch format of retainKeys")
    for key in [k for k in original if k not in keep]:
        del original[key]


def _delete_from_list(original: Json, field: str, values: Any) -> None:
    if not isinstance(values, list):
        raise bad_request("invalid patch format of primitive list")
    current = original.get(field)
    if isinstance(current, list):
        gone = {_scalar_key(value) for value in values}
        original[field] = [item for item in current if _scalar_key(item) not in gone]


def _field(directive: str, prefix: str, what: str) -> str:
    head, slash, field = directive.partition("/")
    if head != prefix or not slash or not field:
        raise bad_request(f"invalid patch format of {what}")
    return field


def _clean(value: Any) -> Any:
    """A value that is taken as it stands: without its nulls and directives."""
    if isinstance(value, dict):
        if value.get(_PATCH) == "delete":
            return {}
        return {
            key: _clean(child)
            for key, child in value.items()
            if child is not None and not key.startswith((_PATCH, _RETAIN_KEYS, _DELETE, _ORDER))
        }
    if isinstance(value, list):
        return [_clean(item) for item in value if not (isinstance(item, dict) and _PATCH in item)]
    return value


# ---------------------------------------------------------------------------------- lists


def _merge_list(original: list[Any], patch: list[Any], type: Type, key: str | None) -> list[Any]:
    if not original and not patch:
        return original
    if not _holds_maps(original, patch):
        both = {_scalar_key(item): item for item in (*original, *patch)}
        return _arrange(list(both.values()), patch, original, _scalar_key)
    if not key:
        raise bad_request(f"cannot merge lists without merge key for type {type.items!r}")
    identity = _identity(key)
    items, additions, replaced = _directives(original, patch, key)
    if replaced:
        return additions
    positions: dict[Hashable, int] = {}
    for i, item in enumerate(items):
        if key in item:
            positions.setdefault(identity(item), i)
    order = list(additions)
    before = [item for item in items if key in item]
    for addition in additions:
        at = positions.get(identity(addition))
        if at is None:
            positions[identity(addition)] = len(items)
            items.append(_clean(addition))
        else:
            wanted = addition[key]
            items[at] = _merge_map(items[at], addition, type.items)
            items[at].setdefault(key, wanted)
    return _arrange(items, order, before, identity)


def _directives(original: list[Json], patch: list[Json], key: str) -> tuple[list[Json], list[Json], bool]:
    """(original without what the patch deletes, additions, whether they replace the list)."""
    additions, gone, replaced = [], set(), False
    for item in patch:
        if _PATCH not in item:
            if key not in item:
                raise _no_merge_key(item, key)
            additions.append(item)
            continue
        directive = item[_PATCH]
        if directive == "delete":
            if key not in item:
                raise _no_merge_key(item, key)
            gone.add(_scalar_key(item[key]))
        elif directive == "replace":
            replaced = True
            if len(item) > 1:
                additions.append({k: v for k, v in item.items() if k != _PATCH})
        elif directive == "merge":
            raise bad_request("merging lists cannot yet be specified in the patch")
        else:
            raise _bad_directive(directive)
    if replaced:
        return [], [_clean(item) for item in additions], True
    kept = [item for item in original if key not in item or _scalar_key(item[key]) not in gone]
    return kept, additions, False


def _merge_ordered(original: Json, patch: Json, directive: str, order: Any, type: Type | None) -> None:
    """Merge the list that `$setElementOrder/<field>` names, if there is one, and put it in that order."""
    field = _field(directive, _ORDER, "setElementOrder list")
    if not isinstance(order, list):
        raise bad_request("invalid patch format of setElementOrder list")
    current, wanted = original.get(field), patch.get(field)
    for value in (current, wanted):
        if value is not None and not isinstance(value, list):
            raise bad_request("invalid patch format of setElementOrder list")
    field_type = _child(type, field)
    strategy, key = _strategy(field_type)
    maps = _holds_maps(order, current or [], wanted or [])
    if maps and not key:
        raise bad_request("invalid patch format of setElementOrder list")
    identity = _identity(key) if maps and key else _scalar_key
    if wanted:
        _check_order(wanted, order, identity)
    patch.pop(field, None)
    if current is None and wanted is None:
        return
    merged: list[Any]
    if current is not None and wanted is not None and strategy == "merge" and field_type is not None:
        merged = _merge_list(list(current), wanted, field_type, key)
    else:
        merged = list(current or []) if wanted is None else _clean(wanted)
    original[field] = _arrange(merged, order, current or [], identity)


def _check_order(wanted: list[Any], order: list[Any], identity: Callable[[Any], Hashable]) -> None:
    remaining = iter([identity(item) for item in order])
    for item in wanted:
        if isinstance(item, dict) and _PATCH in item:
            continue
        if identity(item) not in remaining:  # consumes up to the match: this is a subsequence test
            raise bad_request(f"The order in patch list:\n{wanted}\n doesn't match {_ORDER} list:\n{order}\n")


def _arrange(
    merged: list[Any], patch_order: list[Any], server_order: list[Any], identity: Callable[[Any], Hashable]
) -> list[Any]:
    """Items that the patch names in its order, the others in the object's, the two interleaved.

    Before an item of the patch come those others that stood before it in the object.
    """
    in_patch = _positions(patch_order, identity)
    in_server = _positions(server_order, identity)
    named = [item for item in merged if identity(item) in in_patch]
    others = [item for item in merged if identity(item) not in in_patch]
    named.sort(key=lambda item: in_patch[identity(item)])
    others.sort(key=lambda item: in_server.get(identity(item), len(in_server)))
    result: list[Any] = []
    i = 0
    for item in named:
        at = in_server.get(identity(item))
        while i < len(others) and at is not None:
            other = in_server.get(identity(others[i]))
            if other is None or other >= at:
                break
            result.append(others[i])
            i += 1
        result.append(item)
    return result + others[i:]


def _positions(items: list[Any], identity: Callable[[Any], Hashable]) -> dict[Hashable, int]:
    positions: dict[Hashable, int] = {}
    for i, item in enumerate(items):
        positions.setdefault(identity(item), i)
    return positions


def _holds_maps(*lists: list[Any]) -> bool:
    kinds = {_shape(item) for items in lists for item in items}
    if "list" in kinds:
        raise ApiError(422, "Invalid", "lists of lists are not supported", {})
    if len(kinds) > 1 and "map" in kinds:
        raise bad_request("list element types are not identical")
    return "map" in kinds


def _shape(item: Any) -> str:
    return "map" if isinstance(item, dict) else "list" if isinstance(item, list) else "scalar"


def _scalar_key(value: Any) -> Hashable:
    """A scalar's identity in JSON: true is not 1."""
    if isinstance(value, dict | list):
        raise bad_request("list element types are not identical")
    return (isinstance(value, bool), value)


def _identity(key: str) -> Callable[[Any], Hashable]:
    def identity(item: Any) -> Hashable:
        if not isinstance(item, dict) or key not in item:
            raise _no_merge_key(item, key)
        return _scalar_key(item[key])

    return identity


def _no_merge_key(item: Any, key: str) -> ApiError:
    return bad_request(f"map: {item} does not contain declared merge key: {key}")


def _bad_directive(directive: Any) -> ApiError:
    return bad_request(f"unknown patch type: {directive}")
