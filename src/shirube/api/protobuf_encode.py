"""Objects to message bodies. Each message of the tables becomes, when first met, a dict of small functions: one a
field, which append the encoded field to a bytearray. What a message has no field for is left out, as Go would.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

from shirube.api.protobuf_forms import FORMS, delimited, varint
from shirube.api.protobuf_tables import Field, fields

Write = Callable[[Any, bytearray], None]

_SCHEMA = "apiextensions.v1.JSONSchemaProps"


class Encoder:
    """Encodes one message. Raises TypeError, ValueError or AttributeError for values of a wrong type."""

    __slots__ = ("_embedded", "_fields", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._fields: dict[str, Write] | None = None
        self._embedded: list[tuple[bytes, Encoder]] = []

    def _compile(self) -> dict[str, Write]:
        compiled: dict[str, Write] = {}
        for field in fields(self._name):
            if field.name == "+":
                self._embedded.append((varint(field.number << 3 | 2), encoder(field.type)))
            else:
                compiled[field.name] = _field(field)
        self._fields = compiled
        return compiled

    def write(self, obj: dict[str, Any], out: bytearray) -> None:
        known = self._fields
        if known is None:
            known = self._compile()
        get = known.get
        for name, value in obj.items():
            if value is not None:
                write = get(name)
                if write is not None:
                    write(value, out)
        for tag, embedded in self._embedded:
            body = bytearray()
            embedded.write(obj, body)  # takes the keys that it knows
            out += tag
            out += varint(len(body))
            out += body

    def body(self, obj: dict[str, Any]) -> bytes:
        out = bytearray()
        self.write(obj, out)
        return bytes(out)


@cache
def encoder(message: str) -> Encoder:
    return Encoder(message)


def _field(field: Field) -> Write:
    if field.map:
        return _map(field.number, _value(2, field.type))
    one = _value(field.number, field.type)
    if not field.repeated:
        return one

    def each(values: list[Any], out: bytearray) -> None:
        for value in values:
            one(value, out)

    return each


def _map(number: int, write_value: Write) -> Write:
    tag = varint(number << 3 | 2)

    def write(values: dict[str, Any], out: bytearray) -> None:
        for key, value in values.items():
            name = key.encode()
            entry = bytearray(b"\x0a")
            entry += varint(len(name))
            entry += name
            if value is not None:
                write_value(value, entry)
            out += tag
            out += varint(len(entry))
            out += entry

    return write


def _value(number: int, type: str) -> Write:
    if type in _SCALARS:
        return _SCALARS[type](number)
    form = FORMS.get(type)
    encode: Callable[[Any], bytes | bytearray]
    if form is not None:
        encode = form.encode
    elif type == "raw":
        encode = FORMS["json"].encode
    elif type.startswith("schema-or-"):
        encode = _SCHEMA_FORMS[type]
    else:
        return _message(number, encoder(type))
    tag = varint(number << 3 | 2)

    def write(value: Any, out: bytearray) -> None:
        body = encode(value)
        out += tag
        out += varint(len(body))
        out += body

    return write


def _message(number: int, inner: Encoder) -> Write:
    tag = varint(number << 3 | 2)
    write_inner = inner.write

    def write(value: dict[str, Any], out: bytearray) -> None:
        body = bytearray()
        write_inner(value, body)
        size = len(body)
        out += tag
        if size < 128:
            out.append(size)
        else:
            out += varint(size)
        out += body

    return write


def _string(number: int) -> Write:
    tag = varint(number << 3 | 2)

    def write(value: str, out: bytearray) -> None:
        data = value.encode()
        size = len(data)
        out += tag
        if size < 128:
            out.append(size)
        else:
            out += varint(size)
        out += data

    return write


def _bytes(number: int) -> Write:
    def write(value: str, out: bytearray) -> None:
        out += delimited(number, base64.b64decode(value))

    return write


def _integer(number: int, bits: int) -> Write:
    tag = varint(number << 3)
    low, high = -(1 << (bits - 1)), 1 << (bits - 1)

    def write(value: int, out: bytearray) -> None:
        if value.__class__ is not int:
            if not isinstance(value, float) or value != int(value):
                raise TypeError(f"{value!r} is not a whole number")
            value = int(value)
        if not low <= value < high:
            raise ValueError(f"{value} does not fit into {bits} bits")
        out += tag
        out += varint(value)

    return write


def _bool(number: int) -> Write:
    yes, no = varint(number << 3) + b"\x01", varint(number << 3) + b"\x00"

    def write(value: bool, out: bytearray) -> None:
        if value is True:
            out += yes
        elif value is False:
            out += no
        else:
            raise TypeError(f"{value!r} is not a boolean")

    return write


def _double(number: int) -> Write:
    tag = varint(number << 3 | 1)

    def write(value: float, out: bytearray) -> None:
        out += tag
        out += struct.pack("<d", value)

    return write


_SCALARS: dict[str, Callable[[int], Write]] = {
    "string": _string,
    "bytes": _bytes,
    "bool": _bool,
    "double": _double,
    "int32": lambda number: _integer(number, 32),
    "int64": lambda number: _integer(number, 64),
}


def _or_array(value: dict[str, Any] | list[dict[str, Any]]) -> bytes:
    if isinstance(value, list):
        return b"".join(delimited(2, encoder(_SCHEMA).body(item)) for item in value)
    return delimited(1, encoder(_SCHEMA).body(value))


def _or_bool(value: dict[str, Any] | bool) -> bytes:
    if isinstance(value, bool):
        return b"\x08\x01" if value else b"\x08\x00"
    return b"\x08\x01" + delimited(2, encoder(_SCHEMA).body(value))


def _or_strings(value: dict[str, Any] | list[str]) -> bytes:
    if isinstance(value, list):
        return b"".join(delimited(2, item.encode()) for item in value)
    return delimited(1, encoder(_SCHEMA).body(value))


_SCHEMA_FORMS: dict[str, Callable[[Any], bytes]] = {
    "schema-or-array": _or_array,
    "schema-or-bool": _or_bool,
    "schema-or-strings": _or_strings,
}
