"""What a schema in a definition must be like: structural, within what is supported, with rules that compile.

`validate` is called for each version's schema when a definition is written. Messages and paths are those of
apiextensions (``ValidateStructural``, ``ValidateCustomResourceDefinitionOpenAPISchema``): structure is given once,
outside `allOf`, `anyOf`, `oneOf` and `not`; metadata is implicit; defaults are valid and pruned.
"""

from __future__ import annotations

from collections.abc import Iterator

import re2

from shirube.api.crd import defaulting, pruning, rule_rules, structural, values
from shirube.api.crd.structural import Schema
from shirube.api.errors import Cause

ROOT, ITEM, FIELD = "root", "item", "field"
_TYPES = ["array", "boolean", "integer", "number", "object", "string"]
_UNTYPED = {
    ROOT: "must not be empty at the root",
    ITEM: "must not be empty for specified array items",
    FIELD: "must not be empty for specified object fields",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_PRESERVE, _EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
_IOS, _LIST, _KEYS, _MAP = (
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)
_RULES = "x-kubernetes-validations"
# Structure that may not be said again below a junctor: field -> what upstream says.
_NESTED: tuple[tuple[str, str], ...] = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    (_PRESERVE, "must be false to be structural"),
    (_EMBEDDED, "must be false to be structural"),
    (_IOS, "must be false to be structural"),
    (_KEYS, "must be empty to be structural"),
    (_LIST, "must be undefined to be structural"),
    (_MAP, "must be undefined to be structural"),
    (_RULES, "must be empty to be structural"),
)
MAX_CAUSES = 50


def validate(schema: Schema, path: str) -> list[Cause]:
    """What is wrong with the schema of a version."""
    causes: list[Cause] = []
    for cause in _schema(schema, ROOT, path):
        causes.append(cause)
        if len(causes) >= MAX_CAUSES:
            return causes
    if not causes:
        causes += _defaults(schema, path, is_root=True)
    if not causes:
        causes += rule_rules.validate(structural.parse(schema, root=True), path)
    return causes


def _schema(schema: Schema, level: str, path: str) -> Iterator[Cause]:
    kind = schema.get("type") or ""
    yield from _type(schema, kind, level, path)
    yield from _supported(schema, path)
    yield from _extensions(schema, kind, path)
    if kind == "array" and not schema.get("items"):
        yield Cause.required(f"{path}.items", "must be specified")
    if isinstance(items := schema.get("items"), dict):
        yield from _schema(items, ITEM, f"{path}.items")
    embedded = bool(schema.get(_EMBEDDED))
    for name, child in (schema.get("properties") or {}).items():
        at = f"{path}.properties[{name}]"
        if name == "metadata" and level == ROOT:
            yield from _metadata(child, at)
            continue
        if name in ("apiVersion", "kind") and (level == ROOT or embedded) and child.get("type") != "string":
            yield Cause.invalid(f"{at}.type", child.get("type") or "", "must be string")
        if name == "metadata" and embedded and child.get("type") != "object":
            yield Cause.invalid(f"{at}.type", child.get("type") or "", "must be object")
        yield from _schema(child, FIELD, at)
    yield from _additional(schema, level, path)
    skip_any = schema.get("anyOf") == _INT_OR_STRING and bool(schema.get(_IOS))
    yield from _junctors(schema, schema, path, skip_any)


def _type(schema: Schema, kind: str, level: str, path: str) -> Iterator[Cause]:
    at = f"{path}.type"
    if schema.get(_EMBEDDED) and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        yield Cause.invalid(at, kind, why) if kind else Cause.required(at, why)
    elif not kind:
        if not schema.get(_IOS) and not schema.get(_PRESERVE):
            yield Cause.required(at, _UNTYPED[level])
    elif kind not in _TYPES:
        yield Cause.not_supported(at, kind, _TYPES)
    elif level == ROOT and kind != "object":
        yield Cause.invalid(at, kind, "must be object at the root")
    if schema.get(_EMBEDDED) and not schema.get(_PRESERVE) and not schema.get("properties"):
        why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        yield Cause.required(f"{path}.properties", why)


def _supported(schema: Schema, path: str) -> Iterator[Cause]:
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield Cause.forbidden(f"{path}.uniqueItems", why)
    for field in ("definitions", "dependencies", "id", "patternProperties", "$ref"):
        if schema.get(field):
            why = f"{field} is not supported"
            yield Cause.forbidden(f"{path}.{field}", why)
    if schema.get("properties") and schema.get("additionalProperties") not in (None, False):
        yield Cause.forbidden(
            f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
        )
    if schema.get("additionalProperties") is False:
        yield Cause.forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    if isinstance(schema.get("items"), list):
        yield Cause.forbidden(f"{path}.items", "items must be a schema object and not an array")
    yield from _pattern(schema, path)


def _pattern(schema: Schema, path: str) -> Iterator[Cause]:
    if text := schema.get("pattern"):
        try:
            values.pattern(text)
        except re2.error as error:
            found = error.args[0] if error.args else ""
            text_of = found.decode() if isinstance(found, bytes) else str(found)
            why = f"must be a valid regular expression, but isn't: error parsing regexp: {text_of}"
            yield Cause.invalid(f"{path}.pattern", text, why)


def _additional(schema: Schema, level: str, path: str) -> Iterator[Cause]:
    additional = schema.get("additionalProperties")
    if additional is None:
        return
    at = f"{path}.additionalProperties"
    if level == ROOT:
        yield Cause.forbidden(at, "must not be used at the root")
    if schema.get(_EMBEDDED):
        yield Cause.forbidden(at, "must not be used if x-kubernetes-embedded-resource is set")
    if isinstance(additional, dict):
        yield from _schema(additional, FIELD, at)


def _metadata(schema: Schema, path: str) -> Iterator[Cause]:
    """At the root only the names in metadata can be restricted."""
    if schema.get("type") != "object":
        yield Cause.invalid(f"{path}.type", schema.get("type") or "", "must be object")
    structure = {k for k in schema if k not in ("type", "properties", "default", *_VALUES)}
    if structure or set(schema.get("properties") or {}) - {"name", "generateName"}:
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield Cause.forbidden(path, why)


_VALUES = frozenset(
    ("required", "maxProperties", "minProperties", "enum", "format", "pattern", "maxLength", "minLength", *_JUNCTORS)
)


def _extensions(schema: Schema, kind: str, path: str) -> Iterator[Cause]:
    if schema.get(_IOS):
        for field in (_PRESERVE, _EMBEDDED):
            if schema.get(field):
                yield Cause.invalid(f"{path}.{field}", True, "must be false if x-kubernetes-int-or-string is true")
        if kind:
            yield Cause.forbidden(f"{path}.type", "must be empty if x-kubernetes-int-or-string is true")
    if (preserve := schema.get(_PRESERVE)) is False:
        yield Cause.invalid(f"{path}.{_PRESERVE}", preserve, "must be true or undefined")
    list_type, map_type = schema.get(_LIST), schema.get(_MAP)
    if map_type is not None:
        if kind != "object":
            why = "must be object if x-kubernetes-map-type is specified"
            yield Cause.invalid(f"{path}.type", kind, why) if kind else Cause.required(f"{path}.type", why)
        if map_type not in ("atomic", "granular"):
            yield Cause.not_supported(f"{path}.{_MAP}", map_type, ["atomic", "granular"])
    if list_type is not None:
        yield from _list_type(schema, kind, list_type, path)
    if schema.get(_KEYS) and list_type != "map":
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        at = f"{path}.{_LIST}"
        yield Cause.required(at, why) if list_type is None else Cause.invalid(at, list_type, why)


def _list_type(schema: Schema, kind: str, list_type: str, path: str) -> Iterator[Cause]:
    if kind != "array":
        why = "must be array if x-kubernetes-list-type is specified"
        yield Cause.invalid(f"{path}.type", kind, why) if kind else Cause.required(f"{path}.type", why)
    if list_type not in ("atomic", "set", "map"):
        yield Cause.not_supported(f"{path}.{_LIST}", list_type, ["atomic", "set", "map"])
        return
    items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
    assert isinstance(items, dict)
    if list_type in ("set", "map") and items.get("nullable"):
        yield Cause.forbidden(
            f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        )
    if list_type == "set":
        atomic = (items.get("type") == "object" and items.get(_MAP) == "atomic") or (
            items.get("type") == "array" and items.get(_LIST) in (None, "atomic")
        )
        if items.get("type") in ("object", "array") and not atomic:
            field = _MAP if items["type"] == "object" else _LIST
            why = "must be atomic as item of a list with x-kubernetes-list-type=set"
            yield Cause.invalid(f"{path}.items.{field}", items.get(field) or "", why)
    if list_type == "map":
        yield from _list_map(schema, items, path)


def _list_map(schema: Schema, items: Schema, path: str) -> Iterator[Cause]:
    keys = schema.get(_KEYS) or []
    if not keys:
        yield Cause.required(f"{path}.{_KEYS}", "must not be empty if x-kubernetes-list-type is map")
    if items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        yield Cause.invalid(f"{path}.items.type", items.get("type") or "", why)
    properties = items.get("properties") or {}
    seen = set()
    for index, key in enumerate(keys):
        at = f"{path}.items.properties[{key}]"
        if key in seen:
            yield Cause.duplicate(f"{path}.{_KEYS}[{index}]", key)
        seen.add(key)
        if key not in properties:
            yield Cause.invalid(f"{path}.{_KEYS}[{index}]", key, "entries must all be names of item properties")
            continue
        child = properties[key]
        if child.get("type") in ("array", "object"):
            yield Cause.invalid(f"{at}.type", child["type"], "must be a scalar type if parent array's "
                                "x-kubernetes-list-type is map")  # fmt: skip
        if key not in (items.get("required") or ()) and "default" not in child:
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield Cause.required(f"{at}.default", why)
        if child.get("nullable"):
            why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield Cause.forbidden(f"{at}.nullable", why)


# ---------------------------------------------------------------------------------------- below junctors


def _junctors(schema: Schema, outside: Schema, path: str, skip_any: bool = False) -> Iterator[Cause]:
    for junctor in _JUNCTORS:
        if junctor == "anyOf" and skip_any:
            continue
        for index, nested in enumerate(schema.get(junctor) or ()):
            ints = junctor == "allOf" and index == 0 and nested.get("anyOf") == _INT_OR_STRING
            yield from _nested(nested, outside, f"{path}.{junctor}[{index}]", ints and bool(outside.get(_IOS)))
    if isinstance(schema.get("not"), dict):
        yield from _nested(schema["not"], outside, f"{path}.not", False)


def _nested(schema: Schema, outside: Schema, path: str, skip_any: bool) -> Iterator[Cause]:
    """`outside` is the structure that the nested schema must keep to."""
    for field, why in _NESTED:
        if schema.get(field) not in (None, False, "", []):
            yield Cause.forbidden(f"{path}.{field}", why)
    yield from _pattern(schema, path)
    for name, child in (schema.get("properties") or {}).items():
        at = f"{path}.properties[{name}]"
        if name == "metadata":
            yield Cause.forbidden(at, "must not be specified in a nested context")
        specified = (outside.get("properties") or {}).get(name)
        if specified is None and not isinstance(outside.get("additionalProperties"), dict):
            outer = f"{path.rpartition('.')[0]}.properties[{name}]"
            yield Cause.required(outer, f"because it is defined in {at}")
        yield from _nested(child, specified or outside.get("additionalProperties") or {}, at, False)
    if isinstance(items := schema.get("items"), dict):
        inner = outside.get("items")
        if not isinstance(inner, dict):
            yield Cause.required(f"{path.rpartition('.')[0]}.items", f"because it is defined in {path}.items")
        yield from _nested(items, inner if isinstance(inner, dict) else {}, f"{path}.items", False)
    yield from _junctors(schema, outside, path, skip_any)


# ---------------------------------------------------------------------------------------- defaults


def _defaults(schema: Schema, path: str, *, is_root: bool = False) -> Iterator[Cause]:
    """Defaults must be valid, and complete: what pruning would take away from them was meant."""
    if "default" in schema:
        at = f"{path}.default"
        node = structural.parse(schema)
        value = defaulting.fresh(schema["default"])
        if value is None and not schema.get("nullable"):
            yield Cause.invalid(at, None, "must not be null")
            return
        if is_root:
            yield Cause.forbidden(at, "must not be set at the root")
        if not node.resource and pruning.prune(value, node).unknown:
            yield Cause.invalid(at, schema["default"], "must not have unknown fields")
        defaulting.default(value, node)
        for cause in values.validate(value, node, ""):
            below = cause.field if cause.field != "<nil>" else ""
            where = f"{at}.{below}" if below and not below.startswith("[") else at + below
            yield Cause(cause.reason, cause.message, where)
    for name, child in (schema.get("properties") or {}).items():
        yield from _defaults(child, f"{path}.properties[{name}]")
    for field in ("items", "additionalProperties"):
        if isinstance(schema.get(field), dict):
            yield from _defaults(schema[field], f"{path}.{field}")
