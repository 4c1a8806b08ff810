# ruff: noqa: E501 - one case a line
"""Schemas that a definition may have, and what is said about those that it may not."""

from __future__ import annotations

from typing import Any

import pytest

from shirube.api.crd import schema_rules


def problems(schema: dict, path: str = "") -> list[str]:
    return [str(c) for c in schema_rules.validate(schema, "s")]


def field(schema: Any) -> dict:
    return {"type": "object", "properties": {"x": schema}}


X = "s.properties[x]"
BAD = [
    ({}, "s.type: Required value: must not be empty at the root"),
    ({"type": "string"}, 's.type: Invalid value: "string": must be object at the root'),
    (field({}), f"{X}.type: Required value: must not be empty for specified object fields"),
    (
        field({"type": "array", "items": {}}),
        f"{X}.items: Required value: must be specified",
    ),
    (field({"type": "array"}), f"{X}.items: Required value: must be specified"),
    (
        field({"type": "array", "items": {"description": "untyped"}}),
        f"{X}.items.type: Required value: must not be empty for specified array items",
    ),
    (
        {"type": "object", "additionalProperties": {"type": "string"}},
        "s.additionalProperties: Forbidden: must not be used at the root",
    ),
    (
        field({"type": "string", "allOf": [{"type": "string"}]}),
        f"{X}.allOf[0].type: Forbidden: must be empty to be structural",
    ),
    (
        field({"type": "string", "anyOf": [{"default": "a"}]}),
        f"{X}.anyOf[0].default: Forbidden: must be undefined to be structural",
    ),
    (
        field({"type": "string", "pattern": "("}),
        f'{X}.pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: error parsing regexp: missing ): (',
    ),
    (
        field({"type": "string", "x-kubernetes-list-type": "set"}),
        f'{X}.type: Invalid value: "string": must be array if x-kubernetes-list-type is specified',
    ),
    (
        field(
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}},
            }
        ),
        f"{X}.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must "
        "have a default or be a required property",
    ),
    (
        {
            "type": "object",
            "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}},
        },
        "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is "
        "implicitly specified",
    ),
    (
        field({"type": "integer", "default": "a"}),
        f'{X}.default: Invalid value: "string": "" in body must be of type integer: "string"',
    ),
    (
        field({"type": "object", "properties": {}, "default": {"odd": 1}}),
        f'{X}.default: Invalid value: {{"odd":1}}: must not have unknown fields',
    ),
    (
        field({"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        f"{X}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
    ),
    (
        field({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
        f"{X}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
    ),
    (
        field({"type": "object", "x-kubernetes-embedded-resource": True}),
        f"{X}.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without "
        "x-kubernetes-preserve-unknown-fields",
    ),
]


@pytest.mark.parametrize(("schema", "message"), BAD)
def test_schemas_that_are_refused(schema, message):
    assert message in problems(schema)


GOOD = [
    {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    field({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
    field({"type": "object", "additionalProperties": {"type": "string"}}),
    field({"type": "string", "default": "a", "enum": ["a"]}),
    field({"type": "object", "default": {}, "properties": {"n": {"type": "integer", "default": 1}}}),
    {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}}},
    field({"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
]  # fmt: skip


@pytest.mark.parametrize("schema", GOOD)
def test_schemas_that_are_accepted(schema):
    assert problems(schema) == []


def ruled(schema: dict, **rule: Any) -> list[str]:
    return problems(field({**schema, "x-kubernetes-validations": [rule]}))


RULE = f"{X}.x-kubernetes-validations[0]"
OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}, "deep": {"type": "object", "properties": {}}}}
LIST = {"type": "array", "items": {"type": "string"}}
BAD_RULES = [
    (OBJECT, {"rule": ""}, f"{RULE}.rule: Required value: rule is not specified"),
    (OBJECT, {"rule": "self.b == 1"}, "undefined field 'b'"),
    (OBJECT, {"rule": "self.deep.z == 1"}, "undefined field 'z'"),
    (OBJECT, {"rule": "self.a ==="}, "Syntax error"),
    (OBJECT, {"rule": "self.a == 'x'"}, "found no matching overload for '_==_' applied to '(int, string)'"),
    (OBJECT, {"rule": "self.a > 0 && self.a < true"}, "'_<_' applied to '(int, bool)'"),
    (OBJECT, {"rule": "self.a == 1", "reason": "Odd"}, f"{RULE}.reason: Unsupported value"),
    (OBJECT, {"rule": "self.a == 1", "fieldPath": ".zz"}, "does not refer to a valid field"),
    (OBJECT, {"rule": "self.a == 1", "message": "a\nb"}, "must not contain line breaks"),
    (LIST, {"rule": "self.all(x, self.all(y, x != y))"}, "estimated rule cost exceeds budget by factor of more than 100x"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "rule", "message"), BAD_RULES)
def test_rules_that_are_refused(schema, rule, message):
    assert message in "\n".join(ruled(schema, **rule))


def test_rules_that_are_accepted():
    assert ruled(OBJECT, rule="self.a > 0 && (!has(self.deep) || size(self.deep) == 0)") == []
    assert ruled(OBJECT, rule="self.a < 1.5 && string(self.a) == '1' && self.a == 1 && ' self.a == true' != ''") == []
    either = {"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": True}}}
    assert ruled(either, rule="self.p == '5%' || self.p == 5") == []
    assert ruled({**LIST, "maxItems": 10}, rule="self.all(x, self.all(y, x != y || x == y))") == []
    assert ruled(LIST, rule="self.all(x, x.startsWith('self.nothing'))") == []
    assert ruled({"type": "object", "additionalProperties": {"type": "integer"}}, rule="self.any == 1") == []


def test_old_values_of_uncorrelated_items_are_not_known():
    items = {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    assert (
        "uncorrelatable portion of the schema within s.properties[x]"
        in problems(field({"type": "array", "maxItems": 5, "items": items}))[0]
    )
