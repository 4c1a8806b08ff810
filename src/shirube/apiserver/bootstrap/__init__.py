"""What a cluster has from its first second: made when missing, topped up at every start.

`ensure` reads what is there, works out what should change (`objects`, `reconcile`: pure) and writes it through
the storage, many commits at once so that they share an fsync: nothing here needs validation or admission, and a
cold start has some 200 objects to write. Every write is a compare-and-commit of one object, so several servers
may start at the same time; who loses a race finds the winner's object and leaves it.

`keep` is what the server runs beside its requests from then on: it goes on asserting that the `kubernetes`
Service leads to this server, and repairs the ledger of service addresses and ports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import gvr as g
from shirube.api.gvr import GVR
from shirube.apiserver.allocation import repair
from shirube.apiserver.bootstrap import objects
from shirube.apiserver.bootstrap.reconcile import reconcile
from shirube.foundation import log
from shirube.foundation.clock import rfc3339
from shirube.storage.types import Compare, CompareFailed, KeyValue, Put, StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

_logger = log.get("bootstrap")
Json = dict[str, Any]
ENDPOINTS_SECONDS = 10.0
# Few of these exist: reading them all is one range. Of the rest single objects are read.
_FEW = (g.CLUSTERROLES, g.CLUSTERROLEBINDINGS, g.FLOWSCHEMAS, g.PRIORITYLEVELCONFIGURATIONS, g.APISERVICES)
# Kinds whose objects count their changes of specification.
_COUNTED = frozenset(("FlowSchema", "PriorityLevelConfiguration"))


async def ensure(ctx: ServerContext) -> None:
    """Bring the bootstrap objects into being. Raises StorageError when they cannot be written."""
    wanted = list(_everything(ctx))
    have = await _present(ctx, wanted)
    writes = []
    for key, obj in wanted:
        kv = have.get(key)
        if kv is None:
            writes.append(_put(ctx, key, _new(ctx, obj), 0))
        else:
            changed = reconcile(orjson.loads(kv.value), obj)
            if changed is not None:
                writes.append(_put(ctx, key, changed, kv.mod_revision))
    await asyncio.gather(*writes)
    await assert_endpoints(ctx)
    if writes:
        _logger.info("bootstrap objects written", written=len(writes), present=len(wanted) - len(writes))


async def keep(ctx: ServerContext) -> None:
    """Keep what must stay true; runs until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(keep_endpoints(ctx), name="keep-endpoints")
        group.create_task(repair.keep(ctx), name="repair-allocations")


async def keep_endpoints(ctx: ServerContext) -> None:
    """Assert the `kubernetes` endpoints again and again; runs until cancelled."""
    while True:
        await asyncio.sleep(ctx.chance.jitter(ENDPOINTS_SECONDS))
        try:
            await assert_endpoints(ctx)
        except StorageError as error:
            _logger.warning("cannot assert the kubernetes endpoints", error=str(error))


async def assert_endpoints(ctx: ServerContext) -> None:
    """The `kubernetes` Service leads to the advertised address."""
    address, port = ctx.options.advertise_host, ctx.options.advertise_port
    for gvr, want in (
        (g.ENDPOINTS, objects.endpoints(address, port)),
        (g.ENDPOINTSLICES, objects.endpoint_slice(address, port)),
    ):
        key = _key(ctx, gvr, want)
        kv = await ctx.storage.get(key)
        if kv is None:
            await _put(ctx, key, _new(ctx, want), 0)
            continue
        have = orjson.loads(kv.value)
        fields = [f for f in want if f not in ("apiVersion", "kind", "metadata")]
        if any(have.get(f) != want[f] for f in fields):
            await _put(ctx, key, {**have, **{f: want[f] for f in fields}}, kv.mod_revision)


def _everything(ctx: ServerContext) -> Iterator[tuple[str, Json]]:
    options, now = ctx.options, rfc3339(ctx.clock.now())
    ca = options.client_ca.read_text() if options.client_ca is not None else ""
    front_proxy = options.front_proxy_ca.read_text() if options.front_proxy_ca is not None else ""
    parts = [
        objects.namespaces(),
        objects.cluster_roles(),
        objects.bindings(),
        objects.flow_control(now),
        objects.priority_classes(),
        objects.api_services(now),
        objects.service_network(options.service_cidr, options.advertise_port),
        [objects.authentication_config(ca, front_proxy)],
    ]
    for part in parts:
        for gvr, obj in part:
            if ctx.table.by_path(*gvr) is not None:
                yield _key(ctx, gvr, obj), obj


def _key(ctx: ServerContext, gvr: GVR, obj: Json) -> str:
    resource = ctx.table.by_path(*gvr)
    assert resource is not None, f"no resource {gvr} in the table"
    return resource.key(obj["metadata"].get("namespace"), obj["metadata"]["name"])


async def _present(ctx: ServerContext, wanted: list[tuple[str, Json]]) -> dict[str, KeyValue]:
    found: dict[str, KeyValue] = {}
    prefixes = [r.prefix() for gvr in _FEW if (r := ctx.table.by_path(*gvr)) is not None]
    for listed in await asyncio.gather(*(ctx.storage.range(prefix) for prefix in prefixes)):
        found.update((kv.key, kv) for kv in listed.items)
    singles = [key for key, _ in wanted if not key.startswith(tuple(prefixes))]
    for kv in await asyncio.gather(*(ctx.storage.get(key) for key in singles)):
        if kv is not None:
            found[kv.key] = kv
    return found


def _new(ctx: ServerContext, obj: Json) -> Json:
    """With the metadata that creating gives; `metadata` stays the third key, as storage wants it."""
    meta = obj["metadata"]
    made = {"uid": ctx.chance.uid(), "creationTimestamp": rfc3339(ctx.clock.now())}
    if obj["kind"] in _COUNTED:
        made["generation"] = 1  # type: ignore[assignment]
    return {**obj, "metadata": {"name": meta["name"], **meta, **made}}


async def _put(ctx: ServerContext, key: str, obj: Json, revision: int) -> None:
    try:
        await ctx.storage.commit([Compare(key, revision)], [Put(key, orjson.dumps(obj))])
    except CompareFailed:
        _logger.debug("another server wrote first", key=key)
