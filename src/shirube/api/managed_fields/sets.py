"""Sets of field paths in the form that `fieldsV1` has on the wire, and their algebra.

A set is nested dicts: `{"f:spec": {"f:replicas": {}, "f:strategy": {".": {}, "f:type": {}}}}`. A node is a
*member* when it is empty or holds ".". Keys are `f:<field>`, `k:{"name":"x"}` (an item of a list-map),
`v:"x"` (an item of a set) and `i:0`. The root is never a member: `{}` there is the empty set.

Sets are immutable by agreement: operations share structure, and shapes share whole sets between objects.
Keys stay sorted, so that equal sets are equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

FieldSet = dict[str, Any]

LEAF: FieldSet = {}
EMPTY: FieldSet = {}
_PREFIXES = ("f:", "k:", "v:", "i:")


def with_self(children: FieldSet, member: bool) -> FieldSet | None:
    """A node of sorted `children` that is itself a member or not; None when nothing is left of it."""
    if not children:
        return LEAF if member else None
    return {".": LEAF, **children} if member else children


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """The union of two roots."""
    if not a or a is b:
        return b
    return _union_children(a, b) if b else a


def _union(a: FieldSet, b: FieldSet) -> FieldSet:
    if a is b:
        return a
    if not a:
        return b if not b or "." in b else {".": LEAF, **b}
    if not b:
        return a if "." in a else {".": LEAF, **a}
    return _union_children(a, b)


def _union_children(a: FieldSet, b: FieldSet) -> FieldSet:
    changed: FieldSet = {}
    grown = False
    for key, right in b.items():
        left = a.get(key)
        if left is None:
            changed[key] = right
            grown = True
        elif (both := _union(left, right)) is not left:
            changed[key] = both
    if not changed:
        return a
    merged = {**a, **changed}
    return dict(sorted(merged.items())) if grown else merged


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """The members of root `a` that are no members of root `b`; `a` itself when that is all of them."""
    if not a or not b:
        return a
    return _difference_children(a, b) or EMPTY


def _difference(a: FieldSet, b: FieldSet) -> FieldSet | None:
    """None when nothing is left of the node."""
    if not a:
        return None if not b or "." in b else a
    if not b:
        if "." not in a:
            return a
        return {key: child for key, child in a.items() if key != "."}
    return _difference_children(a, b)


def _difference_children(a: FieldSet, b: FieldSet) -> FieldSet | None:
    changes: dict[str, FieldSet | None] = {}
    for key, right in b.items() if len(b) < len(a) else ((k, b[k]) for k in a if k in b):
        left = a.get(key)
        if left is not None and (rest := None if key == "." else _difference(left, right)) is not left:
            changes[key] = rest
    if not changes:
        return a
    out: FieldSet = {}
    for key, left in a.items():
        kept = changes.get(key, left)
        if kept is not None:
            out[key] = kept
    if out.keys() == {"."}:
        return LEAF
    return out or None


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    """The members of both roots."""
    out = {}
    for key in a:
        if key in b and (both := _intersection(a[key], b[key])) is not None:
            out[key] = both
    return out


def _intersection(a: FieldSet, b: FieldSet) -> FieldSet | None:
    member = (not a or "." in a) and (not b or "." in b)
    children = {}
    for key in a:
        if key != "." and key in b and (both := _intersection(a[key], b[key])) is not None:
            children[key] = both
    return with_self(children, member)


def paths(fields: FieldSet) -> Iterator[str]:
    """Members as upstream prints them: `.spec.containers[name="x"].image`."""
    for key, child in fields.items():
        if key == ".":
            continue
        yield from _paths(child, shown(key))


def _paths(node: FieldSet, path: str) -> Iterator[str]:
    if not node or "." in node:
        yield path
    for key, child in node.items():
        if key != ".":
            yield from _paths(child, path + shown(key))


def shown(key: str) -> str:
    """A path element as upstream prints it."""
    kind, text = key[:2], key[2:]
    if kind == "f:":
        return "." + text
    if kind == "i:":
        return f"[{text}]"
    if kind == "v:":
        return f"[={text}]"
    try:
        keys = orjson.loads(text)
        shown = ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in keys.items())
    except (orjson.JSONDecodeError, AttributeError):
        shown = text
    return f"[{shown}]"


def valid(fields: Any) -> bool:
    """Whether `fields` from outside is a set in the form above."""
    level = [fields]
    while level:
        below = []
        for node in level:
            if not isinstance(node, dict):
                return False
            for key, child in node.items():
                if key != "." and not key.startswith(_PREFIXES):
                    return False
                below.append(child)
        level = below
    return True


def normal(fields: FieldSet) -> FieldSet:
    """`fields` with sorted keys, and a lone "." as a leaf."""
    children = {key: normal(child) for key, child in sorted(fields.items()) if key != "."}
    return (with_self(children, "." in fields) or LEAF) if fields else LEAF
