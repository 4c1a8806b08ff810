"""Continue tokens: where a list in pieces goes on, and at which revision.

Opaque to clients: base64 of JSON, upstream's fields (`v`, `rv`, `start`) and the time it was issued. A token is
good for five minutes, however long history is kept, so that clients meet expiry in testing and not first in
production. An expired one is answered 410 with a token that goes on at the newest state (`rv` -1).
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import orjson

from shirube.api import errors

LIFETIME = 300.0
VERSION = "meta.k8s.io/v1"
NEWEST = -1

EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


class Continuation(NamedTuple):
    revision: int  # NEWEST: wherever the store is now
    start_after: str  # the last key returned, relative to the prefix of the list
    issued: float


def encode(revision: int, start_after: str, now: float) -> str:
    # Upstream's `start` is the first key to return: the last one and a zero byte.
    data = orjson.dumps({"v": VERSION, "rv": revision, "start": start_after + "\0", "t": int(now)})
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(token: str) -> Continuation:
    """Raises ApiError 400."""
    try:
        data = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, revision, start, issued = data["v"], data["rv"], data["start"], data.get("t", 0)
        good = version == VERSION and isinstance(revision, int) and isinstance(issued, int)
        if not good or not start.endswith("\0") or start.startswith("/") or ".." in start.split("/"):
            raise ValueError("not a continue token of this server")
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, orjson.JSONDecodeError):
        raise errors.bad_request("continue key is not valid: not a token of this server") from None
    return Continuation(revision, start[:-1], float(issued))
