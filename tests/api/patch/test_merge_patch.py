"""JSON merge patch: the examples of RFC 7386 and its laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.api.patch.merge_patch import apply, diff, same


@pytest.mark.parametrize(
    ("doc", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_examples(doc, patch, result):
    before = repr(doc), repr(patch)
    assert apply(doc, patch) == result
    assert (repr(doc), repr(patch)) == before


@pytest.mark.parametrize("patch", [[], "x", None, 1])
def test_a_patch_is_an_object(patch):
    with pytest.raises(ApiError) as caught:
        apply({}, patch)
    assert (caught.value.code, caught.value.message) == (400, "Invalid JSON Patch")


def test_the_result_shares_nothing():
    doc, patch = {"a": {"b": []}}, {"c": {"d": []}}
    result = apply(doc, patch)
    result["a"]["b"].append(1)
    result["c"]["d"].append(1)
    assert (doc, patch) == ({"a": {"b": []}}, {"c": {"d": []}})


values = st.recursive(
    st.booleans() | st.integers(0, 3) | st.sampled_from("xy"),
    lambda c: st.lists(c, max_size=2) | st.dictionaries(st.sampled_from("abc"), c, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(documents, documents)
def test_a_difference_applied_gives_the_other(old, new):
    patch = diff(old, new)
    assert same(apply(old, patch), new)
    assert (patch == {}) == same(old, new)


@given(documents, documents)
def test_applying_twice_is_applying_once(doc, patch):
    once = apply(doc, patch)
    assert same(apply(once, patch), once)
