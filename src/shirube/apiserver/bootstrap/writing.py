"""Bootstrap objects on their way to storage: their keys, what creating adds, and writes that lose races quietly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from shirube.api.gvr import GVR
from shirube.foundation import log
from shirube.foundation.clock import rfc3339
from shirube.storage.types import Compare, CompareFailed, Put

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

_logger = log.get("bootstrap")
Json = dict[str, Any]
# Kinds whose objects count their changes of specification.
_COUNTED = frozenset(("FlowSchema", "PriorityLevelConfiguration"))


def key_of(ctx: ServerContext, gvr: GVR, obj: Json) -> str:
    resource = ctx.table.by_gvr(gvr)
    assert resource is not None, f"no resource {gvr} in the table"
    return resource.key(obj["metadata"].get("namespace"), obj["metadata"]["name"])


def new(ctx: ServerContext, obj: Json) -> Json:
    """With the metadata that creating gives; `metadata` stays the third key, as storage wants it."""
    meta = obj["metadata"]
    made: Json = {"uid": ctx.chance.uid(), "creationTimestamp": rfc3339(ctx.clock.now())}
    if obj["kind"] in _COUNTED:
        made["generation"] = 1
    return {**obj, "metadata": {"name": meta["name"], **meta, **made}}


async def put(ctx: ServerContext, key: str, obj: Json, revision: int) -> bool:
    """Write unless somebody wrote since `revision` (0: since there was none); whether it was written."""
    try:
        await ctx.storage.commit([Compare(key, revision)], [Put(key, orjson.dumps(obj))])
    except CompareFailed:
        _logger.debug("another server wrote first", key=key)
        return False
    return True
