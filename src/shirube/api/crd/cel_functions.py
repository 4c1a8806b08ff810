"""The functions that Kubernetes adds to CEL: lists, regular expressions, URLs, quantities, IP addresses.

Each is called as a method or as a function (`x.f(y)` is `f(x, y)`); those whose name several types share look at
what they are given. Values of Kubernetes' own types are maps with one marked key, so that they compare by value and
pass through the engine. Raises ValueError, which the engine reports. Follows k8s.io/apiserver ``pkg/cel/library``.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from shirube.api import quantity as quantities
from shirube.api.crd.values import pattern

_QUANTITY, _URL, _IP, _CIDR = "\x00quantity", "\x00url", "\x00ip", "\x00cidr"
_ONE = quantities.parse("1")


# ---------------------------------------------------------------------------------------- lists


def is_sorted(values: list[Any]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(values))


def index_of(values: Any, item: Any, *rest: int) -> int:
    if isinstance(values, str):
        return values.find(item, *rest)
    return next((n for n, v in enumerate(values) if _equal(v, item)), -1)


def last_index_of(values: Any, item: Any) -> int:
    if isinstance(values, str):
        return values.rfind(item)
    return next((n for n in range(len(values) - 1, -1, -1) if _equal(values[n], item)), -1)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) is isinstance(b, bool)


# ---------------------------------------------------------------------------------------- regular expressions


def find(text: str, regex: str) -> str:
    match = pattern(regex).search(text)
    return match[0] if match else ""


def find_all(text: str, regex: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in pattern(regex).finditer(text)]
    return found if limit < 0 else found[:limit]


# ---------------------------------------------------------------------------------------- URLs


def is_url(text: str) -> bool:
    try:
        url(text)
    except ValueError:
        return False
    return True


def url(text: str) -> dict[str, str]:
    parts = urlsplit(text)
    if not (parts.scheme and (parts.netloc or parts.path)) and not text.startswith("/"):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    _ = parts.port  # raises ValueError when it is no number
    return {_URL: text}


def _parts(value: dict[str, str]) -> SplitResult:
    return urlsplit(value[_URL])


def get_host(value: dict[str, str]) -> str:
    return _parts(value).netloc.rpartition("@")[2]


def get_hostname(value: dict[str, str]) -> str:
    host = get_host(value)
    return host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]


def get_port(value: dict[str, str]) -> str:
    port = _parts(value).port
    return "" if port is None else str(port)


# ---------------------------------------------------------------------------------------- quantities


def is_quantity(text: str) -> bool:
    try:
        quantities.parse(text)
    except ValueError:
        return False
    return True


def quantity(text: str) -> dict[str, str]:
    return {_QUANTITY: quantities.canonical(text)}


def _number(value: Any) -> Any:
    return quantities.parse(value[_QUANTITY] if isinstance(value, dict) else str(value))


def compare_to(a: Any, b: Any) -> int:
    return quantities.cmp(_number(a), _number(b))


def sign(value: Any) -> int:
    return quantities.cmp(_number(value), quantities.parse("0"))


def as_integer(value: Any) -> int:
    if not is_integer(value):
        raise ValueError("cannot convert value to integer")
    return quantities.value(_number(value))


def is_integer(value: Any) -> bool:
    return quantities.milli(_number(value)) % 1000 == 0


def as_float(value: Any) -> float:
    return quantities.milli(_number(value)) / 1000


def add(a: Any, b: Any) -> dict[str, str]:
    return {_QUANTITY: str(quantities.add(_number(a), _number(b)))}


def sub(a: Any, b: Any) -> dict[str, str]:
    return {_QUANTITY: str(quantities.sub(_number(a), _number(b)))}


# ---------------------------------------------------------------------------------------- addresses


def is_ip(text: Any) -> bool:
    try:
        ip(text)
    except ValueError:
        return False
    return True


def ip(value: Any) -> dict[str, str]:
    if isinstance(value, dict):  # of a CIDR
        return {_IP: str(ipaddress.ip_interface(value[_CIDR]).ip)}
    return {_IP: str(ipaddress.ip_address(value))}


def is_cidr(text: Any) -> bool:
    try:
        cidr(text)
    except ValueError:
        return False
    return True


def cidr(text: str) -> dict[str, str]:
    if "/" not in text:
        raise ValueError(f'network address parse error during conversion from string: "{text}" has no "/"')
    return {_CIDR: str(ipaddress.ip_interface(text))}


def family(value: dict[str, str]) -> int:
    return ipaddress.ip_address(value[_IP]).version


def _address(value: Any) -> Any:
    return ipaddress.ip_address(value[_IP] if isinstance(value, dict) else value)


def _network(value: Any) -> Any:
    return ipaddress.ip_network(value[_CIDR] if isinstance(value, dict) else value, strict=False)


def contains_cidr(outer: Any, inner: Any) -> bool:
    a, b = _network(outer), _network(inner)
    return a.version == b.version and b.subnet_of(a)


def _of_address(name: str) -> Callable[[Any], bool]:
    return lambda value: bool(getattr(_address(value), name))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "isSorted": is_sorted,
    "sum": lambda values: sum(values),
    "min": lambda values: min(values),
    "max": lambda values: max(values),
    "indexOf": index_of,
    "lastIndexOf": last_index_of,
    "find": find,
    "findAll": find_all,
    "isURL": is_url,
    "url": url,
    "getScheme": lambda value: _parts(value).scheme,
    "getHost": get_host,
    "getHostname": get_hostname,
    "getPort": get_port,
    "getEscapedPath": lambda value: _parts(value).path,
    "getQuery": lambda value: parse_qs(_parts(value).query, keep_blank_values=True),
    "isQuantity": is_quantity,
    "quantity": quantity,
    "isGreaterThan": lambda a, b: compare_to(a, b) > 0,
    "isLessThan": lambda a, b: compare_to(a, b) < 0,
    "compareTo": compare_to,
    "sign": sign,
    "isInteger": is_integer,
    "asInteger": as_integer,
    "asApproximateFloat": as_float,
    "add": add,
    "sub": sub,
    "isIP": is_ip,
    "ip": ip,
    "isCIDR": is_cidr,
    "cidr": cidr,
    "family": family,
    "isUnspecified": _of_address("is_unspecified"),
    "isLoopback": _of_address("is_loopback"),
    "isLinkLocalUnicast": _of_address("is_link_local"),
    "isGlobalUnicast": lambda value: (
        not (_address(value).is_multicast or _address(value).is_unspecified or _address(value).is_loopback)
    ),
    "containsIP": lambda network, address: _address(address) in _network(network),
    "containsCIDR": contains_cidr,
    "masked": lambda value: {_CIDR: str(_network(value))},
    "prefixLength": lambda value: _network(value).prefixlen,
}
