"""Paths of printer columns: every form, on one object."""

from __future__ import annotations

import pytest

from shirube.api.crd import json_path

OBJECT = {
    "metadata": {"labels": {"x.y/z": "lab"}},
    "spec": {
        "a": 1,
        "b": "two",
        "flag": True,
        "dot.key": "dk",
        "list": [{"n": 1, "m": "x", "same": 1}, {"n": 2, "m": "y", "same": 3}, {"n": 3}],
    },
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.a", [1]),
        ("{.spec.a}", [1]),
        (".", [OBJECT]),
        (".spec['a','b']", [1, "two"]),
        ('.spec["a", "none", "b"]', [1, "two"]),
        (".spec['dot.key']", ["dk"]),
        (r".metadata.labels.x\.y/z", ["lab"]),
        (".spec.list[0].n", [1]),
        (".spec.list[-1].n", [3]),
        (".spec.list[9].n", []),
        (".spec.list[*].n", [1, 2, 3]),
        (".spec.list.*.m", ["x", "y"]),
        (".spec.list[0,2].n", [1, 3]),
        (".spec.list[0:2].n", [1, 2]),
        (".spec.list[1:].n", [2, 3]),
        (".spec.list[-1:].n", [3]),
        (".spec.list[::2].n", [1, 3]),
        ("..n", [1, 2, 3]),
        (".spec..m", ["x", "y"]),
        (".spec.list[?(@.n==2)].m", ["y"]),
        ('.spec.list[?(@.m=="x")].n', [1]),
        (".spec.list[?( @.m != 'x' )].n", [2]),
        (".spec.list[?(@.n>1)].n", [2, 3]),
        (".spec.list[?(@.n<=2)].n", [1, 2]),
        (".spec.list[?(@.m>='y')].n", [2]),
        (".spec.list[?(@.m)].n", [1, 2]),
        (".spec.list[?(@.n==@.same)].n", [1]),
        (".spec.list[?(@.m>1)].n", []),
        (".spec.missing.more", []),
        (".spec.a.b", []),
    ],
)
def test_find(path, found):
    assert json_path.find(OBJECT, json_path.parse(path)) == found


@pytest.mark.parametrize("path", ["spec.a", ".spec[", ".spec[a]", ".spec[]", ".list[0:2:0]", ".spec[?(@.a"])
def test_what_is_not_understood(path):
    with pytest.raises(ValueError, match="cannot read"):
        json_path.parse(path)
