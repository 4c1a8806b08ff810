"""The OpenAPI v2 document in its protobuf form (`openapi.v2.Document` of gnostic), which kubectl asks for when it meets
a kind that it does not know.

One function a message, from the JSON document's plain objects to bytes; the numbers are the fields' in that schema.
What JSON allows anywhere (defaults, enums, `x-…` extensions) travels as YAML text, of which JSON is a part.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

Object = Mapping[str, Any]
Encoder = Callable[[Any], bytes]
# JSON name -> (field number, encoder of one value, whether the field is repeated)
Fields = Mapping[str, tuple[int, Encoder, bool]]


def encode(document: bytes) -> bytes:
    """The protobuf form of a v2 document given as JSON bytes."""
    return _document(orjson.loads(document))


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _sized(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


class _Scalar:
    """Marks encoders whose value carries its own wire type."""

    def __init__(self, wire_type: int, make: Encoder) -> None:
        self.wire_type = wire_type
        self.make = make

    def __call__(self, value: Any) -> bytes:
        return self.make(value)


def _text(value: Any) -> bytes:
    return str(value).encode()


_boolean = _Scalar(0, lambda value: _varint(int(value)))
_integer = _Scalar(0, lambda value: _varint(int(value)))
_double = _Scalar(1, lambda value: struct.pack("<d", value))


def _field(number: int, encoder: Encoder, value: Any) -> bytes:
    if isinstance(encoder, _Scalar):
        if not value:
            return b""  # proto3: a zero is not written
        return _varint(number << 3 | encoder.wire_type) + encoder(value)
    return _sized(number, encoder(value))


def _message(obj: Object, fields: Fields, extensions: int = 0) -> bytes:
    out = []
    for name, value in obj.items():
        known = fields.get(name)
        if known is not None:
            number, encoder, repeated = known
            out += [_field(number, encoder, v) for v in (value if repeated else (value,))]
        elif extensions and name.startswith("x-"):
            out.append(_sized(extensions, _named(name, _any(value))))
    return b"".join(out)


def _named(name: str, value: bytes) -> bytes:
    return _sized(1, name.encode()) + _sized(2, value)


def _any(value: Any) -> bytes:
    return _sized(2, orjson.dumps(value) + b"\n")


def _map(entries: Iterable[tuple[str, Any]], encoder: Encoder, number: int = 1) -> bytes:
    return b"".join(_sized(number, _named(name, encoder(value))) for name, value in entries)


def _type(value: str | list[str]) -> bytes:
    return b"".join(_sized(1, v.encode()) for v in ([value] if isinstance(value, str) else value))


def _items(value: Object | list[Object]) -> bytes:
    return b"".join(_sized(1, _schema(v)) for v in (value if isinstance(value, list) else [value]))


def _additional_properties(value: Object | bool) -> bytes:
    return _varint(2 << 3) + _varint(int(value)) if isinstance(value, bool) else _sized(1, _schema(value))


def _schema(value: Object) -> bytes:
    return _message(value, _SCHEMA, extensions=31)


def _reference(value: Object) -> bytes:
    return _message(value, {"$ref": (1, _text, False), "description": (2, _text, False)})


def _parameter(value: Object) -> bytes:
    where = value.get("in")
    if where == "body":
        return _sized(1, _message(value, _BODY_PARAMETER, extensions=6))
    kinds = {"header": (1, 4), "formData": (2, 5), "query": (3, 5), "path": (4, 4)}
    number, first = kinds[str(where)]
    # The four kinds differ in one field: query and form have `allowEmptyValue` before the type.
    fields: Fields = {
        "required": (1, _boolean, False),
        "in": (2, _text, False),
        "description": (3, _text, False),
        "name": (4, _text, False),
        "type": (first + 1, _text, False),
        "format": (first + 2, _text, False),
        "default": (first + 5, _any, False),
        "uniqueItems": (first + 15, _boolean, False),
    }
    return _sized(2, _sized(number, _message(value, fields, extensions=first + 18)))


def _parameter_item(value: Object) -> bytes:
    return _sized(2, _reference(value)) if "$ref" in value else _sized(1, _parameter(value))


def _response(value: Object) -> bytes:
    described = _message(value, {"description": (1, _text, False)}, extensions=5)
    if "schema" in value:
        described += _sized(2, _sized(1, _schema(value["schema"])))
    return _sized(1, described)


def _responses(value: Object) -> bytes:
    return _map(value.items(), _response)


def _operation(value: Object) -> bytes:
    return _message(value, _OPERATION, extensions=13)


def _path_item(value: Object) -> bytes:
    return _message(value, _PATH_ITEM, extensions=10)


def _security_requirement(value: Object) -> bytes:
    return _map(value.items(), lambda scopes: b"".join(_sized(1, s.encode()) for s in scopes))


def _security_definition(value: Object) -> bytes:
    fields: Fields = {"type": (1, _text, False), "name": (2, _text, False), "in": (3, _text, False)}
    return _sized(2, _message(value, {**fields, "description": (4, _text, False)}, extensions=5))


def _info(value: Object) -> bytes:
    return _message(value, {"title": (1, _text, False), "version": (2, _text, False)}, extensions=7)


def _paths(value: Object) -> bytes:
    return _map(value.items(), _path_item, number=2)


def _document(value: Object) -> bytes:
    return _message(value, _DOCUMENT, extensions=16)


_SCHEMA: Fields = {
    "$ref": (1, _text, False),
    "format": (2, _text, False),
    "title": (3, _text, False),
    "description": (4, _text, False),
    "default": (5, _any, False),
    "multipleOf": (6, _double, False),
    "maximum": (7, _double, False),
    "exclusiveMaximum": (8, _boolean, False),
    "minimum": (9, _double, False),
    "exclusiveMinimum": (10, _boolean, False),
    "maxLength": (11, _integer, False),
    "minLength": (12, _integer, False),
    "pattern": (13, _text, False),
    "maxItems": (14, _integer, False),
    "minItems": (15, _integer, False),
    "uniqueItems": (16, _boolean, False),
    "maxProperties": (17, _integer, False),
    "minProperties": (18, _integer, False),
    "required": (19, _text, True),
    "enum": (20, _any, True),
    "additionalProperties": (21, _additional_properties, False),
    "type": (22, _type, False),
    "items": (23, _items, False),
    "allOf": (24, _schema, True),
    "properties": (25, lambda value: _map(value.items(), _schema), False),
}
_BODY_PARAMETER: Fields = {
    "description": (1, _text, False),
    "name": (2, _text, False),
    "in": (3, _text, False),
    "required": (4, _boolean, False),
    "schema": (5, _schema, False),
}
_OPERATION: Fields = {
    "tags": (1, _text, True),
    "summary": (2, _text, False),
    "description": (3, _text, False),
    "operationId": (5, _text, False),
    "produces": (6, _text, True),
    "consumes": (7, _text, True),
    "parameters": (8, _parameter_item, True),
    "responses": (9, _responses, False),
    "schemes": (10, _text, True),
    "deprecated": (11, _boolean, False),
}
_PATH_ITEM: Fields = {
    **{
        name: (number, _operation, False)
        for number, name in enumerate(("get", "put", "post", "delete", "options", "head", "patch"), start=2)
    },
    "parameters": (9, _parameter_item, True),
}
_DOCUMENT: Fields = {
    "swagger": (1, _text, False),
    "info": (2, _info, False),
    "host": (3, _text, False),
    "basePath": (4, _text, False),
    "schemes": (5, _text, True),
    "consumes": (6, _text, True),
    "produces": (7, _text, True),
    "paths": (8, _paths, False),
    "definitions": (9, lambda value: _map(value.items(), _schema), False),
    "parameters": (10, lambda value: _map(value.items(), _parameter), False),
    "security": (12, _security_requirement, True),
    "securityDefinitions": (13, lambda value: _map(value.items(), _security_definition), False),
}
