"""Semantic equality: absent and empty mean the same, everything else does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shirube.api.validation.equality import semantic_equal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ({}, {"a": None}, True),
        ({"a": []}, {}, True),
        ({"a": {}}, {"a": []}, True),
        ({"a": ""}, {}, True),
        ({"a": 0}, {}, False),
        ({"a": False}, {}, False),
        ([1, 2], [2, 1], False),
        ([{"a": []}], [{}], True),
        ({"a": {"b": [1]}}, {"a": {"b": [1], "c": {}}}, True),
    ],
)
def test_cases(a, b, same):
    assert semantic_equal(a, b) is same
    assert semantic_equal(b, a) is same


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_a_value_equals_itself_and_symmetry_holds(value):
    assert semantic_equal(value, value)
    wrapped = {"x": value, "empty": []}
    assert semantic_equal(wrapped, {"x": value}) and semantic_equal({"x": value}, wrapped)
