"""Schemas as the two versions of OpenAPI write them, and the names under which they are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from shirube.api.schema.supplement import DEFAULTS, ENUMS, INT_OR_STRING, META, QUANTITY

Schema = dict[str, Any]
CustomSchemas = Mapping[tuple[str, str, str], Schema]
"""OpenAPI v3 schemas of custom resources by (group, version, kind), as their definitions declare them."""

Kinds = Mapping[tuple[str, str, str], str]
"""Names of definitions by (group, version, kind), as the cache's index has them."""

V2_REF: Final = "#/definitions/"
V3_REF: Final = "#/components/schemas/"
_OBJECT_META: Final = META + "ObjectMeta"
_LIST_META: Final = META + "ListMeta"


def name_of(kinds: Kinds, gvk: tuple[str, str, str]) -> str:
    """The name of a kind's definition. Custom kinds are named by their reversed group, as upstream does."""
    if name := kinds.get(gvk):
        return name
    group, version, kind = gvk
    return ".".join((*reversed(group.split(".")), version, kind))


def v2_definition(schema: Mapping[str, Any]) -> Schema:
    """A definition with references as v2 writes them."""
    return _with_refs(schema, V2_REF)


def _with_refs(schema: Mapping[str, Any], prefix: str) -> Schema:
    out: Schema = dict(schema)
    if "$ref" in out and isinstance(out["$ref"], str):
        out["$ref"] = prefix + out["$ref"]
    if "properties" in out:
        out["properties"] = {name: _with_refs(prop, prefix) for name, prop in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _with_refs(out[key], prefix)
    return out


def v3_definition(name: str, schema: Mapping[str, Any]) -> Schema:
    """A definition as v3 writes it: with defaults and enums, and references beside which more is said in allOf."""
    if name == QUANTITY:
        return {"description": schema.get("description", ""), "oneOf": [{"type": "string"}, {"type": "number"}]}
    if name == INT_OR_STRING:
        return {
            "description": schema.get("description", ""),
            "format": "int-or-string",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
        }
    out: Schema = {k: v for k, v in schema.items() if k != "properties"}
    if "properties" in schema:
        out["properties"] = {field: _v3_field(name, field, prop) for field, prop in schema["properties"].items()}
    return out


def _v3_field(definition: str, field: str, schema: Mapping[str, Any]) -> Schema:
    out = _v3_value(schema)
    if (definition, field) in DEFAULTS:
        out["default"] = DEFAULTS[definition, field]
    if enum := ENUMS.get((definition, field)):
        out["enum"] = list(enum)
    return out


def _v3_value(schema: Mapping[str, Any]) -> Schema:
    out: Schema = dict(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _v3_value(out[key])
    ref = out.pop("$ref", None)
    if ref is None:
        return out
    reference = {"$ref": V3_REF + ref}
    return {"allOf": [reference], **out} if out else reference


def custom_definitions(group: str, version: str, kind: str, schema: Schema | None, *, v3: bool) -> dict[str, Schema]:
    """The definitions of a custom kind and of its list."""
    prefix = V3_REF if v3 else V2_REF
    gvk = {"group": group, "version": version}
    own: Schema = dict(schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    if not v3:
        own = _structural_v2(own)
    own["properties"] = {
        **{k: {"type": "string", "description": text} for k, text in _IDENTITY.items()},
        **{k: v for k, v in own.get("properties", {}).items() if k not in ("metadata", *_IDENTITY)},
        "metadata": _described(prefix + _OBJECT_META, "Standard object's metadata.", v3),
    }
    own["x-kubernetes-group-version-kind"] = [{**gvk, "kind": kind}]
    name = name_of({}, (group, version, kind))
    items: Schema = {
        "type": "array",
        "description": f"List of {kind} objects.",
        "items": {"$ref": prefix + name},
    }
    listed: Schema = {
        "description": f"{kind}List is a list of {kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **{k: {"type": "string", "description": text} for k, text in _IDENTITY.items()},
            "items": items,
            "metadata": _described(prefix + _LIST_META, "Standard list metadata.", v3),
        },
        "x-kubernetes-group-version-kind": [{**gvk, "kind": kind + "List"}],
    }
    return {name: own, name + "List": listed}


_IDENTITY: Final = {
    "apiVersion": "The group and version of the schema that this object follows.",
    "kind": "The kind of this object. Cannot be changed.",
}


def _described(ref: str, description: str, v3: bool) -> Schema:
    reference = {"$ref": ref}
    return {"allOf": [reference], "description": description} if v3 else {**reference, "description": description}


_NOT_IN_V2: Final = frozenset({"oneOf", "anyOf", "allOf", "not", "nullable", "x-kubernetes-validations"})


def _structural_v2(schema: Mapping[str, Any]) -> Schema:
    """A structural schema without what v2 cannot say; a nullable or int-or-string value is left without a type."""
    out: Schema = {k: v for k, v in schema.items() if k not in _NOT_IN_V2}
    if schema.get("nullable") or schema.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        out.pop("properties", None)
    if "properties" in out:
        out["properties"] = {name: _structural_v2(prop) for name, prop in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _structural_v2(out[key])
    return out


def references(node: Any) -> Iterable[str]:
    """Names of all definitions that a document refers to, wherever the reference is."""
    if isinstance(node, dict):
        ref = node.get("$ref")
        if isinstance(ref, str):
            yield ref.rpartition("/")[2]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)
