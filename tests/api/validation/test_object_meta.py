"""Metadata: names by rule, labels, annotations, owners, finalizers; what an update leaves alone."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
from __future__ import annotations

import pytest

from shirube.api.validation import object_meta
from shirube.api.validation.object_meta import (
    name_is_dns_label,
    name_is_dns_subdomain,
    name_is_path_segment,
    validate,
    validate_update,
)

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u"}


def causes_of(metadata, *, namespaced=True, rule=name_is_dns_subdomain):
    base = {"name": "x", "namespace": "default"} if namespaced else {"name": "x"}
    return validate({**base, **metadata}, namespaced=namespaced, name_rule=rule)


BAD = [
    ({"name": ""}, "metadata.name", "Required value: name or generateName is required"),
    ({"name": "A"}, "metadata.name", "a lowercase RFC 1123 subdomain must consist of"),
    ({"name": "a" * 254}, "metadata.name", "must be no more than 253 bytes"),
    ({"generateName": "AB-"}, "metadata.generateName", "a lowercase RFC 1123 subdomain"),
    ({"namespace": ""}, "metadata.namespace", "Required value"),
    ({"namespace": "a.b"}, "metadata.namespace", "must not contain dots"),
    ({"generation": -1}, "metadata.generation", "must be greater than or equal to 0"),
    ({"labels": {"a b": "c"}}, "metadata.labels", "name part must consist of"),
    ({"labels": {"a": "b" * 64}}, "metadata.labels", "must be no more than 63"),
    ({"labels": {"/a": "b"}}, "metadata.labels", "prefix part must be non-empty"),
    ({"annotations": {"a b": "c"}}, "metadata.annotations", "name part must consist of"),
    ({"annotations": {"a": "b" * (256 * 1024)}}, "metadata.annotations", "Too long: may not be more than 262144 bytes"),
    ({"ownerReferences": [{**OWNER, "uid": ""}]}, "metadata.ownerReferences.uid", "must not be empty"),
    ({"ownerReferences": [{**OWNER, "apiVersion": ""}]}, "metadata.ownerReferences.apiVersion", "version must not be empty"),
    ({"ownerReferences": [{**OWNER, "kind": "Event", "apiVersion": "v1"}]}, "metadata.ownerReferences", "is disallowed from being an owner"),
    (
        {"ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "name": "s", "controller": True}]},
        "metadata.ownerReferences",
        'Only one reference can have Controller set to true. Found "true" in references for ReplicaSet/r and ReplicaSet/s',
    ),
    ({"finalizers": ["a b"]}, "metadata.finalizers", "name part must consist of"),
    ({"finalizers": ["orphan", "foregroundDeletion"]}, "metadata.finalizers", "cannot be both set"),
    ({"managedFields": [{"manager": "m" * 129}]}, "metadata.managedFields[0].manager", "Too long"),
]  # fmt: skip


@pytest.mark.parametrize(("metadata", "field", "message"), BAD, ids=[f"{i}-{b[1]}" for i, b in enumerate(BAD)])
def test_what_is_refused(metadata, field, message):
    causes = causes_of(metadata)
    assert [(c.field, message in c.message) for c in causes][:1] == [(field, True)], causes


def test_what_is_accepted():
    good = {
        "name": "web-1.example",
        "generateName": "web-",
        "labels": {"app.kubernetes.io/name": "web", "empty": ""},
        "annotations": {"Example.com/KEY": "any text at all ✓"},
        "ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "name": "other"}],
        "finalizers": ["example.com/wait", "foregroundDeletion"],
    }
    assert causes_of(good) == []


def test_scope():
    assert causes_of({}, namespaced=False) == []
    (cause,) = causes_of({"namespace": "n"}, namespaced=False)
    assert str(cause) == "metadata.namespace: Forbidden: not allowed on this type"


@pytest.mark.parametrize(
    ("rule", "name", "prefix", "good"),
    [
        (name_is_dns_label, "a-1", False, True),
        (name_is_dns_label, "a.b", False, False),
        (name_is_dns_label, "a-", True, True),
        (name_is_dns_label, "a-", False, False),
        (name_is_path_segment, "system:node", False, True),
        (name_is_path_segment, "a/b", False, False),
        (name_is_path_segment, "..", False, False),
        (name_is_path_segment, "a%b", True, False),
    ],
)
def test_name_rules(rule, name, prefix, good):
    assert (rule(name, prefix) == []) is good


OLD = {
    "name": "x",
    "namespace": "default",
    "uid": "u",
    "creationTimestamp": "2026-01-01T00:00:00Z",
    "generation": 2,
    "resourceVersion": "1",
}


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"name": "y"}, "metadata.name", "field is immutable"),
        ({"namespace": "other"}, "metadata.namespace", "field is immutable"),
        ({"uid": "v"}, "metadata.uid", "field is immutable"),
        ({"creationTimestamp": "2027-01-01T00:00:00Z"}, "metadata.creationTimestamp", "field is immutable"),
        ({"deletionTimestamp": "2027-01-01T00:00:00Z"}, "metadata.deletionTimestamp", "field is immutable"),
        ({"generation": 1}, "metadata.generation", "must not be decremented"),
        ({"labels": {"a b": ""}}, "metadata.labels", "name part must consist of"),
    ],
)
def test_what_an_update_leaves_alone(change, field, message):
    (cause,) = validate_update({**OLD, **change}, OLD)
    assert (cause.field, message in cause.message) == (field, True)


def test_no_finalizers_are_added_to_what_is_being_deleted():
    old = {**OLD, "deletionTimestamp": "2026-02-01T00:00:00Z", "finalizers": ["a.b/c"]}
    assert validate_update({**old, "finalizers": []}, old) == []
    (cause,) = validate_update({**old, "finalizers": ["a.b/c", "d.e/f"]}, old)
    assert cause.field == "metadata.finalizers"
    assert 'found new finalizers []string{"d.e/f"}' in cause.message


def test_annotation_sizes_are_counted_in_bytes():
    limit = object_meta.TOTAL_ANNOTATION_SIZE_LIMIT
    assert causes_of({"annotations": {"a": "x" * (limit - 1)}}) == []
    assert len(causes_of({"annotations": {"a": "é" * (limit // 2)}})) == 1
