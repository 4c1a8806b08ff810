"""The names of certificate signers: ``example.com/what-they-sign``.

Follows core's ``ValidateSignerName``.
"""

from __future__ import annotations

from collections.abc import Callable

from shirube.api import names
from shirube.api.errors import quote
from shirube.api.validation.field import Cause, invalid, required, too_long

_MAX_DOMAIN = 253
_MAX_NAME = _MAX_DOMAIN + 1 + 253 + 1 + 63  # the path has room for a label, a dot and a subdomain
_FORM = "must be a fully qualified domain and path of the form 'example.com/signer-name'"


def validate_signer_name(out: list[Cause], name: str, path: str) -> None:
    """A domain of two labels or more, a slash, and what is signed there."""
    if not name:
        out.append(required(path))
        return
    segments = name.split("/")
    if len(segments) != 2:
        out.append(invalid(path, name, _FORM))
        return
    domain, rest = segments
    if len(domain) > _MAX_DOMAIN:
        out.append(too_long(path, _MAX_DOMAIN))
    _validate_labels(out, domain, path, names.is_dns1123_label)
    if "." not in domain:
        out.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    _validate_labels(out, rest, path, names.is_dns1123_subdomain)
    if len(name) > _MAX_NAME:
        out.append(too_long(path, _MAX_NAME))


def _validate_labels(out: list[Cause], text: str, path: str, rule: Callable[[str], list[str]]) -> None:
    """What is wrong with the first label that is."""
    for label in text.split("."):
        if messages := rule(label):
            out.extend(invalid(path, text, f"validating label {quote(label)}: {m}") for m in messages)
            return
