"""How documents are cut into pieces in the cache, for whoever writes and whoever reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def file_name(document: str) -> str:
    """The file of a document: "apis/apps/v1" is "apis__apps__v1"."""
    return document.replace("/", "__")


def members(document: Mapping[str, Any]) -> bytes:
    """The members of a JSON object, sorted, without its braces: pieces can be joined with commas."""
    return orjson.dumps(dict(sorted(document.items())))[1:-1]


def document_hash(data: bytes) -> str:
    """What the index says of a document so that clients can keep it: upper-case hexadecimal, as upstream."""
    return hashlib.sha512(data).hexdigest().upper()


def document_name(group: str, version: str = "") -> str:
    """The name of a group's, or a group version's, OpenAPI v3 document."""
    name = f"apis/{group}" if group else "api"
    return f"{name}/{version}" if version else name
