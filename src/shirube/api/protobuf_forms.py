"""Messages whose JSON is not an object of their fields: times, quantities, int-or-string, raw JSON and the like.

Each form is a pair: JSON value to message body, and message body to JSON value. A body decodes to None where Go's
JSON would say null (a zero time), and the field is left out then.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

MAX_DEPTH = 200  # of messages in messages

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GO_ZERO = -62135596800  # seconds of Go's zero time
_MASK = (1 << 64) - 1


class Malformed(ValueError):
    """The bytes are not what they should be."""


def varint(value: int) -> bytes:
    """A non-negative number, or a negative one as 64 bit two's complement."""
    if 0 <= value < 128:
        return bytes((value,))
    value &= _MASK
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, pos: int) -> tuple[int, int]:
    """(unsigned number, position after it). IndexError at the end of data."""
    byte = data[pos]
    pos += 1
    if byte < 128:
        return byte, pos
    value, shift = byte & 127, 7
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & _MASK, pos
        shift += 7
        if shift > 63:
            raise Malformed("a number is longer than 64 bits")


def signed(value: int, bits: int) -> int:
    """The two's complement number in the low bits of an unsigned one."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def delimited(number: int, body: bytes | bytearray) -> bytes:
    """A length-delimited field."""
    return b"".join((varint(number << 3 | 2), varint(len(body)), body))


def entries(data: bytes) -> list[tuple[int, int | bytes]]:
    """(field number, value) of a small message, whatever its fields; bytes for length-delimited ones."""
    out: list[tuple[int, int | bytes]] = []
    pos, end = 0, len(data)
    while pos < end:
        tag, pos = read_varint(data, pos)
        start, pos = value_span(data, pos, end, tag & 7)
        if tag & 7 == 0:
            out.append((tag >> 3, read_varint(data, start)[0]))
        elif tag & 7 == 2:
            out.append((tag >> 3, data[start:pos]))
    return out


def value_span(data: bytes, pos: int, end: int, wire_type: int, depth: int = 0) -> tuple[int, int]:
    """(start, end) of a field's value of a wire type; checks that it lies within `end`."""
    start = pos
    if wire_type == 0:
        _, pos = read_varint(data, pos)
    elif wire_type == 1:
        pos += 8
    elif wire_type == 2:
        size, start = read_varint(data, pos)
        pos = start + size
    elif wire_type == 5:
        pos += 4
    elif wire_type == 3:
        if depth > MAX_DEPTH:
            raise Malformed("groups are nested too deep")
        while True:
            tag, pos = read_varint(data, pos)
            if tag & 7 == 4:
                break
            _, pos = value_span(data, pos, end, tag & 7, depth + 1)
    else:
        raise Malformed(f"wire type {wire_type} does not exist")
    if pos > end:
        raise Malformed("a field is longer than its message")
    return start, pos


class Form(NamedTuple):
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes, int], Any]  # (body, depth)


@lru_cache(maxsize=4096)
def _timestamp(text: str, *, micro: bool) -> bytes:
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"time {text!r} has no zone")
    since = when - _EPOCH
    nanos = since.microseconds * 1000 if micro else 0
    return b"\x08" + varint(since.days * 86400 + since.seconds) + b"\x10" + varint(nanos)


def _encode_time(value: str) -> bytes:
    return _timestamp(value, micro=False) if value else b""


def _encode_micro_time(value: str) -> bytes:
    return _timestamp(value, micro=True) if value else b""


def _seconds_and_nanos(body: bytes) -> tuple[int, int]:
    seconds = nanos = 0
    for number, value in entries(body):
        if isinstance(value, int):
            if number == 1:
                seconds = signed(value, 64)
            elif number == 2:
                nanos = signed(value, 32)
    return seconds, nanos


@lru_cache(maxsize=4096)
def _decode_time(body: bytes, _depth: int = 0) -> str | None:
    if not body:
        return None
    seconds, _ = _seconds_and_nanos(body)
    if seconds == _GO_ZERO:
        return None
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _decode_micro_time(body: bytes, _depth: int) -> str | None:
    if not body:
        return None
    seconds, nanos = _seconds_and_nanos(body)
    if seconds == _GO_ZERO:
        return None
    when = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    return when.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _encode_quantity(value: str | int | float) -> bytes:
    return delimited(1, str(value).encode())


def _decode_quantity(body: bytes, _depth: int) -> str:
    text = b""
    for number, value in entries(body):
        if number == 1 and isinstance(value, bytes):
            text = value
    return text.decode() or "0"


def _encode_int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01\x10\x00" + delimited(3, value.encode())
    return b"\x08\x00\x10" + varint(int(value)) + b"\x1a\x00"


def _decode_int_or_string(body: bytes, _depth: int) -> int | str:
    is_text, number, text = 0, 0, b""
    for n, value in entries(body):
        if n == 3 and isinstance(value, bytes):
            text = value
        elif isinstance(value, int):
            if n == 1:
                is_text = value
            elif n == 2:
                number = signed(value, 32)
    return text.decode() if is_text else number


def _encode_json(value: Any) -> bytes:
    return delimited(1, orjson.dumps(value))


def _decode_json(body: bytes, _depth: int) -> Any:
    raw: bytes | int = b""
    for number, value in entries(body):
        if number == 1:
            raw = value
    return orjson.loads(raw) if isinstance(raw, bytes) and raw else None


def _encode_strings(value: list[str]) -> bytes:
    return b"".join(delimited(1, item.encode()) for item in value)


def _decode_strings(body: bytes, _depth: int) -> list[str]:
    return [value.decode() for number, value in entries(body) if number == 1 and isinstance(value, bytes)]


FORMS: dict[str, Form] = {
    "time": Form(_encode_time, _decode_time),
    "micro-time": Form(_encode_micro_time, _decode_micro_time),
    "quantity": Form(_encode_quantity, _decode_quantity),
    "int-or-string": Form(_encode_int_or_string, _decode_int_or_string),
    "json": Form(_encode_json, _decode_json),
    "strings": Form(_encode_strings, _decode_strings),
}
