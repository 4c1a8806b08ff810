"""The protobuf form is read back by google.protobuf with the schema's own field numbers."""

from __future__ import annotations

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields

from shirube.api import openapi
from shirube.api.openapi import version2_protobuf
from shirube.api.resources import BUILTIN

# The part of gnostic's openapi.v2 that is checked: message -> field -> (number, type); a capital is a message.
_MESSAGES = {
    "Document": {"swagger": (1, "string"), "paths": (8, "Paths"), "definitions": (9, "Definitions")},
    "Paths": {"path": (2, "*NamedPathItem")},
    "NamedPathItem": {"name": (1, "string"), "value": (2, "PathItem")},
    "PathItem": {"get": (2, "Operation"), "post": (4, "Operation")},
    "Operation": {"operation_id": (5, "string"), "consumes": (7, "*string"), "parameters": (8, "*ParametersItem")},
    "ParametersItem": {"parameter": (1, "Parameter"), "json_reference": (2, "JsonReference")},
    "JsonReference": {"ref": (1, "string")},
    "Parameter": {"body_parameter": (1, "BodyParameter"), "non_body_parameter": (2, "NonBodyParameter")},
    "BodyParameter": {"name": (2, "string"), "schema": (5, "Schema")},
    "NonBodyParameter": {"query": (3, "Query"), "path": (4, "Path")},
    "Query": {"name": (4, "string"), "type": (6, "string")},
    "Path": {"name": (4, "string"), "type": (5, "string")},
    "Definitions": {"named": (1, "*NamedSchema")},
    "NamedSchema": {"name": (1, "string"), "value": (2, "Schema")},
    "Schema": {
        "ref": (1, "string"),
        "description": (4, "string"),
        "required": (19, "*string"),
        "type": (22, "TypeItem"),
        "items": (23, "ItemsItem"),
        "properties": (25, "Properties"),
        "extensions": (31, "*NamedAny"),
    },
    "TypeItem": {"value": (1, "*string")},
    "ItemsItem": {"schema": (1, "*Schema")},
    "Properties": {"named": (1, "*NamedSchema")},
    "NamedAny": {"name": (1, "string"), "value": (2, "Any")},
    "Any": {"yaml": (2, "string")},
}


def document_class():
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="v2.proto", package="v2", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            many, kind = kind.startswith("*"), kind.lstrip("*")
            made = message.field.add(name=field_name, number=number)
            made.label = field.LABEL_REPEATED if many else field.LABEL_OPTIONAL
            made.type = field.TYPE_STRING if kind == "string" else field.TYPE_MESSAGE
            if kind != "string":
                made.type_name = f".v2.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("v2.Document"))


def test_every_path_and_definition_is_there_with_its_parts():
    source = openapi.v2(BUILTIN)
    plain = orjson.loads(source)
    read = document_class().FromString(version2_protobuf.encode(source))
    assert read.swagger == "2.0"
    assert [p.name for p in read.paths.path] == list(plain["paths"])
    schemas = {n.name: n.value for n in read.definitions.named}
    assert schemas.keys() == plain["definitions"].keys()
    pod = schemas["io.k8s.api.core.v1.Pod"]
    assert list(pod.type.value) == ["object"]
    assert {n.name for n in pod.properties.named} == {"apiVersion", "kind", "metadata", "spec", "status"}
    kinds = {e.name: e.value.yaml for e in pod.extensions}
    assert orjson.loads(kinds["x-kubernetes-group-version-kind"]) == [{"group": "", "kind": "Pod", "version": "v1"}]
    containers = {n.name: n.value for n in schemas["io.k8s.api.core.v1.PodSpec"].properties.named}["containers"]
    assert containers.items.schema[0].ref == "#/definitions/io.k8s.api.core.v1.Container"


def test_operations_keep_their_parameters():
    read = document_class().FromString(version2_protobuf.encode(openapi.v2(BUILTIN)))
    path = next(p for p in read.paths.path if p.name == "/api/v1/namespaces/{namespace}/pods")
    operation = path.value.post
    assert operation.operation_id == "createCoreV1NamespacedPod"
    bodies = [p.parameter.body_parameter for p in operation.parameters if p.parameter.HasField("body_parameter")]
    assert [b.schema.ref for b in bodies] == ["#/definitions/io.k8s.api.core.v1.Pod"]
    queries = {p.parameter.non_body_parameter.query.name for p in operation.parameters if not p.json_reference.ref}
    assert "dryRun" in queries
    assert any(p.json_reference.ref.startswith("#/parameters/fieldManager") for p in operation.parameters)


def test_a_custom_schema_with_every_constraint():
    schema = {
        "type": "object",
        "additionalProperties": {"type": "integer", "minimum": -1.5, "exclusiveMaximum": True, "maxLength": 3},
        "enum": [{"a": 1}],
        "x-kubernetes-preserve-unknown-fields": True,
    }
    data = version2_protobuf.encode(orjson.dumps({"swagger": "2.0", "definitions": {"X": schema}}))
    [named] = document_class().FromString(data).definitions.named
    assert named.value.extensions[0].value.yaml == "true\n"
    numbers = {f.field_number for f in unknown_fields.UnknownFieldSet(named.value)}
    assert numbers == {20, 21}
