"""What decoding does to an object: pruning, nulls, canonical scalars, wrong types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shirube.api import schema
from shirube.api.schema.types import Type


def pod(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


def check_pod(obj: Any) -> tuple[Any, list[str], list[str]]:
    checked, unknown, errors = schema.check("", "v1", "Pod", obj)
    return checked, unknown, [error.message for error in errors]


def test_a_good_object_is_left_as_it_is() -> None:
    obj = pod(
        containers=[
            {
                "name": "c",
                "image": "i",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"port": "http"}},
                "readinessProbe": {"httpGet": {"port": 80}},
            }
        ],
        nodeSelector={"a": "b"},
        hostNetwork=False,
    )
    text = json.dumps(obj)
    assert check_pod(obj) == (json.loads(text), [], [])


def test_unknown_fields_are_dropped_and_named() -> None:
    obj = pod(foo=1, containers=[{"name": "a"}, {"name": "b", "bar": {"x": 1}}])
    obj["metadata"]["baz"] = None
    checked, unknown, errors = check_pod(obj)
    assert unknown == ["metadata.baz", "spec.foo", "spec.containers[1].bar"]
    assert errors == []
    assert checked == pod(containers=[{"name": "a"}, {"name": "b"}])


def test_null_fields_are_absent() -> None:
    obj = pod(containers=None, nodeName=None, securityContext=None)
    obj["metadata"]["creationTimestamp"] = None
    assert check_pod(obj) == (pod(), [], [])


def test_nulls_in_lists_and_maps_are_zero_values() -> None:
    obj = pod(containers=[{"name": "c", "args": ["a", None]}, None], nodeSelector={"a": None})
    obj["spec"]["overhead"] = {"cpu": None}
    expected = pod(containers=[{"name": "c", "args": ["a", ""]}, {}], nodeSelector={"a": ""}, overhead={"cpu": "0"})
    assert check_pod(obj) == (expected, [], [])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"priority": "high"},
            "json: cannot unmarshal string into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            {"priority": 2**31},
            "json: cannot unmarshal number 2147483648 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            {"priority": 1.5},
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            {"hostNetwork": "yes"},
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            {"containers": {}},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            {"containers": [{"env": [{"name": "A", "value": 1}]}]},
            "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            {"securityContext": "none"},
            "json: cannot unmarshal string into Go struct field "
            "PodSpec.spec.securityContext of type v1.PodSecurityContext",
        ),
        (
            {"nodeSelector": {"a": True}},
            "json: cannot unmarshal bool into Go struct field PodSpec.spec.nodeSelector of type string",
        ),
        (
            {"containers": [{"livenessProbe": {"tcpSocket": {"port": True}}}]},
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        (
            {"overhead": {"cpu": "1 core"}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_wrong_types_are_told_as_upstream_tells_them(spec: dict, message: str) -> None:
    assert check_pod(pod(**spec))[2] == [message]


def test_something_else_than_an_object() -> None:
    for value, word in (([], "array"), ("x", "string"), (1, "number"), (True, "bool")):
        assert check_pod(value)[2] == [f"json: cannot unmarshal {word} into Go value of type v1.Pod"]


def test_an_error_has_the_path_with_indexes() -> None:
    _, _, errors = schema.check("", "v1", "Pod", pod(containers=[{"ports": [{"containerPort": "x"}]}]))
    assert [error.path for error in errors] == ["spec.containers[0].ports[0].containerPort"]


@pytest.mark.parametrize(
    ("given_amount", "kept"), [(1, "1"), (0.5, "500m"), ("1000m", "1"), ("0.5Gi", "512Mi"), ("1e3", "1e3")]
)
def test_quantities_take_their_canonical_form(given_amount: Any, kept: str) -> None:
    assert check_pod(pod(overhead={"cpu": given_amount}))[0] == pod(overhead={"cpu": kept})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.999Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+09:00", "2026-01-01T18:04:05Z"),
    ],
)
def test_times_are_kept_in_utc_and_whole_seconds(text: str, kept: str) -> None:
    obj, _, errors = schema.check("", "v1", "Pod", {"metadata": {"deletionTimestamp": text}})
    assert (obj["metadata"]["deletionTimestamp"], errors) == (kept, [])


@pytest.mark.parametrize(
    ("text", "tail"),
    [
        ("soon", 'cannot parse "soon" as "2006"'),
        ("2026-01-02", 'cannot parse "" as "T"'),
        ("2026-01-02T03:04:05", 'cannot parse "" as "Z07:00"'),
        ("2026-02-30T00:00:00Z", "value out of range"),
    ],
)
def test_bad_times(text: str, tail: str) -> None:
    message = check_pod({"metadata": {"deletionTimestamp": text}})[2][0]
    assert message.startswith(f'parsing time "{text}"')
    assert message.endswith(tail)


def test_micro_times_have_six_digits() -> None:
    def renew(text: str) -> tuple[Any, list]:
        lease, _, errors = schema.check("coordination.k8s.io", "v1", "Lease", {"spec": {"renewTime": text}})
        return lease["spec"]["renewTime"], errors

    assert renew("2026-01-02T03:04:05.000001Z") == ("2026-01-02T03:04:05.000001Z", [])
    assert renew("2026-01-02T03:04:05.000001+01:00")[0] == "2026-01-02T02:04:05.000001Z"
    assert renew("2026-01-02T03:04:05Z")[1][0].message.endswith('cannot parse "Z" as ".000000"')


def test_secret_data_is_base64() -> None:
    def check(text: Any) -> tuple[Any, list]:
        secret, _, errors = schema.check("", "v1", "Secret", {"data": {"a": text}})
        return secret["data"]["a"], [error.message for error in errors]

    assert check("aGVsbG8=") == ("aGVsbG8=", [])
    assert check("aGVs\nbG8=\n") == ("aGVsbG8=", [])
    assert check(None) == ("", [])
    assert check("not base64!")[1] == ["illegal base64 data at input byte 3"]
    assert check("YQ")[1] == ["illegal base64 data at input byte 0"]
    assert check(5)[1] == ["json: cannot unmarshal number into Go struct field Secret.data of type []uint8"]


def test_free_form_values_are_kept() -> None:
    revision = {"data": {"spec": {"x": None, "y": [None, {"z": 1}]}}, "revision": 1}
    text = json.dumps(revision)
    assert schema.check("apps", "v1", "ControllerRevision", revision) == (json.loads(text), [], [])


def test_recursive_definitions() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string", "nonsense": 1}}}
    crd = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": inner}}]}}
    _, unknown, errors = schema.check("apiextensions.k8s.io", "v1", "CustomResourceDefinition", crd)
    assert unknown == ["spec.versions[0].schema.openAPIV3Schema.properties.a.nonsense"]
    assert errors == []


def test_messages_are_checked_too() -> None:
    for group in ("", "meta.k8s.io", "apps"):
        options = {"gracePeriodSeconds": 1, "nonsense": 1}
        if group == "apps":
            with pytest.raises(KeyError):
                schema.check(group, "v7", "DeleteOptions", options)
        else:
            assert schema.check(group, "v1", "DeleteOptions", options)[1] == ["nonsense"]


def test_keys_are_counted_as_they_came() -> None:
    obj = pod(foo={"a": {"b": 1}}, containers=[{"name": "c", "args": ["x"]}])
    expected = schema.count_keys(obj)
    assert expected == 4 + 1 + 2 + 2 + 2
    assert schema.check_counting("", "v1", "Pod", obj)[3] == expected
    del obj["metadata"]
    assert schema.check_counting("", "v1", "Pod", obj)[3] == schema.count_keys(obj)


def _values(type_: Type, depth: int = 0) -> st.SearchStrategy:
    """Values of a type, and some that are not."""
    odd = st.sampled_from([None, "text", 5, 2**40, True, 1.5, [], {}, ["x", None], {"k": None}])
    if depth > 4:
        return odd
    scalars = {
        "string": st.sampled_from(["", "a", "YQ==", "2026-01-02T03:04:05+01:00"]),
        "integer": st.integers(-5, 5),
        "boolean": st.booleans(),
        "quantity": st.sampled_from(["1", "0.5", "1000m", 3]),
        "int-or-string": st.sampled_from([1, "50%"]),
    }
    if type_.kind == "object" and type_.properties:
        names = sorted(type_.properties)
        member = st.sampled_from(names).flatmap(
            lambda name: st.tuples(st.just(name), _values(type_.properties[name], depth + 1))
        )
        good: st.SearchStrategy = st.lists(st.one_of(member, st.just(("unknown", 1))), max_size=5).map(dict)
    elif type_.kind == "list" and type_.items:
        good = st.lists(_values(type_.items, depth + 1), max_size=3)
    elif type_.kind == "map" and type_.items:
        good = st.dictionaries(st.sampled_from("ab"), _values(type_.items, depth + 1), max_size=2)
    else:
        good = scalars.get(type_.kind, odd)
    return st.one_of(good, good, good, odd)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from([("", "v1", "Pod"), ("apps", "v1", "Deployment"), ("", "v1", "Secret")]))
def test_checking_twice_changes_nothing_more(data: st.DataObject, kind: tuple[str, str, str]) -> None:
    obj = data.draw(_values(schema.type_of(*kind)))
    keys = schema.count_keys(obj)
    once, _, errors, counted = schema.check_counting(*kind, obj)
    assert counted == keys
    text = json.dumps(once)
    twice, unknown, again = schema.check(*kind, once)
    assert json.dumps(twice) == text
    assert unknown == []
    assert [e.path for e in again] == [e.path for e in errors]
