"""Types of the built-in kinds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shirube.api import schema
from shirube.api.resources import BUILTIN
from shirube.api.schema import MISSING, cache
from shirube.api.schema.types import Type


def pod_spec() -> Type:
    return schema.type_of("", "v1", "Pod").properties["spec"]


def test_every_stored_kind_has_a_type_with_metadata() -> None:
    for resource in BUILTIN:
        found = schema.type_of(resource.group, resource.version, resource.kind)
        assert found.kind == "object"
        assert (
            found.properties["metadata"].name == "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" or resource.virtual
        )
        if "list" in resource.verbs:
            assert schema.type_of(resource.group, resource.version, resource.list_kind).properties["items"].items


def test_unknown_kinds() -> None:
    with pytest.raises(KeyError):
        schema.type_of("", "v1", "Nothing")


def test_lists_say_how_they_merge() -> None:
    containers = pod_spec().properties["containers"]
    assert (containers.kind, containers.list_type, containers.list_map_keys) == ("list", "map", ("name",))
    assert (containers.patch_strategy, containers.patch_merge_key) == (("merge",), "name")
    assert containers.items
    ports = containers.items.properties["ports"]
    assert ports.list_map_keys == ("containerPort", "protocol")
    assert ports.items
    assert ports.items.properties["protocol"].default == "TCP"
    assert ports.items.properties["containerPort"].default is MISSING
    assert pod_spec().properties["volumes"].patch_strategy == ("merge", "retainKeys")


def test_a_field_may_merge_otherwise_than_its_definition() -> None:
    volume = schema.type_of("", "v1", "PersistentVolume").properties["spec"]
    assert volume.properties["claimRef"].map_type == "granular"
    assert schema.definition("io.k8s.api.core.v1.ObjectReference").map_type == "atomic"
    strategy = schema.type_of("apps", "v1", "Deployment").properties["spec"].properties["strategy"]
    assert strategy.patch_strategy == ("retainKeys",)
    assert "rollingUpdate" in strategy.properties


def test_definitions_are_shared_and_may_be_recursive() -> None:
    template = schema.type_of("apps", "v1", "Deployment").properties["spec"].properties["template"]
    assert template.properties["spec"] is pod_spec()
    crd = schema.type_of("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    version = crd.properties["spec"].properties["versions"].items
    assert version
    props = version.properties["schema"].properties["openAPIV3Schema"]
    assert props.properties["properties"].items is props
    assert props.properties["default"].kind == "any"


def test_special_scalars() -> None:
    service = schema.type_of("", "v1", "Service").properties["spec"].properties["ports"].items
    assert service
    assert service.properties["targetPort"].kind == "int-or-string"
    requests = schema.definition("io.k8s.api.core.v1.ResourceRequirements").properties["requests"]
    assert (requests.kind, requests.items and requests.items.kind) == ("map", "quantity")
    assert schema.type_of("", "v1", "Pod").properties["metadata"].properties["managedFields"].list_type == "atomic"


def test_every_definition_can_be_loaded() -> None:
    for name in cache.index().definitions:
        assert schema.definition(name).name == name


def test_no_server_process_loads_the_published_definitions() -> None:
    code = (
        "import sys; from shirube.api import schema, openapi; from shirube.api.resources import BUILTIN;"
        "schema.check('', 'v1', 'Pod', {}); openapi.v2(BUILTIN); openapi.v3_index(BUILTIN);"
        "print([m for m in ('kubernetes_validate', 'shirube.api.schema.definitions') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert out.stdout.strip() == "[]"
