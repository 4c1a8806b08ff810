"""Syntax of names, keys and numbers: each check returns upstream's messages, none when the value is good.

Follows `k8s.io/apimachinery/pkg/util/validation` and `pkg/api/validate/content`. The messages become the
detail of `Cause.invalid`. Lengths are counted in bytes, as Go does.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache, wraps

_LABEL_1123 = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_1123 = _LABEL_1123 + r"(\." + _LABEL_1123 + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = "(" + _KEY + ")?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_ENV_NAME = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_HEADER_NAME = "[-A-Za-z0-9]+"
_PERCENT = "[0-9]+%"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"

_COMPILED = {
    pattern: re.compile(pattern)
    for pattern in (
        _LABEL_1123,
        _SUBDOMAIN_1123,
        _LABEL_1035,
        _KEY,
        _VALUE,
        _CONFIG_KEY,
        _ENV_NAME,
        _C_IDENTIFIER,
        _HEADER_NAME,
        _PERCENT,
        _HTTP_PATH,
    )
}

EMPTY = "must be non-empty"
_NOT_AN_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_LONGEST_IP = 45

Check = Callable[[str], tuple[str, ...]]


def _remembered(check: Check) -> Check:
    """Memoise a check: clusters repeat a few thousand names. Long values, which are wrong anyway, are not kept."""
    known = lru_cache(maxsize=4096)(check)

    @wraps(check)
    def remembered(value: str) -> tuple[str, ...]:
        return known(value) if len(value) <= 320 else check(value)

    return remembered


def max_length(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def must_match(message: str, pattern: str, *examples: str) -> str:
    """What to say of a value that does not match `pattern`."""
    shown = " or ".join(f"'{e}', " for e in examples)
    return (
        f"{message} (e.g. {shown}regex used for validation is '{pattern}')"
        if examples
        else (f"{message} (regex used for validation is '{pattern}')")
    )


def between(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def _matches(pattern: str, value: str) -> bool:
    return _COMPILED[pattern].fullmatch(value) is not None


def _longer(value: str, limit: int) -> bool:
    return len(value) > limit or (not value.isascii() and len(value.encode()) > limit)


@_remembered
def _dns1123_label(value: str) -> tuple[str, ...]:
    errors = []
    if _longer(value, 63):
        errors.append(max_length(63))
    if not _matches(_LABEL_1123, value):
        if _matches(_SUBDOMAIN_1123, value):
            errors.append("must not contain dots")
        else:
            message = (
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
                "must start and end with an alphanumeric character"
            )
            errors.append(must_match(message, _LABEL_1123, "my-name", "123-abc"))
    return tuple(errors)


def is_dns1123_label(value: str) -> list[str]:
    return list(_dns1123_label(value))


@_remembered
def _dns1123_subdomain(value: str) -> tuple[str, ...]:
    errors = []
    if _longer(value, 253):
        errors.append(max_length(253))
    if not _matches(_SUBDOMAIN_1123, value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        errors.append(must_match(message, _SUBDOMAIN_1123, "example.com"))
    return tuple(errors)


def is_dns1123_subdomain(value: str) -> list[str]:
    return list(_dns1123_subdomain(value))


def is_dns1035_label(value: str) -> list[str]:
    errors = []
    if _longer(value, 63):
        errors.append(max_length(63))
    if not _matches(_LABEL_1035, value):
        message = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
            "alphabetic character, and end with an alphanumeric character"
        )
        errors.append(must_match(message, _LABEL_1035, "my-name", "abc-123"))
    return errors


def is_wildcard_dns1123_subdomain(value: str) -> list[str]:
    errors = []
    if _longer(value, 253):
        errors.append(max_length(253))
    if not (value.startswith("*.") and _matches(_SUBDOMAIN_1123, value[2:])):
        message = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which "
            "must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric "
            "character"
        )
        errors.append(must_match(message, r"\*\." + _SUBDOMAIN_1123, "*.example.com"))
    return errors


@_remembered
def _qualified_name(value: str) -> tuple[str, ...]:
    wording = (
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character"
    )
    parts = value.split("/")
    errors: list[str] = []
    if len(parts) > 2:
        wrong = must_match(wording, _KEY, "MyName", "my.name", "123-abc")
        prefixed = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return (f"a valid label key {wrong} {prefixed}",)
    if len(parts) == 2:
        if not parts[0]:
            errors.append("prefix part " + EMPTY)
        else:
            errors.extend("prefix part " + m for m in _dns1123_subdomain(parts[0]))
    name = parts[-1]
    if not name:
        errors.append("name part " + EMPTY)
    elif _longer(name, 63):
        errors.append("name part " + max_length(63))
    if not _matches(_KEY, name):
        errors.append("name part " + must_match(wording, _KEY, "MyName", "my.name", "123-abc"))
    return tuple(errors)


def is_qualified_name(value: str) -> list[str]:
    """A label or annotation key, a resource or condition name: `[prefix/]name`."""
    return list(_qualified_name(value))


@_remembered
def _label_value(value: str) -> tuple[str, ...]:
    errors = []
    if _longer(value, 63):
        errors.append(max_length(63))
    if not _matches(_VALUE, value):
        message = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character"
        )
        errors.append(must_match(message, _VALUE, "MyValue", "my_value", "12345"))
    return tuple(errors)


def is_label_value(value: str) -> list[str]:
    return list(_label_value(value))


def is_fully_qualified_name(value: str) -> list[str]:
    """A domain of three labels or more, such as a signer's or a controller's."""
    errors = is_dns1123_subdomain(value)
    if not errors and value.count(".") < 2:
        errors = ["should be a domain with at least three segments separated by dots"]
    return errors


def is_domain_prefixed_path(value: str) -> list[str]:
    host, slash, path = value.partition("/")
    if not (host and slash and path):
        return ['must be a domain-prefixed path (such as "acme.io/foo")']
    errors = is_dns1123_subdomain(host)
    if not _matches(_HTTP_PATH, path):
        errors.append(must_match("Invalid path", _HTTP_PATH))
    return errors


def is_path_segment_name(value: str) -> list[str]:
    """A name that must be usable as one segment of a URL path (RBAC objects, for instance)."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    if "\x00" in value:
        return ["may not contain a NUL"]  # no path could name it
    return [f"may not contain '{bad}'" for bad in ("/", "%") if bad in value]


def is_config_map_key(value: str) -> list[str]:
    errors = []
    if _longer(value, 253):
        errors.append(max_length(253))
    if not _matches(_CONFIG_KEY, value):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        errors.append(must_match(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    return errors + _parent_directory(value)


def is_env_var_name(value: str) -> list[str]:
    errors = []
    if not _matches(_ENV_NAME, value):
        message = (
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or "
            "'.', and must not start with a digit"
        )
        errors.append(must_match(message, _ENV_NAME, "my.env-name", "MY_ENV.NAME", "MyEnvName1"))
    return errors + _parent_directory(value)


def is_relaxed_env_var_name(value: str) -> list[str]:
    """What pods may use since v1.34: anything printable in ASCII but `=`."""
    if not value:
        return ["environment variable name " + EMPTY]
    if not (value.isascii() and value.isprintable()) or "=" in value:
        return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]
    return []


def _parent_directory(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def is_c_identifier(value: str) -> list[str]:
    if _matches(_C_IDENTIFIER, value):
        return []
    message = (
        "a valid C identifier must start with alphabetic character or '_', followed by a string of "
        "alphanumeric characters or '_'"
    )
    return [must_match(message, _C_IDENTIFIER, "my_name", "MY_NAME", "MyName")]


def is_port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else [between(1, 65535)]


def is_port_name(value: str) -> list[str]:
    errors = []
    if _longer(value, 15):
        errors.append(max_length(15))
    if not value or not all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= c <= "z" for c in value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def is_in_range(value: int, low: int, high: int) -> list[str]:
    return [] if low <= value <= high else [between(low, high)]


def is_user_id(value: int) -> list[str]:
    return is_in_range(value, 0, 0xFFFFFFFF)


is_group_id = is_user_id


def is_percent(value: str) -> list[str]:
    if _matches(_PERCENT, value):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [must_match(message, _PERCENT, "1%", "93%")]


def is_http_header_name(value: str) -> list[str]:
    if _matches(_HEADER_NAME, value):
        return []
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [must_match(message, _HEADER_NAME, "X-Header-Name")]


def is_ip(value: str) -> list[str]:
    return [] if len(value) <= _LONGEST_IP and _is_ip(value) else [_NOT_AN_IP]


@lru_cache(maxsize=32768)
def _is_ip(value: str) -> bool:
    """Remembered: every change of one endpoint shows all of its service's addresses again."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value


def is_cidr(value: str) -> list[str]:
    address, slash, bits = value.partition("/")
    if slash and bits.isdigit() and bits.isascii() and not is_ip(address):
        width = 128 if ":" in address else 32
        if int(bits) <= width and (bits == "0" or not bits.startswith("0")):
            return []
    return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
