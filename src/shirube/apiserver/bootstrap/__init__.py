"""What a cluster has from its first second: made when missing, topped up at every start.

`ensure` reads what is there, works out what should change (`objects`, `reconcile`: pure) and writes it through
the storage, many commits at once so that they share an fsync: nothing here needs validation or admission, and a
cold start has some 200 objects to write. Every write is a compare-and-commit of one object, so several servers
may start at the same time; who loses a race finds the winner's object and leaves it.

`keep` is what the server runs beside its requests from then on: it goes on asserting that the `kubernetes`
Service leads to the servers that are alive (`endpoints`), keeps what servers behind this one need to know
(`authentication_config`) and since when uses of old tokens are noted (`token_tracking`), repairs the ledger of
service addresses and ports, and keeps the ServiceCIDR that shows where its addresses come from (`default_range`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import gvr as g
from shirube.api.gvr import GVR
from shirube.api.resources import OPTIONAL
from shirube.apiserver.allocation import default_range, repair
from shirube.apiserver.bootstrap import authentication_config, endpoints, objects, token_tracking
from shirube.apiserver.bootstrap.reconcile import reconcile
from shirube.apiserver.bootstrap.writing import key_of, new, put
from shirube.foundation import log
from shirube.foundation.clock import rfc3339
from shirube.storage.types import KeyValue, StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

_logger = log.get("bootstrap")
Json = dict[str, Any]
# Few of these exist: reading them all is one range. Of the rest single objects are read.
_FEW = (g.CLUSTERROLES, g.CLUSTERROLEBINDINGS, g.FLOWSCHEMAS, g.PRIORITYLEVELCONFIGURATIONS, g.APISERVICES)


async def ensure(ctx: ServerContext) -> None:
    """Bring the bootstrap objects into being. Raises StorageError when they cannot be written."""
    wanted = list(_everything(ctx))
    have = await _present(ctx, wanted)
    writes = []
    for key, obj in wanted:
        kv = have.get(key)
        if kv is None:
            writes.append(put(ctx, key, new(ctx, obj), 0))
        else:
            changed = reconcile(orjson.loads(kv.value), obj)
            if changed is not None:
                writes.append(put(ctx, key, changed, kv.mod_revision))
    await asyncio.gather(*writes)
    await endpoints.assert_endpoints(ctx)
    if writes:
        _logger.info("bootstrap objects written", written=len(writes), present=len(wanted) - len(writes))


async def keep(ctx: ServerContext) -> None:
    """Keep what must stay true; runs until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(endpoints.keep(ctx), name="keep-endpoints")
        group.create_task(authentication_config.keep(ctx), name="keep-authentication-config")
        group.create_task(token_tracking.keep(ctx), name="keep-token-tracking")
        group.create_task(repair.keep(ctx), name="repair-allocations")
        group.create_task(default_range.keep(ctx), name="keep-default-range")


async def leave(ctx: ServerContext) -> None:
    """This server stops: nobody is to be sent to it any more. Never raises."""
    try:
        await endpoints.Servers.of(ctx).leave()
    except StorageError as error:
        _logger.warning("cannot take this server's lease back; it expires", error=str(error))


def _everything(ctx: ServerContext) -> Iterator[tuple[str, Json]]:
    options, now = ctx.options, rfc3339(ctx.clock.now())
    parts = [
        objects.namespaces(),
        objects.cluster_roles(),
        objects.bindings(),
        objects.flow_control(now),
        objects.priority_classes(),
        _api_services(ctx, now),
        objects.service_network(options.service_cidr, options.advertise_port, now),
        [(g.CONFIGMAPS, authentication_config.wanted(ctx))],
        [(g.CONFIGMAPS, objects.token_tracking(now))],
        [(g.LEASES, endpoints.identity(ctx))],
        *(objects.on_request(resource.gvr) for resource in OPTIONAL if ctx.table.by_gvr(resource.gvr) == resource),
    ]
    for part in parts:
        for gvr, obj in part:
            if ctx.table.by_gvr(gvr) is not None:
                yield key_of(ctx, gvr, obj), obj


def _api_services(ctx: ServerContext, now: str) -> Iterator[tuple[GVR, Json]]:
    """Those of the group versions that are served; `aggregation.registration` takes away the others."""
    for gvr, obj in objects.api_services(now):
        if obj["spec"]["version"] in ctx.table.versions(obj["spec"].get("group", "")):
            yield gvr, obj


async def _present(ctx: ServerContext, wanted: list[tuple[str, Json]]) -> dict[str, KeyValue]:
    found: dict[str, KeyValue] = {}
    prefixes = [r.prefix() for gvr in _FEW if (r := ctx.table.by_gvr(gvr)) is not None]
    for listed in await asyncio.gather(*(ctx.storage.range(prefix) for prefix in prefixes)):
        found.update((kv.key, kv) for kv in listed.items)
    singles = [key for key, _ in wanted if not key.startswith(tuple(prefixes))]
    for kv in await asyncio.gather(*(ctx.storage.get(key) for key in singles)):
        if kv is not None:
            found[kv.key] = kv
    return found
