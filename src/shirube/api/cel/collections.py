"""Functions on lists, maps and optional values for the engine, and what `macros` expands to.

Python gives what CEL asks for, except that sorting wants values of one kind, and that an optional value which stands in
a literal (`{?"a": x}`) is left out when it is none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from shirube.api.cel.engine import cel

Value = Any
RANGE = 1000  # items that lists.range makes at most: loops go through them


def _items(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise ValueError("no such overload")
    return value


def entries(value: Value) -> list[Value]:
    if isinstance(value, dict):
        return [[key, child] for key, child in value.items()]
    return [[index, child] for index, child in enumerate(_items(value))]


def pairs_to_map(pairs: Value) -> Value:
    return dict(pairs)


def merge_entries(maps: Value) -> Value:
    out: dict[Value, Value] = {}
    for each in maps:
        for key, value in each.items():
            if key in out:
                raise ValueError(f"insert failed: key {key} already exists")
            out[key] = value
    return out


def sort_pairs(pairs: list[list[Value]]) -> list[Value]:
    """Items by their keys; equal keys keep their order."""
    by_key = functools.cmp_to_key(_compared)
    return [item for item, _ in sorted(pairs, key=lambda pair: by_key(pair[1]))]


def _compared(a: Value, b: Value) -> int:
    if type(a) is not type(b) and not (_numeric(a) and _numeric(b)):
        raise ValueError("list elements must have the same type")
    if isinstance(a, dict | list):
        raise ValueError("list elements must be comparable")
    return int(a > b) - int(a < b)


def _numeric(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def flatten(values: Value, depth: Value = 1) -> list[Value]:
    if depth < 0:
        raise ValueError("level must be non-negative")
    out: list[Value] = []
    for value in _items(values):
        if isinstance(value, list) and depth > 0:
            out += flatten(value, depth - 1)
        else:
            out.append(value)
    return out


def numbers_below(count: Value) -> list[int]:
    if not isinstance(count, int) or count > RANGE:
        raise ValueError(f"lists.range: at most {RANGE} items can be made")
    return list(range(count))


# ---------------------------------------------------------------------------------------- optional values


def optional_items(value: Value) -> list[Value]:
    if not isinstance(value, cel.OptionalValue):
        raise ValueError("no such overload")
    return [value.value()] if value.has_value() else []


def optional_first(values: Value) -> Value:
    return cel.OptionalValue.of(values[0]) if values else cel.OptionalValue.none()


def optional_flat(values: Value) -> Value:
    # The engine's `map` takes optional values apart: what is there is the value, what is none is not there.
    return values[0] if values and isinstance(values[0], cel.OptionalValue) else optional_first(values)


def unwrap(values: Value) -> list[Value]:
    return [item for value in _items(values) for item in optional_items(value)]


def optional_list(items: Value) -> list[Value]:
    """A literal of items, given as [value, whether it is optional]."""
    out: list[Value] = []
    for value, optional in items:
        out += optional_items(value) if optional else [value]
    return out


def optional_map(items: Value) -> Value:
    """A literal of entries, given as [key, value, whether it is optional]."""
    out = {}
    for key, value, optional in items:
        for item in optional_items(value) if optional else [value]:
            out[key] = item
    return out


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "entries": entries,
    "pairsToMap": pairs_to_map,
    "mergeEntries": merge_entries,
    "sortPairs": sort_pairs,
    "flatten": flatten,
    "lists.range": numbers_below,
    "optionalItems": optional_items,
    "optionalFirst": optional_first,
    "optionalFlat": optional_flat,
    "optionalList": optional_list,
    "optionalMap": optional_map,
    "optional.unwrap": unwrap,
    "unwrapOpt": unwrap,
}
