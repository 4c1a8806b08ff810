"""Schemas of the built-in kinds: their types, and the check that every decoded body goes through.

`type_of` is for patches and apply, `check` for the decoder. Both load lazily, kind by kind, from the cache that
`shirube.api.schema.compile` writes at installation (or on first use). `check_value` does the same for a `Type` that
comes from elsewhere, such as a custom resource definition.
"""

from __future__ import annotations

from typing import Any

from shirube.api.schema.check import check_value, count_keys
from shirube.api.schema.graph import definition, type_of
from shirube.api.schema.types import MISSING, Type, TypeErrorInfo

__all__ = [
    "MISSING",
    "Type",
    "TypeErrorInfo",
    "check",
    "check_counting",
    "check_value",
    "count_keys",
    "definition",
    "type_of",
]


def check(group: str, version: str, kind: str, obj: Any) -> tuple[Any, list[str], list[TypeErrorInfo]]:
    """Prune and check an object in place, see `shirube.api.schema.check`.

    Answers the object, the paths of unknown fields, and the values of the wrong type. KeyError for an unknown kind.
    """
    return check_value(type_of(group, version, kind), obj)[:3]


def check_counting(group: str, version: str, kind: str, obj: Any) -> tuple[Any, list[str], list[TypeErrorInfo], int]:
    """`check`, and the number of keys in the object as it came: fewer than its text has means duplicates."""
    return check_value(type_of(group, version, kind), obj)
