"""Structural schemas: what a version of a definition says about its objects, as a tree of nodes.

A node is made once from a JSONSchemaProps and shared by everything that walks objects of the kind: pruning,
defaulting, validation, field ownership. Structure (`type`, `properties`, `items`, `additionalProperties` and the
`x-kubernetes-` extensions) is taken out into fields; value validations stay in `schema`.
Follows apiextensions-apiserver ``pkg/apiserver/schema``; see "Specifying a structural schema" upstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shirube.api import schema as schemas
from shirube.api.schema import MISSING, Type

Schema = dict[str, Any]

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
IDENTITY = ("apiVersion", "kind", "metadata")


@dataclass(slots=True, eq=False)
class Node:
    """The schema of a value. `additional` is True where any value may follow a key that is not in `properties`."""

    schema: Schema
    type: str = ""
    properties: Mapping[str, Node] = field(default_factory=dict)
    additional: Node | bool | None = None
    items: Node | None = None
    nullable: bool = False
    preserve: bool = False
    int_or_string: bool = False
    resource: bool = False  # the root, or x-kubernetes-embedded-resource: has apiVersion, kind and metadata
    list_type: str = "atomic"
    list_keys: tuple[str, ...] = ()
    default: Any = MISSING
    rules: tuple[Schema, ...] = ()
    has_defaults: bool = False  # here or below
    has_rules: bool = False

    def child(self, key: str) -> Node | None:
        """The schema of a field or map value; None when there is none for it."""
        found = self.properties.get(key)
        if found is not None:
            return found
        return self.additional if isinstance(self.additional, Node) else None


def parse(schema: Schema, *, root: bool = False) -> Node:
    """The node of a schema; what is malformed has been refused when the definition was validated."""
    additional = schema.get("additionalProperties")
    items = schema.get("items")
    node = Node(
        schema,
        schema.get("type") or "",
        {name: parse(s) for name, s in (schema.get("properties") or {}).items() if isinstance(s, dict)},
        parse(additional) if isinstance(additional, dict) else additional,
        parse(items) if isinstance(items, dict) else None,
        bool(schema.get("nullable")),
        bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        bool(schema.get("x-kubernetes-int-or-string")),
        root or bool(schema.get("x-kubernetes-embedded-resource")),
        schema.get("x-kubernetes-list-type") or "atomic",
        tuple(schema.get("x-kubernetes-list-map-keys") or ()),
        schema.get("default", MISSING),
        tuple(schema.get("x-kubernetes-validations") or ()),
    )
    below = [*node.properties.values(), *(n for n in (node.additional, node.items) if isinstance(n, Node))]
    node.has_defaults = node.default is not MISSING or any(n.has_defaults for n in below)
    node.has_rules = bool(node.rules) or any(n.has_rules for n in below)
    return node


def type_of(node: Node) -> Type:
    """The same as a `Type`, for field ownership and apply."""
    if node.int_or_string:
        return Type("int-or-string")
    if node.type == "array":
        items = type_of(node.items) if node.items is not None else Type("any", preserve_unknown=True)
        return Type("list", items=items, list_type=node.list_type, list_map_keys=node.list_keys)
    map_type = node.schema.get("x-kubernetes-map-type")
    if node.type == "object" or node.properties or node.resource:
        if isinstance(node.additional, Node) and not node.resource:
            return Type("map", items=type_of(node.additional), map_type=map_type)
        if node.additional is True:
            return Type("map", items=Type("any", preserve_unknown=True), map_type=map_type)
        properties = {name: type_of(child) for name, child in node.properties.items()}
        if node.resource:
            properties |= {"apiVersion": Type("string"), "kind": Type("string")}
            properties["metadata"] = schemas.definition(OBJECT_META)
        return Type("object", properties=properties, map_type=map_type, preserve_unknown=node.preserve)
    if node.type in ("string", "integer", "number", "boolean"):
        return Type(node.type, nullable=node.nullable)  # type: ignore[arg-type]
    return Type("any", preserve_unknown=True)
