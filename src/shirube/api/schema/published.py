"""Types out of an OpenAPI v3 document, as any server publishes it: built-in, custom and aggregated kinds alike.

Enough of a type to follow fields by: structure, scalars and their formats. How values merge and what they default to is
not taken over. A definition is registered before its fields are filled in, so recursion ends at itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from shirube.api.schema.types import Type

Schema = Mapping[str, Any]

_SCALARS = ("string", "integer", "number", "boolean")
_KINDS = "x-kubernetes-group-version-kind"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def type_of(document: Schema, group: str, version: str, kind: str) -> Type | None:
    """The type of a kind; None when the document does not have it."""
    schemas: Schema = (document.get("components") or {}).get("schemas") or {}
    wanted = {"group": group, "version": version, "kind": kind}
    for name, schema in schemas.items():
        if wanted in (schema.get(_KINDS) or ()):
            return _Reader(schemas).definition(name)
    return None


class _Reader:
    def __init__(self, schemas: Schema) -> None:
        self._schemas = schemas
        self._known: dict[str, Type] = {}

    def definition(self, name: str) -> Type:
        if name not in self._known:
            schema = self._schemas.get(name)
            if schema is None:
                return _anything()
            properties: dict[str, Type] = {}
            self._known[name] = Type("object", name, properties)
            made = self._value(schema)
            if made.kind == "object" and made.properties:
                properties |= made.properties
                self._known[name].preserve_unknown = made.preserve_unknown
            else:
                self._known[name] = dataclasses.replace(made, name=name)
        return self._known[name]

    def _value(self, schema: Schema) -> Type:
        nullable = bool(schema.get("nullable"))
        reference = schema.get("$ref") or next((s["$ref"] for s in schema.get("allOf") or () if "$ref" in s), None)
        if reference and "properties" not in schema:
            base = self.definition(reference.rpartition("/")[2])
            return dataclasses.replace(base, nullable=True) if nullable else base
        if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
            return Type("int-or-string", format="int-or-string", nullable=nullable)
        kind = schema.get("type")
        if kind == "array":
            return Type("list", items=self._value(schema.get("items") or {}), nullable=nullable)
        if kind == "object" or "properties" in schema:
            return self._object(schema, nullable)
        if kind in _SCALARS:
            return Type(kind, format=schema.get("format"), nullable=nullable)
        return _anything()

    def _object(self, schema: Schema, nullable: bool) -> Type:
        fields, more = schema.get("properties") or {}, schema.get("additionalProperties")
        if more and not fields:
            values = self._value(more) if isinstance(more, Mapping) else _anything()
            return Type("map", items=values, nullable=nullable)
        properties = {name: self._value(field) for name, field in fields.items()}
        if not properties and not schema.get("x-kubernetes-embedded-resource"):
            return _anything()  # nothing is said of it
        if schema.get("x-kubernetes-embedded-resource"):
            properties = {
                "apiVersion": Type("string"),
                "kind": Type("string"),
                "metadata": self.definition(_META),
                **properties,
            }
        open_ended = bool(more or schema.get("x-kubernetes-preserve-unknown-fields"))
        return Type("object", properties=properties, nullable=nullable, preserve_unknown=open_ended)


def _anything() -> Type:
    return Type("any", preserve_unknown=True)
