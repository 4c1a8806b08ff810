"""Validation rules: what they see, when they apply, what they say, and what they may cost."""

from __future__ import annotations

from typing import Any

import pytest

from shirube.api.crd import rules, structural
from shirube.api.crd.expressions import CompileError, Expression
from shirube.api.schema import MISSING


def judge(value: Any, old: Any = MISSING, /, *, schema: dict | None = None, **rule: Any) -> list[str]:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}} if schema is None else schema
    schema = {**schema, "x-kubernetes-validations": [rule]}
    node = structural.parse({"type": "object", "properties": {"x": schema}}, root=True)
    found = rules.of(node)
    assert found is not None
    return [str(c) for c in found.judge({"x": value}, old if old is MISSING else {"x": old})]


HOLDS = [
    ("self.a <= self.b", {"a": 1, "b": 2}),
    ("!has(self.c) || self.c > 0", {"a": 1}),
    ("self.all(k, self[k] > 0)", {"a": 1}),
    ("size(self) == 1 && 'a' in self", {"a": 1}),
]


@pytest.mark.parametrize(("rule", "value"), HOLDS)
def test_rules_that_hold(rule, value):
    assert judge(value, rule=rule) == []


TEXTS = [
    ("self.find('[0-9]+') == '42'", "a42b"),
    ("self.findAll('[0-9]').size() == 2", "a42b"),
    ("url(self).getHostname() == 'a.b' && url(self).getPort() == '80'", "https://a.b:80/x"),
    ("quantity(self).isGreaterThan(quantity('1Gi'))", "2Gi"),
    ("quantity(self) == quantity('1000m')", "1"),
    ("quantity(self).add(quantity('1')).asInteger() == 3", "2"),
    ("isIP(self) && ip(self).family() == 6", "::1"),
    ("cidr(self).containsIP('10.0.0.1')", "10.0.0.0/24"),
    ("['b', 'a'].isSorted() == false && self.split('.').indexOf('y') == 1", "x.y"),
    ("self.lowerAscii() == 'abc'", "ABC"),
    ("!format.dns1123Label().validate(self).hasValue()", "abc"),
    ("cel.bind(n, size(self), n + n == 6)", "abc"),
    ("optional.of(self).orValue('x') == 'abc'", "abc"),
]


@pytest.mark.parametrize(("rule", "value"), TEXTS)
def test_kubernetes_functions(rule, value):
    assert judge(value, schema={"type": "string"}, rule=rule) == []


def test_message_reason_and_field_path():
    assert judge({"a": 1}, rule="self.a > 1") == ["x: Invalid value: failed rule: self.a > 1"]
    assert judge({"a": 1}, rule="self.a > 1", message="too small") == ["x: Invalid value: too small"]
    assert judge({"a": 1}, rule="self.a > 1", messageExpression="'is ' + string(self.a)") == ["x: Invalid value: is 1"]
    assert judge({"a": 1}, rule="self.a > 1", message="m", messageExpression="'a' + 1") == ["x: Invalid value: m"]
    assert judge({"a": 1}, rule="self.a > 1", message="no", reason="FieldValueForbidden", fieldPath=".a") == [
        "x.a: Forbidden: no"
    ]
    assert judge(1, schema={"type": "integer"}, rule="self > 1") == ["x: Invalid value: 1: failed rule: self > 1"]


def test_transition_rules_apply_to_updates_only():
    assert judge({"a": 1}, rule="self.a == oldSelf.a") == []
    assert judge({"a": 1}, {"a": 1}, rule="self.a == oldSelf.a") == []
    assert judge({"a": 2}, {"a": 1}, rule="self.a == oldSelf.a", message="fixed") == ["x: Invalid value: fixed"]
    optional = {"rule": "oldSelf.hasValue() || self.a == 1", "optionalOldSelf": True, "message": "starts at 1"}
    assert judge({"a": 2}, **optional) == ["x: Invalid value: starts at 1"]
    assert judge({"a": 2}, {"a": 1}, **optional) == []


def test_unchanged_values_do_not_fail_an_update():
    assert judge({"a": 1}, {"a": 1}, rule="self.a > 1") == []


def test_errors_of_evaluation():
    assert judge({"a": 1}, rule="self.b > 1") == [
        'x: Invalid value: "object": no such key: b evaluating rule: self.b > 1'
    ]
    assert "division by zero" in judge({"a": 0}, rule="1 / self.a > 1")[0]


def test_nested_macros_over_much_are_refused_before_they_run():
    schema = {"type": "array", "items": {"type": "integer"}}
    rule = "self.all(a, self.all(b, self.all(c, a + b + c > 0)))"
    assert judge([1] * 20, schema=schema, rule=rule) == []
    assert "cost exceeds limit" in judge([1] * 2000, schema=schema, rule=rule)[0]


def test_optional_fields():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    rule = "self.?a.orValue(5) == 5 && self.?b.hasValue()"
    assert judge({"b": 1}, schema=schema, rule=rule) == []
    assert judge({"a": 1, "b": 1}, schema=schema, rule=rule) != []


def test_properties_are_escaped_and_undeclared_ones_unseen():
    schema = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"a-b": {"type": "integer"}, "namespace": {"type": "string"}, "x.y/z": {"type": "integer"}},
    }
    value = {"a-b": 1, "namespace": "n", "x.y/z": 2, "free": 1}
    rule = "self.a__dash__b + self.x__dot__y__slash__z == 3 && self.__namespace__ == 'n' && !has(self.free)"
    assert judge(value, schema=schema, rule=rule) == []


def test_formats_are_values():
    schema = {
        "type": "object",
        "properties": {"t": {"type": "string", "format": "date-time"}, "f": {"type": "number"}},
    }
    value = {"t": "2026-01-02T03:04:05Z", "f": 1}
    assert judge(value, schema=schema, rule="self.t.getFullYear() == 2026 && self.f + 0.5 > 1.0") == []


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("self.a(", "Syntax error"),
        ("other == 1", "undeclared reference to 'other'"),
        ("self.nosuch()", "undeclared reference to 'nosuch'"),
    ],
)
def test_compile_errors_show_the_place(source, why):
    with pytest.raises(CompileError, match=r"(?s)compilation failed: ERROR: <input>:1:\d+: .*\^") as error:
        Expression(source, rules.VARIABLES)
    assert why in str(error.value)
