"""Semantic equality of plain objects, as upstream's ``apiequality.Semantic.DeepEqual``.

An absent field, an empty list, an empty map and an empty string are the same to Go's decoded structs where the
field is ``omitempty``; two documents that differ only so did not change.
"""

from __future__ import annotations

from typing import Any


def semantic_equal(a: Any, b: Any) -> bool:
    """Whether two JSON values mean the same; the common case of identical values costs one comparison."""
    if a == b:
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        return all(semantic_equal(a.get(key), b.get(key)) for key in a.keys() | b.keys())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(semantic_equal(x, y) for x, y in zip(a, b, strict=True))
    return _empty(a) and _empty(b)


def _empty(value: Any) -> bool:
    return value is None or value == "" or value == [] or value == {}
