"""Laws of pruning, defaulting and validation, for whatever a client may send."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shirube.api.crd import defaulting, pruning, rules, structural, values
from shirube.api.schema import MISSING

_NAMES = st.sampled_from(["a", "b", "c", "metadata", "kind"])
_SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text("ab1:/", max_size=4)
JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3), max_leaves=12
)


def _schemas(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    flags = st.sampled_from([{}, {"nullable": True}, {"x-kubernetes-preserve-unknown-fields": True}])
    objects = st.dictionaries(_NAMES, inner, max_size=3).map(lambda p: {"type": "object", "properties": p})
    maps = inner.map(lambda s: {"type": "object", "additionalProperties": s})
    kinds = st.sampled_from(["atomic", "set"])
    lists = st.tuples(inner, kinds).map(
        lambda pair: {"type": "array", "items": pair[0], "x-kubernetes-list-type": pair[1]}
    )
    return st.tuples(objects | maps | lists, flags).map(lambda pair: {**pair[0], **pair[1]})


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string", "default": "x", "pattern": "^[a-z]"},
            {"type": "string", "format": "date-time", "maxLength": 3},
            {"type": "integer", "minimum": 0, "default": 3},
            {"type": "number", "multipleOf": 0.5},
            {"type": "boolean", "nullable": True},
            {"x-kubernetes-int-or-string": True},
            {"x-kubernetes-preserve-unknown-fields": True},
            {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        ]
    ),
    _schemas,
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, JSON)
def test_pruning_and_defaulting_are_done_once_and_for_all(schema, value):
    node = structural.parse({"type": "object", "properties": {"x": schema}})
    obj = {"x": defaulting.fresh(value)}
    pruning.prune(obj, node)
    defaulting.default(obj, node)
    again = structural_copy(obj)
    assert pruning.prune(again, node).unknown == []
    defaulting.default(again, node)
    assert again == obj


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, JSON, JSON | st.just(MISSING))
def test_validation_judges_anything_and_forgives_what_was_there(schema, value, old):
    node = structural.parse({"type": "object", "properties": {"x": schema}})
    before = MISSING if old is MISSING else {"x": old}
    values.validate({"x": value}, node, "", before)
    assert values.validate({"x": value}, node, "", {"x": value}) == []
    structural.type_of(node)


@settings(max_examples=60, deadline=None)
@given(SCHEMAS, JSON, JSON | st.just(MISSING))
def test_rules_judge_anything(schema, value, old):
    ruled = {**schema, "x-kubernetes-validations": [{"rule": "self == self && size(string(type(self))) > 0"}]}
    found = rules.of(structural.parse({"type": "object", "properties": {"x": ruled}}))
    assert found is not None
    found.judge({"x": value}, MISSING if old is MISSING else {"x": old})


def structural_copy(value: Any) -> Any:
    return defaulting.fresh(value)
