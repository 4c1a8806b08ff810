"""Names that are domains, or begin with one.

Follows apimachinery's ``IsFullyQualifiedName``, ``IsFullyQualifiedDomainName`` and ``IsDomainPrefixedPath``; which of
the parts of a value a message shows is part of the rule.
"""

from __future__ import annotations

import re

from shirube.api import names
from shirube.api.validation.field import Cause, invalid, required

_PATH_PATTERN = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_PATH = re.compile(_PATH_PATTERN)


def validate_qualified(out: list[Cause], name: str, path: str) -> None:
    """A domain of three labels or more."""
    if not name:
        out.append(required(path))
        return
    if messages := names.is_dns1123_subdomain(name):
        out.append(invalid(path, name, ",".join(messages)))
    elif name.count(".") < 2:
        out.append(invalid(path, name, "should be a domain with at least three segments separated by dots"))
    else:
        _validate_labels(out, name, path)


def validate_domain(out: list[Cause], name: str, path: str) -> None:
    """A domain of two labels or more; it may end in a dot."""
    if not name:
        out.append(required(path))
        return
    name = name.removesuffix(".")
    if messages := names.is_dns1123_subdomain(name):
        out.append(invalid(path, name, ",".join(messages)))
    elif "." not in name:
        out.append(invalid(path, name, "should be a domain with at least two segments separated by dots"))
    else:
        _validate_labels(out, name, path)


def _validate_labels(out: list[Cause], name: str, path: str) -> None:
    for label in name.split("."):
        if messages := names.is_dns1123_label(label):
            out.append(invalid(path, label, ",".join(messages)))


def validate_prefixed_path(out: list[Cause], value: str, path: str) -> None:
    """A domain, a slash, and more: "example.com/controller"."""
    if not value:
        out.append(required(path))
        return
    host, slash, rest = value.partition("/")
    if not (host and slash and rest):
        out.append(invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")'))
        return
    out.extend(invalid(path, host, m) for m in names.is_dns1123_subdomain(host))
    if not _PATH.fullmatch(rest):
        out.append(invalid(path, rest, names.must_match("Invalid path", _PATH_PATTERN)))
