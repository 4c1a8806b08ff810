"""Formats of strings that structural schemas may ask for; names that are not in the table are not checked.

Follows k8s.io/kube-openapi ``pkg/validation/strfmt``, limited to what apiextensions supports.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import uuid
from collections.abc import Callable
from datetime import date
from urllib.parse import urlsplit

from shirube.api import names

_DURATION_UNITS = "ns|nanos?|nanoseconds?|us|µs|micros?|microseconds?|ms|millis?|milliseconds?|s|secs?|seconds?"
_DURATION_UNITS += "|m|mins?|minutes?|h|hr|hours?|d|days?|w|weeks?"
_PATTERNS = {
    "bsonobjectid": r"[0-9a-fA-F]{24}",
    "creditcard": r"(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9]{2})[0-9]{12}|3[47][0-9]{13}"
    r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})",
    "ssn": r"\d{3}[- ]?\d{2}[- ]?\d{4}",
    "hexcolor": r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})",
    "rgbcolor": r"rgb\(\s*(?:\d{1,2}|1\d\d|2[0-4]\d|25[0-5])(?:\s*,\s*(?:\d{1,2}|1\d\d|2[0-4]\d|25[0-5])){2}\s*\)",
    "isbn10": r"(?:\d[- ]?){9}[\dXx]",
    "isbn13": r"97[89](?:[- ]?\d){10}",
    "duration": rf"(?:\d+(?:\.\d+)?\s*(?:{_DURATION_UNITS})\s*)+|0",
    "email": r"[^@\s<>]+@[^@\s<>]+",
    "mac": r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?:(?:[:-][0-9A-Fa-f]{2}){2})?"
    r"|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}",
}
_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)([.,]\d+)?([Zz]|[+-]([01]\d|2[0-3]):?[0-5]\d)?"
)
_HOSTNAME = re.compile(
    r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?)*\.?"
)


def _parses(read: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            read(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _pattern(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _date_time(text: str) -> bool:
    match = _DATE_TIME.fullmatch(text)
    return match is not None and _date(match[1])


_date = _parses(date.fromisoformat)


def _uri(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme) or text.startswith("/")
    except ValueError:
        return False


def _uuid(version: int | None) -> Callable[[str], bool]:
    form = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")

    def check(text: str) -> bool:
        return form.fullmatch(text) is not None and (version is None or uuid.UUID(text).version == version)

    return check


_network = _parses(lambda text: ipaddress.ip_network(text, strict=False))


def _ip(version: int) -> Callable[[str], bool]:
    return _parses(ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address)


def _isbn(text: str) -> bool:
    return CHECKS["isbn10"](text) or CHECKS["isbn13"](text)


CHECKS: dict[str, Callable[[str], bool]] = {
    **{name: _pattern(pattern) for name, pattern in _PATTERNS.items()},
    "byte": _parses(lambda text: base64.b64decode(text, validate=True)),
    "cidr": lambda text: "/" in text and _network(text),
    "date": lambda text: len(text) == 10 and _date(text),
    "date-time": _date_time,
    "datetime": _date_time,
    "hostname": lambda text: len(text) <= 255 and _HOSTNAME.fullmatch(text) is not None,
    "ipv4": _ip(4),
    "ipv6": _ip(6),
    "isbn": _isbn,
    "password": lambda text: True,
    "uri": _uri,
    "uuid": _uuid(None),
    "uuid3": _uuid(3),
    "uuid4": _uuid(4),
    "uuid5": _uuid(5),
    "k8s-short-name": lambda text: not names.is_dns1123_label(text),
    "k8s-long-name": lambda text: not names.is_dns1123_subdomain(text),
}

SUPPORTED = frozenset(CHECKS) | {"int32", "int64", "float", "double"}
