"""How one scalar is read from JSON: the form that is kept, or why it cannot be read.

Each reader takes a value that is not null and answers what is stored: the same object when it is already in the
form in which upstream prints it. It raises `Mismatch` where Go's decoder would report a type error, and
ValueError with the message where a type's own UnmarshalJSON would.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from shirube.api import quantity
from shirube.api.schema.supplement import MICRO_TIME
from shirube.api.schema.types import Type

Reader = Callable[[Any], Any]

_CACHED_TEXT = 64  # longer texts are read each time, so that a request cannot fill the memory through a cache


class Mismatch(Exception):
    """The JSON value has another type than the Go type named here."""

    def __init__(self, go_type: str) -> None:
        self.go_type = go_type
        super().__init__(go_type)


INT_RANGES: Final = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def reader(type_: Type) -> Reader:
    """The reader of a scalar type."""
    kind, form = type_.kind, type_.format
    if kind == "string":
        if type_.name == MICRO_TIME:
            return micro_time
        return {"byte": base64_bytes, "date-time": time}.get(form or "", string)
    if kind == "integer":
        return int32 if form == "int32" else int64
    readers: dict[str, Reader] = {
        "boolean": boolean,
        "number": number,
        "int-or-string": int_or_string,
        "quantity": quantity_text,
        "any": anything,
    }
    return readers[kind]


def anything(value: Any) -> Any:
    return value


def string(value: Any) -> Any:
    if type(value) is not str:
        raise Mismatch("string")
    return value


def boolean(value: Any) -> Any:
    if type(value) is not bool:
        raise Mismatch("bool")
    return value


def number(value: Any) -> Any:
    if type(value) is not float and type(value) is not int:
        raise Mismatch("float64")
    return value


def int32(value: Any) -> Any:
    if type(value) is not int or not -(2**31) <= value < 2**31:
        raise Mismatch("int32")
    return value


def int64(value: Any) -> Any:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise Mismatch("int64")
    return value


def int_or_string(value: Any) -> Any:
    if type(value) is str or (type(value) is int and -(2**31) <= value < 2**31):
        return value
    raise ValueError(f"json: cannot unmarshal {json_kind(value)} into Go value of type int32")


def quantity_text(value: Any) -> Any:
    """A quantity in canonical form: "1000m" and 1 are kept as "1"."""
    if type(value) is str:
        canonical = quantity.canonical_text(value)
        return value if canonical == value else canonical
    if type(value) is int or type(value) is float:
        return quantity.canonical(value)
    return quantity.canonical("")  # upstream parses the JSON text of any other value, which fails the same way


def base64_bytes(value: Any) -> Any:
    """Base64 as Go's decoder takes it (line breaks are skipped) and prints it (without them)."""
    if type(value) is not str:
        raise Mismatch("[]uint8")
    text = value.replace("\n", "").replace("\r", "") if "\n" in value or "\r" in value else value
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ValueError(f"illegal base64 data at input byte {_bad_base64(text)}") from None
    return text


_BASE64 = re.compile(r"[A-Za-z0-9+/]*")


def _bad_base64(text: str) -> int:
    """Where Go's decoder stops: the first byte outside the alphabet, or the unfinished group at the end."""
    match = _BASE64.match(text)
    end = match.end() if match else 0
    if end < len(text) and text[end] != "=":
        return end
    try:
        base64.b64decode(text[: end - end % 4])
    except ValueError:
        return end
    return end if end < len(text) else end - end % 4


def time(value: Any) -> Any:
    """metav1.Time: RFC 3339, kept in UTC with whole seconds."""
    if type(value) is not str:
        raise ValueError(f"json: cannot unmarshal {json_kind(value)} into Go value of type string")
    canonical = _time(value) if len(value) <= _CACHED_TEXT else _read_time(value, False)
    return value if canonical == value else canonical


def micro_time(value: Any) -> Any:
    """metav1.MicroTime: RFC 3339 with six digits of a second, kept in UTC."""
    if type(value) is not str:
        raise ValueError(f"json: cannot unmarshal {json_kind(value)} into Go value of type string")
    return _read_time(value, True)


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,](\d+))?(?:Z|[+-]\d\d:\d\d)")
_LAYOUT = (
    (r"\d{4}", "2006"), ("-", "-"), (r"\d\d", "01"), ("-", "-"), (r"\d\d", "02"), ("T", "T"),
    (r"\d\d", "15"), (":", ":"), (r"\d\d", "04"), (":", ":"), (r"\d\d", "05"),
)  # fmt: skip


def _read_time(text: str, micro: bool) -> str:
    match = _RFC3339.fullmatch(text)
    if not match or (micro and len(match[1] or "") != 6):
        raise ValueError(_time_error(text, micro))
    whole = text
    if match[1]:
        whole = text[: match.start(1)] + match[1][:6].ljust(6, "0") + text[match.end(1) :]
    try:
        when = datetime.fromisoformat(whole).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f'parsing time "{text}": value out of range') from None
    # Not strftime: it does not pad years below 1000.
    kept = when.replace(tzinfo=None).isoformat(timespec="microseconds" if micro else "seconds")
    return kept + "Z"


def _time_error(text: str, micro: bool) -> str:
    """The message of Go's time.Parse: the rest of the text, and the part of the layout that it did not match."""
    layout = f"2006-01-02T15:04:05{'.000000' if micro else ''}Z07:00"
    rest = text
    parts = (*_LAYOUT, *(((r"[.,]\d{6}(?!\d)", ".000000"),) if micro else ((r"([.,]\d+)?", ""),)))
    for pattern, part in (*parts, (r"Z|[+-]\d\d:\d\d", "Z07:00")):
        match = re.match(pattern, rest)
        if not match:
            return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{part}"'
        rest = rest[match.end() :]
    return f'parsing time "{text}": extra text: "{rest}"'


@functools.lru_cache(4096)
def _time(text: str) -> str:
    return _read_time(text, False)


def json_kind(value: Any, *, literal: bool = False) -> str:
    """What Go's decoder calls a JSON value; with `literal`, a number together with its text."""
    if value is None:
        return "null"
    if type(value) is bool:
        return "bool"
    if isinstance(value, int | float):
        return f"number {value}" if literal else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def zero(type_: Type) -> Any:
    """What Go leaves in a list or map where JSON has null."""
    if type_.kind == "string":
        return ""
    zeros: dict[str, Any] = {
        "integer": 0,
        "number": 0,
        "boolean": False,
        "int-or-string": 0,
        "quantity": "0",
        "any": None,
    }
    if type_.kind in zeros:
        return zeros[type_.kind]
    return [] if type_.kind == "list" else {}
