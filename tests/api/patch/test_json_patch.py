"""JSON patch: RFC 6902, bounds, and agreement with the `jsonpatch` package."""

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.api.patch.json_patch import apply
from shirube.api.patch.merge_patch import same


def op(op, path, value=None, **more):
    made = {"op": op, "path": path, **more}
    if op in ("add", "replace", "test"):
        made["value"] = value
    return made


@pytest.mark.parametrize(
    ("doc", "operations", "result"),
    [
        ({"a": 1}, [], {"a": 1}),
        ({"a": 1}, [op("add", "/b", 2)], {"a": 1, "b": 2}),
        ({"a": 1}, [op("add", "/a", None)], {"a": None}),
        ({"a": [1, 3]}, [op("add", "/a/1", 2)], {"a": [1, 2, 3]}),
        ({"a": [1]}, [op("add", "/a/-", 2)], {"a": [1, 2]}),
        ({"a": [1]}, [op("add", "/a/1", 2)], {"a": [1, 2]}),
        ({"a": [1, 2]}, [op("remove", "/a/0")], {"a": [2]}),
        ({"a": [1, 2]}, [op("remove", "/a/-1")], {"a": [1]}),
        ({"a": 1, "b": 2}, [op("remove", "/a")], {"b": 2}),
        ({"a": {"b": 1}}, [op("replace", "/a/b", 2)], {"a": {"b": 2}}),
        ({"a": [1]}, [op("replace", "/a/0", 2)], {"a": [2]}),
        ({"a": {"b": 1}}, [op("move", "/c", **{"from": "/a/b"})], {"a": {}, "c": 1}),
        ({"a": [1, 2]}, [op("move", "/a/1", **{"from": "/a/0"})], {"a": [2, 1]}),
        ({"a": {"b": 1}}, [op("copy", "/c", **{"from": "/a"})], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a/b": 1, "m~n": 2}, [op("replace", "/a~1b", 3), op("replace", "/m~0n", 4)], {"a/b": 3, "m~n": 4}),
        ({"a": 1}, [op("test", "/a", 1), op("replace", "/a", 2)], {"a": 2}),
        ({"a": 1}, [op("test", "/b", None)], {"a": 1}),
        ({"a": {"x": 1, "y": 2}}, [op("test", "/a", {"y": 2, "x": 1})], {"a": {"x": 1, "y": 2}}),
        ({"a": 1}, [op("replace", "", {"b": 1})], {"b": 1}),
        ({"": 1}, [op("replace", "/", 2)], {"": 2}),
    ],
)
def test_operations(doc, operations, result):
    before = repr(doc), repr(operations)
    assert apply(doc, operations) == result
    assert (repr(doc), repr(operations)) == before


@pytest.mark.parametrize(
    ("operation", "detail"),
    [
        (op("add", "/x/y", 1), 'add operation does not apply: doc is missing path: "/x/y": missing value'),
        (op("add", "/a/5", 1), "Unable to access invalid index: 5: invalid index referenced"),
        (op("add", "/a/x", 1), '"x" in "/a/x" is no index of a list: invalid index referenced'),
        (op("remove", "/x"), "error in remove for path: '/x': Unable to remove nonexistent key: x: missing value"),
        (op("remove", "/a/9"), "Unable to access invalid index: 9: invalid index referenced"),
        (op("remove", ""), "remove operation does not apply: the whole document cannot be removed"),
        (op("replace", "/x", 1), "replace operation does not apply: doc is missing key: /x: missing value"),
        (op("test", "/b", 2), "testing value /b failed: test failed"),
        (op("test", "/b", True), "testing value /b failed: test failed"),
        (op("test", "/x/y/z", 2), "testing value /x/y/z failed: test failed"),
        (
            op("move", "/b", **{"from": "/x"}),
            "error in move for path: '/x': Unable to remove nonexistent key: x: missing value",
        ),
        (op("move", "/a/0/x", **{"from": "/a"}), "move operation does not apply: /a cannot move into itself"),
        (
            op("copy", "/b", **{"from": "/x"}),
            "copy operation does not apply: doc is missing from path: /x: missing value",
        ),
        (op("copy", "/b"), "operation has no from"),
        (op("dance", "/b"), "Unexpected kind: dance"),
        ({"op": "add", "value": 1}, "operation has no path"),
        ({"op": "add", "path": "/b"}, "add operation on /b has no value"),
        (op("add", "b", 1), 'path "b" does not start with "/"'),
        (op("replace", "", [1]), "the patched document is not an object"),
        (op("add", "/a/١", 1), '"١" in "/a/١" is no index of a list: invalid index referenced'),
    ],
)
def test_what_does_not_fit_is_unprocessable(operation, detail):
    with pytest.raises(ApiError) as caught:
        apply({"a": [1], "b": 1}, [operation])
    error = caught.value
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message == "the server rejected our request due to an error in our request"
    assert error.causes == [{"message": detail}]


@pytest.mark.parametrize("patch", [{}, "x", [1], [[]], None])
def test_what_is_no_patch_is_a_bad_request(patch):
    with pytest.raises(ApiError) as caught:
        apply({}, patch)
    assert caught.value.code == 400


def test_nothing_changes_when_one_operation_fails():
    doc = {"a": {"b": 1}}
    with pytest.raises(ApiError):
        apply(doc, [op("add", "/a/c", 1), op("test", "/a/b", 2)])
    assert doc == {"a": {"b": 1}}


def test_too_many_operations():
    with pytest.raises(ApiError) as caught:
        apply({}, [op("add", "/a", 1)] * 10_001)
    assert caught.value.code == 413
    assert caught.value.message == (
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    )
    assert apply({}, [op("add", "/a", 1)] * 10_000) == {"a": 1}


def test_copies_cannot_blow_up():
    doubling = [op("add", "/a", ["x" * 1000])] + [op("copy", "/a/-", **{"from": "/a"})] * 9_000
    with pytest.raises(ApiError) as caught:
        apply({}, doubling)
    assert caught.value.code in (400, 422)
    wide = [op("copy", f"/{i}", **{"from": "/a"}) for i in range(9_000)]
    with pytest.raises(ApiError) as caught:
        apply({"a": "x" * 10_000}, wide)
    assert "accumulated size" in caught.value.causes[0]["message"]


def test_depth_is_bounded():
    deeper = [op("add", "/a" * i, {}) for i in range(1, 2_000)]
    with pytest.raises(ApiError) as caught:
        apply({}, deeper)
    assert caught.value.code == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from("xy"),
    lambda c: st.lists(c, max_size=3) | st.dictionaries(st.sampled_from("abc"), c, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.sampled_from("abc"), json_values, max_size=3)


@settings(max_examples=150)
@given(documents, documents)
def test_a_difference_applied_gives_the_other(old, new):
    assert same(apply(old, jsonpatch.make_patch(old, new).patch), new)


pointers = st.lists(st.sampled_from(["a", "b", "0", "1", "-"]), min_size=1, max_size=3).map(lambda t: "/" + "/".join(t))
operations = st.one_of(
    st.builds(op, st.sampled_from(["add", "replace"]), pointers, json_values),
    st.builds(op, st.just("remove"), pointers),
    st.builds(lambda k, p, f: op(k, p, **{"from": f}), st.sampled_from(["move", "copy"]), pointers, pointers),
)


@settings(max_examples=200)
@given(documents, st.lists(operations, max_size=4))
def test_agreement_with_the_package(doc, patch):
    try:
        expected = jsonpatch.apply_patch(doc, patch)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
        return  # that package is the stricter one (negative indexes, "-")
    assert same(apply(doc, patch), expected)
