"""Validation of objects against a structural schema, with the causes that upstream reports.

`validate` walks object and schema together. On updates the old value goes along: what has not changed is not
judged again, so that a definition can become stricter without locking out the objects that exist (ratcheting, KEP
4008). Items of a `map` list are paired by their keys, those of other lists are new when the list changed.
Messages are those of k8s.io/kube-openapi ``pkg/validation`` as ``ValidateCustomResource`` translates them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import orjson
import re2

from shirube.api.crd import formats
from shirube.api.crd.structural import IDENTITY, Node, Schema
from shirube.api.errors import Cause
from shirube.api.schema import MISSING

MAX_CAUSES = 100  # of one object; more help nobody
RE2_LIMIT = 8 << 20


def validate(value: Any, node: Node, path: str = "", old: Any = MISSING) -> list[Cause]:
    """What is wrong with a value that replaces `old` (MISSING: a new one)."""
    causes: list[Cause] = []
    for cause in _walk(value, node, path, old):
        causes.append(cause)
        if len(causes) >= MAX_CAUSES:
            break
    return causes


def _walk(value: Any, node: Node, path: str, old: Any) -> Iterator[Cause]:
    if old is not MISSING and old == value:
        return
    if value is None:
        if not node.nullable and node.type:
            yield _type_error(path, "null", node.type)
        return
    if (wrong := _wrong_type(value, node)) is not None:
        yield _type_error(path, *wrong)
    yield from value_validations(value, node.schema, path)
    if isinstance(value, dict):
        yield from _object(value, node, path, old if isinstance(old, dict) else None)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            yield from _walk(item, node.items, f"{path}[{index}]", correlated(item, node, old))
        yield from _unique(value, node, path)


def _object(value: dict[str, Any], node: Node, path: str, old: dict[str, Any] | None) -> Iterator[Cause]:
    for key, child in value.items():
        if node.resource and key in IDENTITY:
            continue
        below = node.child(key)
        if below is not None:
            name = key if key in node.properties else None
            at = field_path(path, key) if name else map_path(path, key)
            yield from _walk(child, below, at, old[key] if old is not None and key in old else MISSING)
    if node.resource and path:
        yield from _embedded(value, path)


def _embedded(value: dict[str, Any], path: str) -> Iterator[Cause]:
    """An embedded resource has the identity of an object."""
    for key in ("apiVersion", "kind"):
        if not value.get(key):
            yield Cause.required(f"{path}.{key}", "must not be empty")
        elif not isinstance(value[key], str):
            yield Cause.type_invalid(f"{path}.{key}", value[key], "must be a string")
    if "metadata" in value and not isinstance(value["metadata"], dict):
        yield Cause.type_invalid(f"{path}.metadata", value["metadata"], "must be an object")


def field_path(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


map_path = field_path  # upstream's validator joins keys of maps with dots, too


def correlated(item: Any, node: Node, old: Any) -> Any:
    """The item of the old list that this one replaces; MISSING when that cannot be said."""
    if node.list_type != "map" or not isinstance(old, list) or not isinstance(item, dict):
        return MISSING
    keys = node.list_keys
    for other in old:
        if isinstance(other, dict) and all(other.get(k) == item.get(k) for k in keys):
            return other
    return MISSING


def _unique(value: list[Any], node: Node, path: str) -> Iterator[Cause]:
    if node.list_type == "atomic":
        return
    seen: set[bytes] = set()
    for index, item in enumerate(value):
        shown = item
        if node.list_type == "map":
            if not isinstance(item, dict):
                continue
            shown = {k: item[k] for k in node.list_keys if k in item}
        key = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
        if key in seen:
            yield Cause.duplicate(f"{path}[{index}]", shown)
        seen.add(key)


# ---------------------------------------------------------------------------------------- types


def kind_of(value: Any) -> str:
    """What a schema calls the type of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _wrong_type(value: Any, node: Node) -> tuple[str, str] | None:
    """(found, wanted)"""
    kind = kind_of(value)
    if node.int_or_string:
        return None if kind in ("integer", "string") else (kind, "integer,string")
    wanted = node.type
    if not wanted or kind == wanted or (kind == "integer" and wanted == "number"):
        return None
    if wanted == "integer" and kind == "number" and value.is_integer():
        return None
    return kind, wanted


def _type_error(path: str, found: str, wanted: str) -> Cause:
    at = path or '""'
    return Cause.type_invalid(path or "<nil>", found, f'{at} in body must be of type {wanted}: "{found}"')


# ---------------------------------------------------------------------------------------- values


def value_validations(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    """Everything that a schema demands of a value beyond its structure; nested in `allOf` and the like, too."""
    if (enum := schema.get("enum")) is not None and not any(_same(value, e) for e in enum):
        yield _not_supported(path, value, enum)
    if isinstance(value, str):
        yield from _string(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(value, schema, path)
    elif isinstance(value, list):
        yield from _list(value, schema, path)
    elif isinstance(value, dict):
        yield from _map(value, schema, path)
    if any(k in schema for k in ("allOf", "anyOf", "oneOf", "not")):
        yield from _junctors(value, schema, path)


def _same(value: Any, other: Any) -> bool:
    return value == other and isinstance(value, bool) is isinstance(other, bool)


def _not_supported(path: str, value: Any, enum: list[Any]) -> Cause:
    texts = [e if isinstance(e, str) else orjson.dumps(e).decode() for e in enum]
    return Cause.not_supported(path or "<nil>", value, texts)


def _fails(path: str, value: Any, why: str) -> Cause:
    return Cause.invalid(path or "<nil>", value, f"{path} in body {why}")


@functools.lru_cache(1024)
def pattern(text: str) -> Any:
    """A compiled RE2 pattern: linear in its input, bounded in memory. Raises re2.error."""
    options = re2.Options()
    options.max_mem = RE2_LIMIT
    options.log_errors = False
    return re2.compile(text, options)


def _string(value: str, schema: Schema, path: str) -> Iterator[Cause]:
    length = len(value)
    if (limit := schema.get("maxLength")) is not None and length > limit:
        yield Cause.too_long(path, limit)
    if (limit := schema.get("minLength")) is not None and length < limit:
        yield _fails(path, value, f"should be at least {limit} chars long")
    if wanted := schema.get("pattern"):
        try:
            matches = pattern(wanted).search(value) is not None
        except re2.error as error:
            yield _fails(path, value, f"cannot be checked: pattern {wanted!r} is not valid: {error}")
        else:
            if not matches:
                yield _fails(path, value, f"should match '{wanted}'")
    check = formats.CHECKS.get((schema.get("format") or "").lower())
    if check is not None and not check(value):
        shown = schema["format"]
        yield Cause.type_invalid(path or "<nil>", value, f'{path} in body must be of type {shown}: "{value}"')


_INTEGERS = {"int32": 2**31, "int64": 2**63}


def _number(value: float, schema: Schema, path: str) -> Iterator[Cause]:
    if (factor := schema.get("multipleOf")) and not _multiple(value, factor):
        yield _fails(path, value, f"should be a multiple of {_plain(factor)}")
    if (limit := schema.get("maximum")) is not None:
        if schema.get("exclusiveMaximum") and value >= limit:
            yield _fails(path, value, f"should be less than {_plain(limit)}")
        elif value > limit:
            yield _fails(path, value, f"should be less than or equal to {_plain(limit)}")
    if (limit := schema.get("minimum")) is not None:
        if schema.get("exclusiveMinimum") and value <= limit:
            yield _fails(path, value, f"should be greater than {_plain(limit)}")
        elif value < limit:
            yield _fails(path, value, f"should be greater than or equal to {_plain(limit)}")
    bound = _INTEGERS.get(schema.get("format") or "")
    if bound and isinstance(value, int) and not -bound <= value < bound:
        name = schema["format"]
        yield Cause.invalid(path, value, f"Checked value must be of type integer with format {name} in {path}")


def _plain(value: float) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and isinstance(factor, int):
        return value % factor == 0
    quotient = value / factor
    return abs(quotient - round(quotient)) < 1e-9


def _list(value: list[Any], schema: Schema, path: str) -> Iterator[Cause]:
    if (limit := schema.get("maxItems")) is not None and len(value) > limit:
        yield Cause.too_many(path, len(value), limit)
    if (limit := schema.get("minItems")) is not None and len(value) < limit:
        yield _fails(path, value, f"should have at least {limit} items")
    if schema.get("uniqueItems"):
        seen = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in value}
        if len(seen) != len(value):
            yield _fails(path, value, "shouldn't contain duplicates")


def _map(value: dict[str, Any], schema: Schema, path: str) -> Iterator[Cause]:
    if (limit := schema.get("maxProperties")) is not None and len(value) > limit:
        yield Cause.too_many(path or "<nil>", len(value), limit)
    if (limit := schema.get("minProperties")) is not None and len(value) < limit:
        yield _fails(path, value, f"should have at least {limit} properties")
    for name in schema.get("required") or ():
        if name not in value:
            yield Cause.required(field_path(path, name))
    if schema.get("additionalProperties") is False:
        for key in value:
            if key not in (schema.get("properties") or {}):
                at = field_path(path, key)
                yield Cause.invalid(at, "", f"{at} in body is a forbidden property")


def _nested(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    """A schema below a junctor: value validations of fields and items, and the types of int-or-string."""
    if (wanted := schema.get("type")) and _wrong_type(value, Node(schema, wanted)) is not None:
        yield _type_error(path, kind_of(value), wanted)
    yield from value_validations(value, schema, path)
    if isinstance(value, dict):
        for name, child in (schema.get("properties") or {}).items():
            if name in value:
                yield from _nested(value[name], child, field_path(path, name))
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            yield from _nested(item, schema["items"], f"{path}[{index}]")


def _holds(value: Any, schema: Schema, path: str) -> bool:
    return next(_nested(value, schema, path), None) is None


def _junctors(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    at, shown = path or "<nil>", f'"{path}"'
    if (any_of := schema.get("anyOf")) and not any(_holds(value, s, path) for s in any_of):
        yield Cause.invalid(at, _brief(value), f"{shown} must validate at least one schema (anyOf)")
        yield from _nested(value, any_of[0], path)
    if one_of := schema.get("oneOf"):
        valid = sum(_holds(value, s, path) for s in one_of)
        if valid != 1:
            found = "Found none valid" if valid == 0 else f"Found {valid} valid alternatives"
            yield Cause.invalid(at, _brief(value), f"{shown} must validate one and only one schema (oneOf). {found}")
            if valid == 0:
                yield from _nested(value, one_of[0], path)
    if all_of := schema.get("allOf"):
        failing = [cause for s in all_of for cause in _nested(value, s, path)]
        if failing:
            yield Cause.invalid(at, _brief(value), f"{shown} must validate all the schemas (allOf)")
            yield from failing
    if (negated := schema.get("not")) is not None and _holds(value, negated, path):
        yield Cause.invalid(at, _brief(value), f"{shown} must not validate the schema (not)")


def _brief(value: Any) -> Any:
    return "" if isinstance(value, dict | list) else value
