"""JSON merge patch (RFC 7386): objects merge, null removes, anything else replaces."""

from __future__ import annotations

from typing import Any

from shirube.api.errors import bad_request
from shirube.api.patch import plain_copy

Json = dict[str, Any]


def apply(doc: Json, patch: Any) -> Json:
    """`doc` with `patch` merged into it."""
    if not isinstance(patch, dict):
        raise bad_request("Invalid JSON Patch")
    merged: Json = plain_copy(doc)
    _merge(merged, plain_copy(patch))
    return merged


def _merge(target: Json, patch: Json) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            current = target.get(key)
            if not isinstance(current, dict):
                current = target[key] = {}
            _merge(current, value)
        else:
            target[key] = value


def diff(old: Json, new: Json) -> Json:
    """The smallest merge patch that makes `new` of `old` (where `new` holds no nulls)."""
    patch: Json = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
            continue
        before = old[key]
        if isinstance(before, dict) and isinstance(value, dict):
            below = diff(before, value)
            if below:
                patch[key] = below
        elif not same(before, value):
            patch[key] = value
    return patch


def same(a: Any, b: Any) -> bool:
    """Equality as JSON sees it: true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    return bool(a == b)
