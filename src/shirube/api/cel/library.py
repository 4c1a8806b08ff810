"""Kubernetes' CEL libraries for the engine: quantity, ip, cidr, url, semver, format, regex, lists.

The engine passes only plain values to functions, so a quantity, an address … is a map with one key that says what
it is; methods find out by it what they are called on. Two of them are equal when the maps are. Functions raise
ValueError, which becomes the error of the evaluation. See "Common Expression Language in Kubernetes" upstream.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import math
import re
import zoneinfo
from collections.abc import Callable
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qs, urlsplit

import re2

from shirube.api import quantity as quantities
from shirube.api.cel import collections
from shirube.api.cel.engine import cel
from shirube.api.cel.formats import FORMATS

Value = Any
QUANTITY, IP, CIDR, URL, SEMVER, FORMAT = "@quantity", "@ip", "@cidr", "@url", "@semver", "@format"


def _is(value: Value, tag: str) -> bool:
    return isinstance(value, dict) and tag in value


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise ValueError("no such overload")
    return value


# ---------------------------------------------------------------------------------------- optionals


def optional_field(value: Value, name: Value) -> Value:
    if isinstance(value, cel.OptionalValue):
        return optional_field(value.value(), name) if value.has_value() else value
    if isinstance(value, dict):
        return cel.OptionalValue.of(value[name]) if name in value else cel.OptionalValue.none()
    if isinstance(value, list) and isinstance(name, int):
        return cel.OptionalValue.of(value[name]) if 0 <= name < len(value) else cel.OptionalValue.none()
    raise ValueError(f"no such key: {name}")


def structure(fields: Value) -> Value:
    """An object under construction: fields marked "?" are there when their value is."""
    out = {}
    for name, value in fields.items():
        if not name.startswith("?"):
            out[name] = value
        elif isinstance(value, cel.OptionalValue) and value.has_value():
            out[name[1:]] = value.value()
    return out


# ---------------------------------------------------------------------------------------- quantities


def _number(value: Value) -> Fraction:
    if _is(value, QUANTITY):
        return Fraction(value[QUANTITY])
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    raise ValueError("no such overload")


def _quantity(number: Fraction) -> Value:
    return {QUANTITY: str(number)}


def quantity(text: Value) -> Value:
    try:
        return _quantity(_exact(_text(text)))
    except ValueError as error:
        raise ValueError(f"quantity parse error: {error}") from None


def _exact(text: str) -> Fraction:
    return Fraction(quantities.parse(text).nanos, 10**9)


def is_quantity(text: Value) -> bool:
    try:
        _exact(_text(text))
    except ValueError:
        return False
    return True


def as_integer(value: Value) -> int:
    number = _number(value)
    if number.denominator != 1:
        raise ValueError("cannot convert value to integer")
    return int(number)


def compare_to(left: Value, right: Value) -> int:
    a, b = (_semver_key(left), _semver_key(right)) if _is(left, SEMVER) else (_number(left), _number(right))
    return (a > b) - (a < b)


def sign(value: Value) -> int:
    number = _number(value)
    return (number > 0) - (number < 0)


# ---------------------------------------------------------------------------------------- addresses


def ip(value: Value) -> Value:
    if _is(value, CIDR):
        return {IP: value[CIDR].partition("/")[0]}
    text = _text(value)
    if "%" in text:
        raise ValueError(f"IP Address {text!r} with zone value is not allowed")
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        raise ValueError("IPv4-mapped IPv6 address is not allowed")
    return {IP: str(address)}


def _address(value: Value) -> Any:
    return ipaddress.ip_address(value[IP] if _is(value, IP) else _text(value))


def is_ip(value: Value, version: Value = None) -> bool:
    if _is(value, CIDR):
        return False
    try:
        made = _address(ip(value))
    except ValueError:
        return False
    return version is None or made.version == version


def cidr(text: Value) -> Value:
    if "/" not in _text(text):
        raise ValueError(f"network address parse error during conversion from string: {text!r}: no '/'")
    interface = ipaddress.ip_interface(text)
    return {CIDR: f"{interface.ip}/{interface.network.prefixlen}"}


def is_cidr(text: Value) -> bool:
    try:
        cidr(text)
    except ValueError:
        return False
    return True


def _network(value: Value) -> Any:
    return ipaddress.ip_network(value[CIDR] if _is(value, CIDR) else _text(value), strict=False)


def contains_ip(network: Value, address: Value) -> bool:
    found, net = _address(address), _network(network)
    return bool(found.version == net.version and found in net)


def contains_cidr(network: Value, other: Value) -> bool:
    outer, inner = _network(network), _network(other)
    return bool(outer.version == inner.version and inner.subnet_of(outer))


# ---------------------------------------------------------------------------------------- URLs


def url(text: Value) -> Value:
    parts = urlsplit(_text(text))
    if not (parts.scheme and parts.netloc) and not text.startswith("/"):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    return {URL: text}


def is_url(text: Value) -> bool:
    try:
        url(text)
    except ValueError:
        return False
    return True


def _url(value: Value) -> Any:
    if not _is(value, URL):
        raise ValueError("no such overload")
    return urlsplit(value[URL])


# ---------------------------------------------------------------------------------------- semantic versions

_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?", re.ASCII)


def semver(text: Value, normalize: Value = False) -> Value:
    if normalize:
        text = _normalized(_text(text))
    if not _SEMVER.fullmatch(_text(text)):
        raise ValueError("no Major.Minor.Patch elements found")
    return {SEMVER: text.partition("+")[0]}


def _normalized(text: str) -> str:
    text = text.removeprefix("v")
    core, mark, rest = re.match(r"([0-9.]*)([-+]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    numbers = [n.lstrip("0") or "0" for n in core.split(".")]
    return ".".join(([*numbers, "0", "0"])[: max(3, len(numbers))]) + mark + rest


def is_semver(text: Value, normalize: Value = False) -> bool:
    try:
        semver(text, normalize)
    except ValueError:
        return False
    return True


def _semver_parts(value: Value) -> tuple[int, int, int, str]:
    match = _SEMVER.fullmatch(value[SEMVER] if _is(value, SEMVER) else "")
    if match is None:
        raise ValueError("no such overload")
    return int(match[1]), int(match[2]), int(match[3]), match[4] or ""


def _semver_key(value: Value) -> Any:
    major, minor, patch, pre = _semver_parts(value)
    marks = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in pre.split(".")] if pre else [(2, 0, "")]
    return (major, minor, patch, marks)


# ---------------------------------------------------------------------------------------- formats


def named_format(name: Value) -> Value:
    found = {FORMAT: name}
    return cel.OptionalValue.of(found) if name in FORMATS else cel.OptionalValue.none()


def validate(value: Value, text: Value) -> Value:
    if not _is(value, FORMAT):
        raise ValueError("no such overload")
    problems = FORMATS[value[FORMAT]](_text(text))
    return cel.OptionalValue.of(problems) if problems else cel.OptionalValue.none()


# ---------------------------------------------------------------------------------------- texts and lists


def find(text: Value, pattern: Value) -> str:
    match = re2.search(_text(pattern), _text(text))
    return match.group() if match else ""


def find_all(text: Value, pattern: Value, limit: Value = -1) -> list[str]:
    found = [m.group() for m in re2.finditer(_text(pattern), _text(text))]
    return found if limit < 0 else found[:limit]


def is_sorted(values: Value) -> bool:
    return all(a <= b for a, b in itertools.pairwise(values))


def index_of(value: Value, wanted: Value, *more: Value) -> int:
    if isinstance(value, list):
        return next((n for n, v in enumerate(value) if v == wanted), -1)
    return value.find(wanted, *more)


def last_index_of(value: Value, wanted: Value, *more: Value) -> int:
    if isinstance(value, list):
        return next((n for n in range(len(value) - 1, -1, -1) if value[n] == wanted), -1)
    return value.rfind(wanted) if not more else value.rfind(wanted, 0, more[0] + len(wanted))


_VERB = re.compile(r"%(?:\.(\d+))?([sdfeboxX%])")


def text_format(text: Value, values: Value) -> str:
    """`"%s is %d".format([a, b])`"""
    left = list(values)

    def one(match: re.Match[str]) -> str:
        precision, verb = match.groups()
        if verb == "%":
            return "%"
        if not left:
            raise ValueError("index out of range")
        value = left.pop(0)
        if verb == "s":
            return shown(value)
        if verb in "fe":
            return f"{float(value):.{precision or 6}{verb}}"
        if isinstance(value, str) and verb in "xX":
            return f"{value.encode().hex()}" if verb == "x" else value.encode().hex().upper()
        return format(int(value), verb)

    return _VERB.sub(one, _text(text))


def shown(value: Value) -> str:
    """A value as CEL prints it into text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, datetime.timedelta):
        return _trimmed(value.total_seconds()) + "s"
    if isinstance(value, datetime.datetime):
        return _stamp(value)
    if isinstance(value, float):
        return _trimmed(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "strict")
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, dict):
        tagged = next((v for k, v in value.items() if k in (IP, CIDR, URL, SEMVER, QUANTITY)), None)
        if tagged is not None and len(value) == 1:
            return str(tagged)
        return "{" + ", ".join(f"{shown(k)}: {shown(value[k])}" for k in sorted(value)) + "}"
    return str(value)


def _trimmed(number: float) -> str:
    """A number without a fraction that says nothing."""
    return str(int(number)) if math.isfinite(number) and number == int(number) and abs(number) < 1e21 else repr(number)


def _stamp(moment: datetime.datetime) -> str:
    text = moment.astimezone(datetime.UTC).isoformat()
    return text.removesuffix("+00:00") + "Z"


def _in_zone(part: Callable[[datetime.datetime], int]) -> Callable[..., int]:
    """A part of a time as it is in a time zone: `t.getHours("Europe/Rome")`, also `"+05:30"`."""

    def found(moment: Value, zone: Value) -> int:
        if not isinstance(moment, datetime.datetime):
            raise ValueError("no such overload")
        return part(moment.astimezone(_zone(_text(zone))))

    return found


def _zone(name: str) -> datetime.tzinfo:
    if match := re.fullmatch(r"([+-]?)(\d{2}):(\d{2})", name):
        offset = datetime.timedelta(hours=int(match[2]), minutes=int(match[3]))
        return datetime.timezone(-offset if match[1] == "-" else offset)
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name}") from None


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **collections.FUNCTIONS,
    "asText": shown,
    "matches": lambda text, pattern: re2.search(_text(pattern), _text(text)) is not None,
    "getDate": _in_zone(lambda t: t.day),
    "getDayOfMonth": _in_zone(lambda t: t.day - 1),
    "getDayOfWeek": _in_zone(lambda t: (t.weekday() + 1) % 7),
    "getDayOfYear": _in_zone(lambda t: t.timetuple().tm_yday - 1),
    "getFullYear": _in_zone(lambda t: t.year),
    "getHours": _in_zone(lambda t: t.hour),
    "getMilliseconds": _in_zone(lambda t: t.microsecond // 1000),
    "getMinutes": _in_zone(lambda t: t.minute),
    "getMonth": _in_zone(lambda t: t.month - 1),
    "getSeconds": _in_zone(lambda t: t.second),
    "optionalField": optional_field,
    "optionalIndex": optional_field,
    "structure": structure,
    "jsonpatch.escapeKey": lambda text: _text(text).replace("~", "~0").replace("/", "~1"),
    "quantity": quantity,
    "isQuantity": is_quantity,
    "isInteger": lambda v: _number(v).denominator == 1,
    "asInteger": as_integer,
    "asApproximateFloat": lambda v: float(_number(v)),
    "sign": sign,
    "add": lambda a, b: _quantity(_number(a) + _number(b)),
    "sub": lambda a, b: _quantity(_number(a) - _number(b)),
    "compareTo": compare_to,
    "isGreaterThan": lambda a, b: compare_to(a, b) > 0,
    "isLessThan": lambda a, b: compare_to(a, b) < 0,
    "ip": ip,
    "isIP": is_ip,
    "ip.isCanonical": lambda text: str(ipaddress.ip_address(text)) == text,
    "family": lambda v: _address(v).version,
    "isUnspecified": lambda v: _address(v).is_unspecified,
    "isLoopback": lambda v: _address(v).is_loopback,
    "isLinkLocalMulticast": lambda v: _address(v).is_multicast and str(_address(v)).startswith(("224.0.0.", "ff02:")),
    "isLinkLocalUnicast": lambda v: _address(v).is_link_local,
    "isGlobalUnicast": lambda v: (
        not (
            _address(v).is_unspecified
            or _address(v).is_loopback
            or _address(v).is_multicast
            or _address(v).is_link_local
        )
    ),
    "cidr": cidr,
    "isCIDR": is_cidr,
    "containsIP": contains_ip,
    "containsCIDR": contains_cidr,
    "prefixLength": lambda v: _network(v).prefixlen,
    "masked": lambda v: {CIDR: str(_network(v))},
    "url": url,
    "isURL": is_url,
    "getScheme": lambda v: _url(v).scheme,
    "getHost": lambda v: _url(v).netloc.rpartition("@")[2],
    "getHostname": lambda v: _url(v).hostname or "",
    "getPort": lambda v: str(_url(v).port or ""),
    "getEscapedPath": lambda v: _url(v).path,
    "getQuery": lambda v: parse_qs(_url(v).query, keep_blank_values=True),
    "semver": semver,
    "isSemver": is_semver,
    "major": lambda v: _semver_parts(v)[0],
    "minor": lambda v: _semver_parts(v)[1],
    "patch": lambda v: _semver_parts(v)[2],
    "format.named": named_format,
    **{f"format.{name}": (lambda n: lambda: {FORMAT: n})(name) for name in FORMATS},
    "validate": validate,
    "find": find,
    "findAll": find_all,
    "isSorted": is_sorted,
    "indexOf": index_of,
    "lastIndexOf": last_index_of,
    "format": text_format,
}
