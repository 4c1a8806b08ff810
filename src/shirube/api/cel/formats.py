"""The named formats of Kubernetes' CEL library `format`: what is wrong with a text, as a list of messages."""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from shirube.api import names

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """A name that more is appended to may end in "-"."""
    return lambda text: check(text[:-1] + "a" if text.endswith("-") else text)


def _uri(text: str) -> list[str]:
    try:
        parts = urlsplit(text)
    except ValueError:
        return ["invalid URI"]
    fine = bool(parts.scheme or text.startswith("/")) and not any(c <= " " for c in text)
    return [] if fine else [f"parse {text!r}: invalid URI for request"]


def _uuid(text: str) -> list[str]:
    return [] if _UUID.fullmatch(text) else ["does not match the UUID format"]


def _byte(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ["invalid base64"]
    return []


def _date(text: str) -> list[str]:
    try:
        datetime.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=datetime.UTC)
    except ValueError:
        return ["invalid date"]
    return []


def _datetime(text: str) -> list[str]:
    if _DATETIME.fullmatch(text) and not _date(text[:10]):
        hours, minutes, seconds = (int(part) for part in text[11:19].split(":"))
        if hours < 24 and minutes < 60 and seconds < 60:
            return []
    return ["invalid datetime"]


FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": names.is_dns1123_label,
    "dns1123Subdomain": names.is_dns1123_subdomain,
    "dns1035Label": names.is_dns1035_label,
    "qualifiedName": names.is_qualified_name,
    "dns1123LabelPrefix": _prefix(names.is_dns1123_label),
    "dns1123SubdomainPrefix": _prefix(names.is_dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(names.is_dns1035_label),
    "labelValue": names.is_label_value,
    "uri": _uri,
    "uuid": _uuid,
    "byte": _byte,
    "date": _date,
    "datetime": _datetime,
}
