"""The graph of types behind each kind, built from the compiled rows when a kind is first asked for.

Definitions are shared: all kinds with a pod template hold the same `Type` of PodSpec, and plain scalars are one
object each. A definition is registered before its fields are filled in, so recursion ends at itself.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from shirube.api.schema import cache
from shirube.api.schema.types import Type

_definitions: dict[str, Type] = {}
_plain: dict[tuple[str, str | None], Type] = {}


@functools.cache
def type_of(group: str, version: str, kind: str) -> Type:
    """The type of a built-in kind, a list kind, or a message such as DeleteOptions (group "", "v1").

    KeyError when there is no such kind.
    """
    return definition(cache.index().kinds[group, version, kind])


def definition(name: str) -> Type:
    """The type of a definition by its full name. KeyError when there is none."""
    known = _definitions.get(name)
    if known is not None:
        return known
    row = cache.row(name)
    properties: dict[str, Type] = {}
    fields = {k: v for k, v in row.items() if k not in ("properties", "required")}
    made = Type(**fields, properties=properties, required=frozenset(row.get("required", ())))
    _definitions[name] = made
    for field, value in row.get("properties", {}).items():
        properties[field] = _value(value)
    return made


def _value(row: dict[str, Any]) -> Type:
    if "ref" in row:
        base = definition(row["ref"])
        overrides = {k: v for k, v in row.items() if k != "ref"}
        # The copy shares the mapping of properties, which may still be filling up.
        return dataclasses.replace(base, **overrides) if overrides else base
    if row.keys() <= {"kind", "format"}:
        key = (row["kind"], row.get("format"))
        if key not in _plain:
            _plain[key] = Type(**row)
        return _plain[key]
    items = row.pop("items", None)
    return Type(**row, items=_value(items) if items else None)
