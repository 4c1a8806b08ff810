"""Types out of what a server publishes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from shirube.api import openapi, schema
from shirube.api.openapi.schemas import custom_definitions
from shirube.api.resources import BUILTIN
from shirube.api.schema import published
from shirube.api.schema.types import Type


def custom(schema_: dict[str, Any]) -> Type:
    """The type of a kind with this schema, by way of its document."""
    schemas = custom_definitions("x.io", "v1", "X", {"type": "object", "properties": {"spec": schema_}}, v3=True)
    found = published.type_of({"components": {"schemas": schemas}}, "x.io", "v1", "X")
    assert found is not None
    return found.properties["spec"]


def _same(one: Type, other: Type, seen: set[tuple[int, int]]) -> bool:
    """The same structure; of quantities and of objects without fields nothing is published that could be checked."""
    if (id(one), id(other)) in seen:
        return True
    seen.add((id(one), id(other)))
    if one.kind == "quantity" or (one.kind == "object" and not one.properties):
        return other.kind == "any"
    assert (one.kind, one.properties.keys()) == (other.kind, other.properties.keys()), (one, other)
    if one.items is not None and other.items is not None:
        assert _same(one.items, other.items, seen)
    return all(_same(field, other.properties[name], seen) for name, field in one.properties.items())


@pytest.mark.parametrize(
    ("document", "gvk"),
    [
        ("apis/apps/v1", ("apps", "v1", "Deployment")),
        ("api/v1", ("", "v1", "Pod")),
        (
            "apis/apiextensions.k8s.io/v1",
            ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        ),  # refers to itself
    ],
)
def test_built_in_kinds_are_as_the_server_knows_them(document: str, gvk: tuple[str, str, str]):
    found = published.type_of(orjson.loads(openapi.v3(BUILTIN, document)), *gvk)
    assert found is not None
    assert _same(schema.type_of(*gvk), found, set())


def test_kinds_that_a_document_does_not_have():
    assert published.type_of({"components": {"schemas": {}}}, "apps", "v1", "Deployment") is None
    assert published.type_of({}, "apps", "v1", "Deployment") is None


@pytest.mark.parametrize(
    ("schema_", "kind", "nullable"),
    [
        ({"type": "integer", "nullable": True}, "integer", True),
        ({"x-kubernetes-int-or-string": True}, "int-or-string", False),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "map", False),
        ({"type": "object", "additionalProperties": True}, "map", False),
        ({"type": "array", "items": {"type": "string"}}, "list", False),
        ({"$ref": "#/components/schemas/gone"}, "any", False),
        ({}, "any", False),
    ],
)
def test_custom_values(schema_: dict[str, Any], kind: str, nullable: bool):
    found = custom(schema_)
    assert (found.kind, found.nullable) == (kind, nullable)


def test_open_and_embedded_objects():
    found = custom({"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {}}})
    assert found.preserve_unknown
    found = custom({"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"a": {}}})
    assert set(found.properties) == {"a", "apiVersion", "kind", "metadata"}
