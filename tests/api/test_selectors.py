"""Label and field selectors: grammar, matching, wordings, algebra."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.api.selectors import (
    EVERYTHING,
    NOTHING,
    FieldRequirement,
    LabelSelector,
    Requirement,
    label_selector_from,
    label_selector_from_set,
    parse_field_selector,
    parse_label_selector,
    requirement,
)


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("", [{}, {"a": "b"}], []),
        ("a=b", [{"a": "b", "c": "d"}], [{}, {"a": "c"}]),
        ("a==b", [{"a": "b"}], [{}]),
        ("a = b , c=d", [{"a": "b", "c": "d"}], [{"a": "b"}]),
        ("a!=b", [{}, {"a": "c"}], [{"a": "b"}]),
        ("a", [{"a": ""}, {"a": "x"}], [{}]),
        ("!a", [{}], [{"a": ""}]),
        ("a in (b,c)", [{"a": "b"}, {"a": "c"}], [{}, {"a": "d"}]),
        ("a in (b, c),d", [{"a": "b", "d": "1"}], [{"a": "c"}]),
        ("a notin (b,c)", [{}, {"a": "d"}], [{"a": "b"}]),
        ("a in ()", [{"a": ""}], [{}, {"a": "b"}]),
        ("a in (,b)", [{"a": ""}, {"a": "b"}], [{}]),
        ("a in (b,)", [{"a": ""}, {"a": "b"}], [{}]),
        ("a in (b,,c)", [{"a": ""}, {"a": "c"}], [{}]),
        ("a=", [{"a": ""}], [{}, {"a": "b"}]),
        ("a=,b", [{"a": "", "b": "x"}], [{"b": "x"}]),
        ("in in (in,notin)", [{"in": "notin"}], [{}]),
        ("x.io/a=b", [{"x.io/a": "b"}], [{}]),
        ("a>3", [{"a": "4"}], [{"a": "3"}, {}, {"a": "x"}]),
        ("a<3", [{"a": "2"}, {"a": "-7"}], [{"a": "3"}, {}]),
    ],
)
def test_label_selectors_match(text, yes, no):
    selector = parse_label_selector(text)
    assert [labels for labels in yes if not selector.matches(labels)] == []
    assert [labels for labels in no if selector.matches(labels)] == []
    assert parse_label_selector(str(selector)) == selector


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a=!b", "unable to parse requirement: found '!', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be",
        ),
        ("_a=b", 'unable to parse requirement: <nil>: Invalid value: "_a": name part must consist of'),
        ("a=b/c", 'unable to parse requirement: values[0][a]: Invalid value: "b/c": a valid label must be'),
        ("a=b\u00e9", "unable to parse requirement: values[0][a]: Invalid value"),
    ],
)
def test_bad_label_selectors(text, message):
    with pytest.raises(ApiError) as caught:
        parse_label_selector(text)
    assert caught.value.code == 400
    assert caught.value.message.startswith(message)


def test_a_negated_equality_is_read_as_upstream_reads_it():
    assert str(parse_label_selector("!a=b")) == "a=b"


def test_crafted_text_is_bounded():
    with pytest.raises(ApiError):
        parse_label_selector("a," * 100_000)
    with pytest.raises(ApiError):
        parse_field_selector("a=b," * 100_000)


def test_selector_objects():
    assert label_selector_from(None) is NOTHING
    assert not NOTHING.matches({})
    assert not NOTHING.empty
    assert label_selector_from({}) is EVERYTHING
    assert label_selector_from({"matchLabels": None, "matchExpressions": None}).empty
    selector = label_selector_from(
        {
            "matchLabels": {"b": "1"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["x", "y"]},
                {"key": "c", "operator": "DoesNotExist"},
                {"key": "d", "operator": "Exists"},
                {"key": "e", "operator": "NotIn", "values": ["z"]},
            ],
        }
    )
    assert str(selector) == "a in (x,y),b=1,!c,d,e notin (z)"
    assert selector.matches({"a": "x", "b": "1", "d": ""})
    assert not selector.matches({"a": "x", "b": "1"})
    assert selector.exact("b") == "1"
    assert selector.exact("a") is None
    assert not label_selector_from({"matchLabels": {"a": "b"}}).matches(None)
    assert label_selector_from_set(None).empty
    assert label_selector_from_set({"a": "b"}).matches({"a": "b"})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({"key": "a", "operator": "Is"}, '"Is" is not a valid label selector operator'),
        (
            {"key": "a", "operator": "In"},
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            {"key": "a", "operator": "Exists", "values": ["b"]},
            'values: Invalid value: ["b"]: values set must be empty for exists and does not exist',
        ),
    ],
)
def test_bad_selector_objects(expression, message):
    with pytest.raises(ApiError) as caught:
        label_selector_from({"matchExpressions": [expression]})
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("", []),
        ("metadata.name=a", [("metadata.name", "=", "a")]),
        ("a==b,c!=d", [("a", "=", "b"), ("c", "!=", "d")]),
        ("c=d,a=b", [("a", "=", "b"), ("c", "=", "d")]),
        ("a=", [("a", "=", "")]),
        (",a=b,", [("a", "=", "b")]),
        (r"a=b\,c\=d\\", [("a", "=", "b,c=d\\")]),
    ],
)
def test_field_selectors(text, requirements):
    selector = parse_field_selector(text)
    assert selector.requirements == [FieldRequirement(*r) for r in requirements]
    assert parse_field_selector(str(selector)) == selector


@pytest.mark.parametrize("text", ["a", "a,b=c", "a=b=c", "a=\\x", "a=b\\"])
def test_bad_field_selectors(text):
    with pytest.raises(ApiError) as caught:
        parse_field_selector(text)
    assert caught.value.code == 400
    assert caught.value.message.startswith("invalid ")


def test_field_selector_matching():
    selector = parse_field_selector("spec.nodeName=,metadata.name!=x")
    assert selector.matches({"metadata.name": "y"})
    assert not selector.matches({"metadata.name": "x"})
    assert not selector.matches({"spec.nodeName": "n"})
    assert selector.exact("spec.nodeName") == ""
    moved = selector.transformed(lambda field, value: ("z." + field, value))
    assert [r.field for r in moved.requirements] == ["z.metadata.name", "z.spec.nodeName"]


keys = st.sampled_from(["a", "b", "x.io/c"])
values = st.sampled_from(["", "1", "2", "x"])
labels = st.dictionaries(keys, values)
requirements = st.one_of(
    st.builds(Requirement, keys, st.sampled_from(["=", "==", "!="]), st.tuples(values)),
    st.builds(
        lambda k, o, v: Requirement(k, o, tuple(sorted(v))),
        keys,
        st.sampled_from(["in", "notin"]),
        st.sets(values, min_size=1),
    ),
    st.builds(Requirement, keys, st.sampled_from(["exists", "!"]), st.just(())),
)
OPPOSITE = {"=": "!=", "==": "!=", "!=": "=", "in": "notin", "notin": "in", "exists": "!", "!": "exists"}


@given(st.lists(requirements, max_size=4), labels)
def test_a_selector_is_the_conjunction_of_its_requirements(rs, ls):
    selector = LabelSelector(rs)
    assert selector.matches(ls) == all(r.matches(ls) for r in rs)
    assert LabelSelector(reversed(rs)).matches(ls) == selector.matches(ls)
    assert parse_label_selector(str(selector)).matches(ls) == selector.matches(ls)


@given(requirements, labels)
def test_opposite_operators_partition(r, ls):
    opposite = requirement(r.key, OPPOSITE[r.operator], r.values)
    assert r.matches(ls) != opposite.matches(ls)
