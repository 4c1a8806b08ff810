"""The type of a value, as patches, server-side apply, field validation and pruning see it.

A `Type` is a node of a graph: kinds share the types of the definitions that they refer to, and recursive
definitions (JSONSchemaProps) make cycles, so types are compared by identity and never copied. The graph is
built lazily from the compiled schemas, see `shirube.api.schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple


class Missing:
    """The default of a field that has none; None would be a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()

Kind = Literal["object", "map", "list", "string", "integer", "number", "boolean", "int-or-string", "quantity", "any"]
_NO_TYPES: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class Type:
    """What a value at some place of an object may be, and how lists and maps of it merge."""

    kind: Kind
    name: str | None = None  # of the definition: "io.k8s.api.core.v1.PodSpec"
    properties: Mapping[str, Type] = field(default_factory=lambda: _NO_TYPES)  # of an object
    items: Type | None = None  # of a list, or the values of a map
    required: frozenset[str] = frozenset()
    list_type: str | None = None  # "atomic", "set", "map"; None is atomic
    list_map_keys: tuple[str, ...] = ()
    map_type: str | None = None  # "granular", "atomic"; None is granular
    patch_strategy: tuple[str, ...] = ()
    patch_merge_key: str | None = None
    default: Any = MISSING
    format: str | None = None
    enum: tuple[str, ...] | None = None
    nullable: bool = False
    preserve_unknown: bool = False

    def __repr__(self) -> str:
        return f"<Type {self.kind} {self.name or ''}>"


class TypeErrorInfo(NamedTuple):
    """A value of the wrong type: where it is ("spec.replicas") and what upstream's decoder says about it."""

    path: str
    message: str
