"""The algebra of field sets, against sets of plain paths."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from shirube.api.managed_fields import sets

PATHS = st.lists(st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}']), min_size=1, max_size=3).map(tuple)


def build(members):
    """The field set of a set of paths."""
    root = {}
    for path in members:
        node = root
        for key in path:
            node = node.setdefault(key, {})
        node["."] = {}
    return sets.normal(root)


def members(fields):
    found = set()

    def walk(node, path):
        if path and (not node or "." in node):
            found.add(path)
        for key, child in node.items():
            if key != ".":
                walk(child, (*path, key))

    walk(fields, ())
    return found


some = st.sets(PATHS, max_size=6)


@given(some)
def test_a_set_is_its_members(a):
    assert members(build(a)) == a
    assert sets.valid(build(a))


@given(some, some)
def test_operations_are_those_of_sets(a, b):
    x, y = build(a), build(b)
    frozen = orjson.dumps([x, y])
    for result, expected in (
        (sets.union(x, y), a | b),
        (sets.difference(x, y), a - b),
        (sets.intersection(x, y), a & b),
    ):
        assert members(result) == expected
        assert orjson.dumps(result) == orjson.dumps(build(expected))  # one form for each set
    assert orjson.dumps([x, y]) == frozen


@given(some, some)
def test_unchanged_sets_stay_the_same_object(a, b):
    x = build(a)
    assert sets.union(x, build(a & b)) is x
    assert sets.difference(x, build(b - a)) is x


def test_paths_are_printed_as_upstream_prints_them():
    fields = {
        "f:metadata": {"f:finalizers": {'v:"x"': {}}, "f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:name": {}}}, "f:l": {"i:1": {}}},
    }
    assert list(sets.paths(fields)) == [
        '.metadata.finalizers[="x"]',
        ".metadata.labels",
        ".metadata.labels.app",
        '.spec.ports[containerPort=80,protocol="TCP"]',
        '.spec.ports[containerPort=80,protocol="TCP"].name',
        ".spec.l[1]",
    ]


def test_sets_from_outside_are_checked():
    assert not sets.valid({"spec": {}})
    assert not sets.valid({"f:a": 1})
    assert not sets.valid([])
    assert sets.valid({"f:a": {".": {}, "v:1": {}}})
