"""Strategic merge patch over hand-made types: every directive, order, and what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.api.patch.merge_patch import same
from shirube.api.patch.strategic import apply
from shirube.api.schema import type_of
from shirube.api.schema.types import Type

STRING = Type("string")
PORT = Type("object", properties={"containerPort": Type("integer"), "protocol": STRING, "name": STRING})
ENV = Type("object", properties={"name": STRING, "value": STRING})
CONTAINER = Type(
    "object",
    properties={
        "name": STRING,
        "image": STRING,
        "args": Type("list", items=STRING),
        "env": Type("list", items=ENV, patch_strategy=("merge",), patch_merge_key="name"),
        "ports": Type("list", items=PORT, patch_strategy=("merge",), patch_merge_key="containerPort"),
    },
)
VOLUME = Type("object", properties={"name": STRING, "emptyDir": Type("object"), "hostPath": Type("object")})
SPEC = Type(
    "object",
    properties={
        "containers": Type("list", items=CONTAINER, patch_strategy=("merge",), patch_merge_key="name"),
        "volumes": Type("list", items=VOLUME, patch_strategy=("merge", "retainKeys"), patch_merge_key="name"),
        "finalizers": Type("list", items=STRING, patch_strategy=("merge",)),
        "selector": Type("map", items=STRING),
        "strategy": Type(
            "object", properties={"type": STRING, "rollingUpdate": Type("any")}, patch_strategy=("retainKeys",)
        ),
        "exact": Type("object", properties={"a": STRING, "b": STRING}, patch_strategy=("replace",)),
    },
)
ROOT = Type("object", properties={"spec": SPEC})


def patched(spec, patch):
    doc, change = {"spec": spec}, {"spec": patch}
    before = repr((doc, change))
    result = apply(doc, change, ROOT)["spec"]
    assert repr((doc, change)) == before
    return result


def c(name, **more):
    return {"name": name, **more}


@pytest.mark.parametrize(
    ("spec", "patch", "result"),
    [
        # maps
        ({"selector": {"a": "1"}}, {"selector": {"b": "2"}}, {"selector": {"a": "1", "b": "2"}}),
        ({"selector": {"a": "1"}}, {"selector": {"a": None}}, {"selector": {}}),
        ({"selector": {"a": "1"}}, {"selector": None}, {}),
        ({"selector": {"a": "1"}}, {"selector": {"$patch": "replace", "b": "2"}}, {"selector": {"b": "2"}}),
        ({"selector": {"a": "1"}}, {"selector": {"$patch": "delete"}}, {"selector": {}}),
        ({}, {"selector": {"a": None, "b": "1"}}, {"selector": {"b": "1"}}),
        ({"exact": {"a": "1"}}, {"exact": {"b": "2"}}, {"exact": {"b": "2"}}),
        ({"exact": "odd"}, {"exact": {"b": "2"}}, {"exact": {"b": "2"}}),
        # lists of maps
        ({"containers": [c("a", image="x")]}, {"containers": [c("a", image="y")]}, {"containers": [c("a", image="y")]}),
        ({"containers": [c("a")]}, {"containers": [c("b")]}, {"containers": [c("b"), c("a")]}),
        ({"containers": [c("a", image="x")]}, {"containers": [c("a", image=None)]}, {"containers": [c("a")]}),
        ({"containers": [c("a"), c("b")]}, {"containers": [c("a", **{"$patch": "delete"})]}, {"containers": [c("b")]}),
        ({"containers": [c("a"), c("b")]}, {"containers": [{"$patch": "replace"}, c("z")]}, {"containers": [c("z")]}),
        ({"containers": [c("a")]}, {"containers": [{"$patch": "replace"}]}, {"containers": []}),
        (
            {"containers": [c("a", args=["1"])]},
            {"containers": [c("a", args=["2"])]},
            {"containers": [c("a", args=["2"])]},
        ),
        ({}, {"containers": [c("a", image=None), c("b", **{"$patch": "delete"})]}, {"containers": [c("a")]}),
        (
            {"containers": [c("a", env=[c("X", value="1")])]},
            {"containers": [c("a", env=[c("Y", value="2"), c("X", **{"$patch": "delete"})])]},
            {"containers": [c("a", env=[c("Y", value="2")])]},
        ),
        (
            {"containers": [c("a", ports=[{"containerPort": 80, "name": "x"}])]},
            {"containers": [c("a", ports=[{"containerPort": 80, "name": "y"}, {"containerPort": 81}])]},
            {"containers": [c("a", ports=[{"containerPort": 80, "name": "y"}, {"containerPort": 81}])]},
        ),
        # order
        (
            {"containers": [c("a"), c("b"), c("c")]},
            {"$setElementOrder/containers": [c("c"), c("a")]},
            {"containers": [c("b"), c("c"), c("a")]},
        ),
        (
            {"containers": [c("a"), c("b")]},
            {"$setElementOrder/containers": [c("n"), c("b"), c("a")], "containers": [c("n")]},
            {"containers": [c("n"), c("b"), c("a")]},
        ),
        (
            {"containers": [c("a"), c("b")]},
            {"$setElementOrder/containers": [c("b")], "containers": [c("a", **{"$patch": "delete"})]},
            {"containers": [c("b")]},
        ),
        (
            {},
            {"$setElementOrder/containers": [c("b"), c("a")], "containers": [c("b"), c("a")]},
            {"containers": [c("b"), c("a")]},
        ),
        ({}, {"$setElementOrder/containers": [c("b")]}, {}),
        # scalars
        ({"finalizers": ["a", "b"]}, {"finalizers": ["c", "a"]}, {"finalizers": ["c", "a", "b"]}),
        ({"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}, {"finalizers": ["b"]}),
        (
            {"finalizers": ["a", "b"]},
            {
                "$deleteFromPrimitiveList/finalizers": ["a"],
                "$setElementOrder/finalizers": ["c", "b"],
                "finalizers": ["c"],
            },
            {"finalizers": ["c", "b"]},
        ),
        ({"finalizers": ["a"]}, {"finalizers": []}, {"finalizers": ["a"]}),
        # retained keys
        (
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"x": 1}}},
            {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
            {"strategy": {"type": "Recreate"}},
        ),
        (
            {"volumes": [c("v", emptyDir={})]},
            {"volumes": [c("v", hostPath={"p": 1}, **{"$retainKeys": ["name", "hostPath"]})]},
            {"volumes": [c("v", hostPath={"p": 1})]},
        ),
        # unknown fields
        (
            {"odd": {"a": [1, 2], "b": {"c": 1}}},
            {"odd": {"a": [3], "b": {"d": 2}}},
            {"odd": {"a": [3], "b": {"c": 1, "d": 2}}},
        ),
    ],
)
def test_merging(spec, patch, result):
    assert patched(spec, patch) == result
    assert list(map(str, patched(spec, patch).values())) == list(map(str, result.values()))


@pytest.mark.parametrize(
    ("patch", "code", "message"),
    [
        ({"containers": [{"image": "x"}]}, 400, "does not contain declared merge key: name"),
        ({"containers": [{"$patch": "delete"}]}, 400, "does not contain declared merge key: name"),
        ({"containers": [c("a", **{"$patch": "dance"})]}, 400, "unknown patch type: dance"),
        ({"containers": [c("a", **{"$patch": "merge"})]}, 400, "merging lists cannot yet be specified in the patch"),
        ({"selector": {"$patch": "dance"}}, 400, "unknown patch type: dance"),
        ({"$retainKeys": "x"}, 400, "invalid patch format of retainKeys"),
        ({"strategy": {"$retainKeys": ["a"], "type": "x"}}, 400, "invalid patch format of retainKeys"),
        ({"$deleteFromPrimitiveList/finalizers": "a"}, 400, "invalid patch format of primitive list"),
        ({"$deleteFromPrimitiveList": ["a"]}, 400, "invalid patch format of primitive list"),
        ({"$setElementOrder/containers": "a"}, 400, "invalid patch format of setElementOrder list"),
        ({"$setElementOrder": ["a"]}, 400, "invalid patch format of setElementOrder list"),
        ({"$setElementOrder/containers": [c("a")], "containers": [c("b")]}, 400, "The order in patch list:"),
        ({"containers": [1]}, 400, "list element types are not identical"),
        ({"containers": [[1]]}, 422, "lists of lists are not supported"),
        ({"containers": [c({"x": 1})]}, 400, "list element types are not identical"),
        ([], 400, ""),
    ],
)
def test_bad_patches(patch, code, message):
    doc = {"spec": {"containers": [c("a")], "selector": {}, "strategy": {}, "finalizers": ["a"]}}
    with pytest.raises(ApiError) as caught:
        if isinstance(patch, list):
            apply(doc, patch, ROOT)
        else:
            apply(doc, {"spec": patch}, ROOT)
    assert caught.value.code == code
    assert message in caught.value.message


def test_without_a_type_it_is_a_merge_patch():
    assert apply({"a": {"b": [1]}}, {"a": {"b": [2], "c": 1}}, None) == {"a": {"b": [2], "c": 1}}


names = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)
containers = names.flatmap(
    lambda ns: st.tuples(*(st.builds(c, st.just(n), image=st.sampled_from("xyz")) for n in ns)).map(list)
)


@given(containers, containers)
def test_a_complete_patch_makes_the_wanted_list(old, new):
    """What kubectl sends: additions and changes, deletions, and the order."""
    gone = [c(x["name"], **{"$patch": "delete"}) for x in old if x["name"] not in {y["name"] for y in new}]
    patch = {"containers": [*new, *gone], "$setElementOrder/containers": [c(x["name"]) for x in new]}
    result = patched({"containers": old}, patch)["containers"]
    assert result == new


@given(containers, containers)
def test_merging_keeps_others_and_is_idempotent(old, change):
    once = patched({"containers": old}, {"containers": change})
    twice = patched(once, {"containers": change})
    assert same(once, twice)
    found = {x["name"]: x for x in once["containers"]}
    assert found.keys() == {x["name"] for x in [*old, *change]}
    assert all(found[x["name"]] == x for x in change)


# ---------------------------------------------------------------------------------- real types


def test_a_set_image_of_kubectl():
    doc = {"spec": {"template": {"spec": {"containers": [c("a", image="1", args=["x"]), c("b", image="1")]}}}}
    patch = {
        "spec": {
            "template": {
                "spec": {"$setElementOrder/containers": [c("a"), c("b")], "containers": [c("b", image="2")]},
            }
        }
    }
    result = apply(doc, patch, type_of("apps", "v1", "Deployment"))
    assert result["spec"]["template"]["spec"]["containers"] == [c("a", image="1", args=["x"]), c("b", image="2")]


def test_switching_the_strategy_of_a_deployment():
    doc = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert apply(doc, patch, type_of("apps", "v1", "Deployment")) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_ports_of_a_service_and_conditions_of_a_node():
    service = {"spec": {"ports": [{"port": 80, "nodePort": 30000}], "externalIPs": ["1.1.1.1"]}}
    patch = {"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 81}], "externalIPs": ["2.2.2.2"]}}
    assert apply(service, patch, type_of("", "v1", "Service")) == {
        "spec": {
            "ports": [{"port": 80, "nodePort": 30000, "name": "http"}, {"port": 81}],
            "externalIPs": ["2.2.2.2"],
        }
    }
    node = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}, {"type": "Disk"}]}}
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert apply(node, ready, type_of("", "v1", "Node"))["status"]["conditions"] == [
        {"type": "Ready", "status": "True", "reason": "x"},
        {"type": "Disk"},
    ]


def test_finalizers_and_owners_merge():
    doc = {"metadata": {"finalizers": ["a"], "ownerReferences": [{"uid": "1"}], "labels": {"a": "b"}}}
    patch = {
        "metadata": {
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "ownerReferences": [{"uid": "1", "$patch": "delete"}, {"uid": "2"}],
            "labels": {"a": None},
        }
    }
    assert apply(doc, patch, type_of("", "v1", "Pod")) == {
        "metadata": {"finalizers": [], "ownerReferences": [{"uid": "2"}], "labels": {}}
    }
