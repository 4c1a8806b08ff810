"""`kube-apiserver-legacy-service-account-token-tracking` in kube-system: the day since which uses of legacy tokens are
noted.

The controller legacy-service-account-token-cleaner trusts a missing note of use only when notes have been taken for
long enough. So the ConfigMap comes back when somebody deletes it, with a new day; not more often than every half hour,
so that servers of which some take no notes do not quarrel over it. A day that is none is replaced by today.
Follows upstream's `legacytokentracking` controller (KEP-2799).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import gvr as g
from shirube.api.errors import ApiError
from shirube.apiserver.bootstrap import objects
from shirube.apiserver.bootstrap.writing import key_of, new, put
from shirube.foundation import log
from shirube.foundation.clock import parse_rfc3339, parse_utc_day, rfc3339
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

_logger = log.get("bootstrap")
Json = dict[str, Any]

LOOK = 2.0  # seconds between two looks
AGAIN = 30 * 60.0  # seconds between two creations


def is_day(text: str) -> bool:
    try:
        parse_utc_day(text)
    except ValueError:
        return False
    return True


async def keep(ctx: ServerContext) -> None:
    """Until cancelled."""
    seen, not_before = -1, 0.0
    while True:
        revision = ctx.reader.revision(g.CONFIGMAPS)
        if revision != seen:
            try:
                not_before = max(not_before, await settle(ctx, not_before))
                seen = revision if ctx.clock.now() >= not_before or _found(ctx) is not None else -1
            except (ApiError, StorageError) as error:
                _logger.warning("cannot keep the day since which token uses are noted", error=str(error))
        await asyncio.sleep(LOOK)


def _found(ctx: ServerContext) -> Json | None:
    want = objects.token_tracking("")["metadata"]
    return ctx.reader.get(g.CONFIGMAPS, want["namespace"], want["name"])


async def settle(ctx: ServerContext, not_before: float) -> float:
    """Make or repair it, make it only after `not_before`. Answers when another may be made.
    Raises ApiError, StorageError."""
    now = ctx.clock.now()
    have = _found(ctx)
    if have is not None and is_day((have.get("data") or {}).get("since", "")):
        return parse_rfc3339(have["metadata"]["creationTimestamp"]) + AGAIN
    want = objects.token_tracking(rfc3339(now))
    key = key_of(ctx, g.CONFIGMAPS, want)
    kv = await ctx.storage.get(key)
    if kv is None:
        if now < not_before:
            return not_before
        await put(ctx, key, new(ctx, want), 0)
        return now + AGAIN
    stored = orjson.loads(kv.value)
    if not is_day((stored.get("data") or {}).get("since", "")):
        await put(ctx, key, {**stored, "data": {**(stored.get("data") or {}), **want["data"]}}, kv.mod_revision)
    return parse_rfc3339(stored["metadata"]["creationTimestamp"]) + AGAIN
