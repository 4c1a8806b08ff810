"""Message bodies to objects, as the JSON of the same Go value would parse.

Go writes every scalar that is not a pointer, zero or not, and its JSON leaves most zeros out; the wire does not tell
pointers. So the tables do: a zero (0, false, "") is dropped, except for fields marked `!`: those that JSON always has
(required ones), and pointers, which are on the wire only when somebody set them (`replicas: 0`). Strings that are
pointers are marked only where "" says something else than absence (`storageClassName: ""`). Empty messages stay `{}`.
Unknown fields are skipped. Nothing here trusts the input: depth is bounded, every length is checked.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson

from shirube.api.protobuf_forms import FORMS, MAX_DEPTH, Malformed, entries, read_varint, signed, value_span
from shirube.api.protobuf_tables import Field, fields

MAGIC = b"k8s\x00"

Json = dict[str, Any]
# (object, data, position, end of the message, depth) -> position after the field
Read = Callable[[Json, bytes, int, int, int], int]
# (body, depth) -> value
Convert = Callable[[bytes, int], Any]

_SCHEMA = "apiextensions.v1.JSONSchemaProps"


class Decoder:
    __slots__ = ("_name", "_numbers", "_tags")

    def __init__(self, name: str) -> None:
        self._name = name
        self._tags: dict[int, Read] | None = None
        self._numbers: frozenset[int] = frozenset()

    def _compile(self) -> dict[int, Read]:
        tags: dict[int, Read] = {}
        for field in fields(self._name):
            for wire_type, read in _field(field).items():
                tags[field.number << 3 | wire_type] = read
        self._numbers = frozenset(tag >> 3 for tag in tags)
        self._tags = tags
        return tags

    def into(self, obj: Json, data: bytes, pos: int, end: int, depth: int) -> None:
        """Read data[pos:end] into `obj`. Raises Malformed and other ValueErrors, IndexError, OverflowError."""
        if depth > MAX_DEPTH:
            raise Malformed("messages are nested too deep")
        tags = self._tags
        if tags is None:
            tags = self._compile()
        while pos < end:
            tag = data[pos]
            if tag < 128:
                pos += 1
            else:
                tag, pos = read_varint(data, pos)
            read = tags.get(tag)
            if read is not None:
                pos = read(obj, data, pos, end, depth)
                if pos > end:
                    raise Malformed("a field is longer than its message")
            elif tag >> 3 in self._numbers or tag < 8:
                raise Malformed(f"field {tag >> 3} of {self._name} has wire type {tag & 7}")
            else:
                _, pos = value_span(data, pos, end, tag & 7)

    def value(self, body: bytes, depth: int) -> Json:
        obj: Json = {}
        self.into(obj, body, 0, len(body), depth)
        return obj


@cache
def decoder(message: str) -> Decoder:
    return Decoder(message)


def _field(field: Field) -> dict[int, Read]:
    """Readers by wire type."""
    type, name = field.type, field.name
    if name == "+":
        return {2: _embedded(decoder(type))}
    if field.map:
        return {2: _map(name, type)}
    if type in ("int32", "int64", "bool"):
        convert = _VARINTS[type]
        if field.repeated:
            return {0: _repeated_varint(name, convert), 2: _packed(name, convert)}
        return {0: _varint(name, convert, field.keep_zero)}
    if type == "double":
        return {1: _double(name, field.keep_zero)}
    if field.repeated:
        return {2: _repeated(name, _converter(type))}
    if type == "string":
        return {2: _string(name, field.keep_zero)}
    if type in FORMS or type in _OTHERS or type == "bytes":
        return {2: _converted(name, _converter(type), drop_zero=type == "int-or-string" and not field.keep_zero)}
    return {2: _message(name, decoder(type))}


def _converter(type: str) -> Convert:
    if type == "string":
        return lambda body, depth: body.decode()
    if type == "bytes":
        return lambda body, depth: base64.b64encode(body).decode("ascii")
    if type in FORMS:
        return FORMS[type].decode
    if type in _OTHERS:
        return _OTHERS[type]
    inner = decoder(type)
    return lambda body, depth: inner.value(body, depth + 1)


def _span(data: bytes, pos: int, end: int) -> tuple[int, int]:
    size = data[pos]
    if size < 128:
        pos += 1
    else:
        size, pos = read_varint(data, pos)
    stop = pos + size
    if stop > end:
        raise Malformed("a field is longer than its message")
    return pos, stop


def _string(name: str, keep: bool) -> Read:
    def read(obj: Json, data: bytes, pos: int, end: int, depth: int) -> int:
        pos, stop = _span(data, pos, end)
        text = data[pos:stop].decode()
        if text or keep:
            obj[name] = text
        else:
            obj.pop(name, None)
        return stop

    return read


def _varint(name: str, convert: Callable[[int], int], keep: bool) -> Read:
    def read(obj: Json, data: bytes, pos: int, end: int, depth: int) -> int:
        raw, pos = read_varint(data, pos)
        value = convert(raw)
        if value or keep:
            obj[name] = value
        else:
            obj.pop(name, None)
        return pos

    return read


def _repeated_varint(name: str, convert: Callable[[int], int]) -> Read:
    def read(obj: Json, data: bytes, pos: int, end: int, depth: int) -> int:
        raw, pos = read_varint(data, pos)
        obj.setdefault(name, []).append(convert(raw))
        return pos

    return read


def _packed(name: str, convert: Callable[[int], int]) -> Read:
    def read(obj: Json, data: bytes, pos: int, end: int, depth: int) -> int:
        pos, stop = _span(data, pos, end)
        values = obj.setdefault(name, [])
        while pos < stop:
            raw, pos = read_varint(data, pos)
            values.append(convert(raw))
        return pos

    return read


def _double(name: str, keep: bool) -> Read:
    def read(obj: Json, data: bytes, pos: int, end: int, depth: int) -> int:
        if pos + 8 > end:
            raise Malformed("a field is longer than its message")
        (value,) = struct.unpack_from("<d", data, pos)
        if value - value != 0:
            raise Malformed("a number is not finite")
        if value or keep:
            # JSON does not tell 1 from 1.0, and people write 1.
            obj[name] = int(value) if value.is_integer() and abs(value) < 1 << 53 else value
        return pos + 8

    return read


def _converted(name: str, convert: Convert, *, drop_zero: bool) -> Read:
    def read(obj: Json, data: bytes, pos: int, end: int, depth: int) -> int:
        pos, stop = _span(data, pos, end)
        value = convert(data[pos:stop], depth)
        if value is None or (drop_zero and value in (0, "")):
            obj.pop(name, None)
        else:
            obj[name] = value
        return stop

    return read


def _repeated(name: str, convert: Convert) -> Read:
    def read(obj: Json, data: bytes, pos: int, end: int, depth: int) -> int:
        pos, stop = _span(data, pos, end)
        value = convert(data[pos:stop], depth)
        values = obj.get(name)
        if values is None:
            obj[name] = [value]
        else:
            values.append(value)
        return stop

    return read


def _message(name: str, inner: Decoder) -> Read:
    def read(obj: Json, data: bytes, pos: int, end: int, depth: int) -> int:
        pos, stop = _span(data, pos, end)
        value = obj.get(name)
        if value is None:
            value = obj[name] = {}
        inner.into(value, data, pos, stop, depth + 1)  # a message that comes in two pieces is merged
        return stop

    return read


def _embedded(inner: Decoder) -> Read:
    def read(obj: Json, data: bytes, pos: int, end: int, depth: int) -> int:
        pos, stop = _span(data, pos, end)
        inner.into(obj, data, pos, stop, depth + 1)
        return stop

    return read


def _map(name: str, type: str) -> Read:
    convert = _converter(type)
    zero: bytes = b""

    def read(obj: Json, data: bytes, pos: int, end: int, depth: int) -> int:
        pos, stop = _span(data, pos, end)
        key, value = b"", zero
        for number, part in entries(data[pos:stop]):
            if number in (1, 2) and not isinstance(part, bytes):
                raise Malformed("a map's entry is not of its type")
            if number == 1:
                key = part  # type: ignore[assignment]
            elif number == 2:
                value = part  # type: ignore[assignment]
        obj.setdefault(name, {})[key.decode()] = convert(value, depth + 1)
        return stop

    return read


_VARINTS: dict[str, Callable[[int], int]] = {
    "int32": lambda raw: signed(raw, 32),
    "int64": lambda raw: signed(raw, 64),
    "bool": bool,
}


def _raw(body: bytes, depth: int) -> Any:
    """RawExtension: JSON, or an object in the enveloped encoding."""
    raw: int | bytes = b""
    for number, value in entries(body):
        if number == 1:
            raw = value
    if not isinstance(raw, bytes) or not raw:
        return None
    if raw.startswith(MAGIC):
        from shirube.api.protobuf import open_envelope

        api_version, kind, message, inner = open_envelope(raw)
        return {"apiVersion": api_version, "kind": kind, **decoder(message).value(inner, depth + 1)}
    return orjson.loads(raw)


def _or_array(body: bytes, depth: int) -> Any:
    parts = entries(body)
    items = [decoder(_SCHEMA).value(v, depth + 1) for n, v in parts if n == 2 and isinstance(v, bytes)]
    for number, value in parts:
        if number == 1 and isinstance(value, bytes):
            return decoder(_SCHEMA).value(value, depth + 1)
    return items


def _or_bool(body: bytes, depth: int) -> Any:
    allows = False
    for number, value in entries(body):
        if number == 2 and isinstance(value, bytes):
            return decoder(_SCHEMA).value(value, depth + 1)
        if number == 1:
            allows = bool(value)
    return allows


def _or_strings(body: bytes, depth: int) -> Any:
    names = []
    for number, value in entries(body):
        if number == 1 and isinstance(value, bytes):
            return decoder(_SCHEMA).value(value, depth + 1)
        if number == 2 and isinstance(value, bytes):
            names.append(value.decode())
    return names


_OTHERS: dict[str, Convert] = {
    "raw": _raw,
    "schema-or-array": _or_array,
    "schema-or-bool": _or_bool,
    "schema-or-strings": _or_strings,
}
