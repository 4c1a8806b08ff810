"""Pruning, defaulting and validation by structural schemas, as tables of cases."""

from __future__ import annotations

from typing import Any

import pytest

from shirube.api.crd import defaulting, pruning, structural, values
from shirube.api.schema import MISSING


def node(**properties: Any) -> structural.Node:
    spec = {"type": "object", "properties": properties}
    return structural.parse({"type": "object", "properties": {"spec": spec}}, root=True)


def causes(schema: dict, value: Any, old: Any = MISSING) -> list[str]:
    before = old if old is MISSING else {"spec": {"x": old}}
    return [str(c) for c in values.validate({"spec": {"x": value}}, node(x=schema), "", before)]


BAD = [
    ({"type": "integer"}, "a", 'spec.x: Invalid value: "string": spec.x in body must be of type integer: "string"'),
    ({"type": "string"}, None, 'spec.x: Invalid value: "null": spec.x in body must be of type string: "null"'),
    (
        {"type": "integer"},
        True,
        'spec.x: Invalid value: "boolean": spec.x in body must be of type integer: "boolean"',
    ),
    ({"type": "integer"}, 1.5, 'spec.x: Invalid value: "number": spec.x in body must be of type integer: "number"'),
    (
        {"x-kubernetes-int-or-string": True},
        [],
        'spec.x: Invalid value: "array": spec.x in body must be of type integer,string: "array"',
    ),
    ({"type": "string", "enum": ["a", "b"]}, "c", 'spec.x: Unsupported value: "c": supported values: "a", "b"'),
    (
        {"type": "integer", "maximum": 5},
        6,
        "spec.x: Invalid value: 6: spec.x in body should be less than or equal to 5",
    ),
    (
        {"type": "integer", "maximum": 5, "exclusiveMaximum": True},
        5,
        "spec.x: Invalid value: 5: spec.x in body should be less than 5",
    ),
    (
        {"type": "integer", "minimum": 5},
        4,
        "spec.x: Invalid value: 4: spec.x in body should be greater than or equal to 5",
    ),
    ({"type": "integer", "multipleOf": 2}, 3, "spec.x: Invalid value: 3: spec.x in body should be a multiple of 2"),
    ({"type": "string", "maxLength": 2}, "abc", "spec.x: Too long: may not be more than 2 bytes"),
    (
        {"type": "string", "minLength": 2},
        "a",
        'spec.x: Invalid value: "a": spec.x in body should be at least 2 chars long',
    ),
    ({"type": "string", "pattern": "^a+$"}, "b", "spec.x: Invalid value: \"b\": spec.x in body should match '^a+$'"),
    (
        {"type": "string", "format": "ipv4"},
        "b",
        'spec.x: Invalid value: "b": spec.x in body must be of type ipv4: "b"',
    ),
    (
        {"type": "array", "items": {"type": "string"}, "maxItems": 1},
        ["a", "b"],
        "spec.x: Too many: 2: must have at most 1 item",
    ),
    (
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        [],
        "spec.x: Invalid value: []: spec.x in body should have at least 1 items",
    ),
    (
        {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        ["a", "b", "a"],
        'spec.x[2]: Duplicate value: "a"',
    ),
    (
        {
            "type": "array",
            "items": {"type": "object", "properties": {"k": {"type": "string"}}},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
        },
        [{"k": "a"}, {"k": "a"}],
        'spec.x[1]: Duplicate value: {"k":"a"}',
    ),
    ({"type": "object", "properties": {}, "required": ["y"]}, {}, "spec.x.y: Required value"),
    (
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"k": 1},
        'spec.x.k: Invalid value: "integer": spec.x.k in body must be of type string: "integer"',
    ),
    (
        {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        {"apiVersion": "v1"},
        "spec.x.kind: Required value: must not be empty",
    ),
    (
        {"type": "string", "not": {"enum": ["a"]}},
        "a",
        'spec.x: Invalid value: "a": "spec.x" must not validate the schema (not)',
    ),
]


@pytest.mark.parametrize(("schema", "value", "message"), BAD)
def test_bad_values_are_reported_as_upstream_words_it(schema, value, message):
    assert causes(schema, value) == [message]
    assert causes(schema, value, old=value) == []  # what was there before is not judged again


GOOD = [
    ({"type": "integer"}, 3),
    ({"type": "integer"}, 3.0),
    ({"type": "number"}, 3),
    ({"type": "string", "nullable": True}, None),
    ({"x-kubernetes-int-or-string": True}, "50%"),
    ({"x-kubernetes-preserve-unknown-fields": True}, {"any": [1, "x"]}),
    ({"type": "string", "format": "date-time"}, "2026-01-02T03:04:05Z"),
    ({"type": "string", "format": "no-such-format"}, "x"),
    ({"type": "string", "anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]}, "b"),
]


@pytest.mark.parametrize(("schema", "value"), GOOD)
def test_good_values(schema, value):
    assert causes(schema, value) == []


def test_ratcheting_follows_the_keys_of_map_lists():
    schema = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
        "items": {
            "type": "object",
            "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}},
        },
    }
    old = [{"k": "a", "v": 5}, {"k": "b", "v": 0}]
    new = [{"k": "b", "v": 0}, {"k": "c", "v": 7}, {"k": "a", "v": 5}]
    assert [c.split(":")[0] for c in causes(schema, new, old)] == ["spec.x[1].v"]


def test_pruning_keeps_identity_and_what_is_preserved():
    schema = node(
        known={"type": "string"},
        open={
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"closed": {"type": "object"}},
        },
    )
    obj = {
        "apiVersion": "a/v1",
        "kind": "K",
        "metadata": {"name": "n", "odd": 1},
        "extra": 1,
        "spec": {"known": "x", "unknown": 1, "open": {"free": {"a": 1}, "closed": {"gone": 1}}},
    }
    pruned = pruning.prune(obj, schema)
    assert sorted(pruned.unknown) == ["extra", "metadata.odd", "spec.open.closed.gone", "spec.unknown"]
    assert obj["spec"] == {"known": "x", "open": {"free": {"a": 1}, "closed": {}}}


def test_defaults_and_nulls():
    schema = node(
        foo={"type": "string", "default": "d"},
        bar={"type": "string", "nullable": True},
        baz={"type": "string"},
        deep={"type": "object", "default": {}, "properties": {"n": {"type": "integer", "default": 3}}},
        items={"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "q"}}}},
    )
    obj: dict = {"spec": {"foo": None, "bar": None, "baz": None, "items": [{}, {"p": "x"}]}}
    defaulting.default(obj, schema)
    assert obj["spec"] == {"foo": "d", "bar": None, "deep": {"n": 3}, "items": [{"p": "q"}, {"p": "x"}]}
