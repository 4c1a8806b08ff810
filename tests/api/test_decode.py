"""Bodies from outside: good, odd and hostile ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.api import decode
from shirube.api.errors import ApiError


def refused(call, *args, code=400):
    with pytest.raises(ApiError) as caught:
        call(*args)
    assert caught.value.code == code
    return caught.value.message


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"a":1}x', b"{a:1}", b"\xff", b'{"a":NaN}', b'{"a":1e999}', b'\xef\xbb\xbf{"a":1}', b'{"a":"\xff"}'],
)
def test_malformed_json_is_a_bad_request(data):
    assert "json parse error" in refused(decode.json_body, data)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [201, 1000, 1025, 400_000])
def test_deep_json_is_a_bad_request(opening, depth):
    closing = b"]" if opening == b"[" else b"1" + b"}"
    data = opening * depth + closing * depth if opening == b"[" else opening * depth + b"1" + b"}" * depth
    refused(decode.json_body, data)


def test_json_as_deep_as_allowed():
    assert decode.json_body(b"[" * 200 + b"]" * 200)
    assert decode.json_body(b'["' + b"[" * 5000 + b'"]') == ["[" * 5000]


def test_large_bodies():
    assert refused(decode.json_body, b" " * (3 * 1024 * 1024 + 1), code=413).startswith(
        "Request entity too large: limit is"
    )
    refused(decode.yaml_body, b" " * (3 * 1024 * 1024 + 1), code=413)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('{"a":1,"b":{"a":2}}', []),
        ('{"a":1,"a":2}', ["a"]),
        ('{"a":1 , "a" : 2, "a":3}', ["a"]),
        ('{"spec":{"x":[{},{"b":1,"b":2}],"y":1,"y":2}}', ["spec.x[1].b", "spec.y"]),
        ('{"a\\\\":1,"a\\\\":2}', ["a\\"]),
        ('{"a":"{\\"a\\":1,\\"a\\":2}"}', []),
    ],
)
def test_duplicates(text, paths):
    data = text.encode()
    assert decode.duplicates(data) == paths
    if paths:
        assert decode.may_have_duplicates(data, decode.count_keys(decode.json_body(data)))


def test_ordinary_bodies_pass_the_cheap_test():
    value = {"metadata": {"annotations": {"x": json.dumps({"a": {"b": "c:"}}), "y:": '":'}}, "l": [{"a": 1}]}
    for separators in ((",", ":"), (", ", ": ")):
        data = json.dumps(value, separators=separators).encode()
        assert not decode.may_have_duplicates(data, decode.count_keys(value))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=12,
)


@given(plain)
def test_what_json_writes_is_read_back_and_has_no_duplicates(value):
    data = json.dumps(value, ensure_ascii=False).encode()
    assert decode.json_body(data) == value
    assert decode.duplicates(data) == []
    if not decode.may_have_duplicates(data, decode.count_keys(value)):
        assert decode.duplicates(data) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        (
            "a: yes\nb: on\nc: y\nd: True\ne: off\nf: n",
            {"a": True, "b": True, "c": True, "d": True, "e": False, "f": False},
        ),
        ("a: 'yes'\nb: \"1\"\nc: !!str 1\nd: |\n  1", {"a": "yes", "b": "1", "c": "1", "d": "1"}),
        ("a: 0644\nb: 0x1F\nc: 0b11\nd: 0o17\ne: 1_000", {"a": 420, "b": 31, "c": 3, "d": 15, "e": 1000}),
        ("a: 1.5\nb: 1.0\nc: 1e3\nd: -.5\ne: 08", {"a": 1.5, "b": 1, "c": 1000, "d": -0.5, "e": 8}),
        ("a: 1.2.3\nb: 100m\nc: 1:30\nd: -x\ne: +", {"a": "1.2.3", "b": "100m", "c": "1:30", "d": "-x", "e": "+"}),
        ("a: 2001-12-14\nb: 2001-12-14T21:59:43Z", {"a": "2001-12-14", "b": "2001-12-14T21:59:43Z"}),
        ("a: ~\nb: null\nc:", {"a": None, "b": None, "c": None}),
        ("1: a\ntrue: b\n1.5: c\nno: d", {"1": "a", "true": "b", "1.5": "c", "false": "d"}),
        ("a: !!binary aGk=", {"a": "hi"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: &x {b: 1}\ne: &y {c: 2}\nd:\n  <<: [*x, *y]", {"a": {"b": 1}, "e": {"c": 2}, "d": {"b": 1, "c": 2}}),
        ("---\na: 1\n", {"a": 1}),
        ("---\na: 1\n---\n", {"a": 1}),
        ("# nothing\n", None),
        ('{"a": "\\u00e9"}', {"a": "é"}),
        ("{a: 1}", {"a": 1}),
        ("{a: yes, b: [1, x]}", {"a": True, "b": [1, "x"]}),
        ("a: 18446744073709551615\nb: -9223372036854775808", {"a": 2**64 - 1, "b": -(2**63)}),
    ],
)
def test_yaml_is_read_as_upstream_reads_it(text, value):
    assert decode.yaml_body(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "yaml: line"),
        ("a: b: c", "yaml: line 1:"),
        ("a: 1\n---\nb: 2", "only one document"),
        ("a: .inf", "unsupported value: .inf"),
        ("? [a]\n: b", "a map key cannot be a list"),
        ("? {a: b}\n: b", "a map key cannot be a map"),
        ("~: b", "a map key cannot be a null"),
        ("a: *x", "unknown anchor 'x'"),
        ("a: &x [*x]", "anchor 'x' value contains itself"),
        ("<<: 1", "map merge requires"),
        ("a: \x01", "yaml:"),
    ],
)
def test_bad_yaml(text, message):
    assert message in refused(decode.yaml_body, text.encode())


def test_not_utf8_yaml():
    refused(decode.yaml_body, b"a: \xff\xfe\xff")


def test_a_billion_laughs_is_a_bad_request():
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "excessive aliasing" in refused(decode.yaml_body, "\n".join(lines).encode())
    big = "a: &x " + "x" * 100_000 + "\nb: [" + ", ".join(["*x"] * 1000) + "]"
    assert "excessive aliasing" in refused(decode.yaml_body, big.encode())


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_yaml_is_a_bad_request(opening):
    refused(decode.yaml_body, (opening * 100_000).encode())


def test_deep_aliases_are_a_bad_request():
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 400)]
    refused(decode.yaml_body, "\n".join(lines).encode())


def test_aliases_are_copies():
    value = decode.yaml_body(b"a: &x {b: 1}\nc: *x")
    value["a"]["b"] = 2
    assert value["c"] == {"b": 1}


def test_yaml_duplicates_are_named_with_their_line():
    assert decode.yaml_duplicates(b"a: 1\nb: 2\na: 3\n") == ['line 3: key "a" already set in map']
    assert decode.yaml_body(b"a: 1\na: 3\n") == {"a": 3}
    assert decode.yaml_duplicates(b'{"a":1,"a":2}') == ['key "a" already set in map']
    assert decode.yaml_duplicates(b"a: 1\nb: {a: 2}\n") == []


@given(plain)
def test_yaml_reads_json(value):
    data = b" \n" + json.dumps({"v": value}).encode()
    assert decode.yaml_body(data) == {"v": value}


@given(st.binary(max_size=60))
def test_whatever_the_bytes(data):
    for read in (decode.json_body, decode.yaml_body):
        try:
            read(data)
        except ApiError as error:
            assert error.code == 400
