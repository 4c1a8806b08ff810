"""Puts the ledger right: numbers that no service has are returned, numbers that a service has are recorded.

A server that dies between reserving and storing leaves a number behind; a restored backup may leave a service
without its record. What looks unowned is only released when it looked so in the previous round too, because a
service may be about to be stored. Upstream runs the same kind of loop every three minutes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from shirube.api import gvr as g
from shirube.apiserver import allocation
from shirube.apiserver.allocation.ledger import MANAGED_BY, MANAGER, PORTS_PREFIX, Ledger, Taken
from shirube.foundation import log
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

_logger = log.get("allocation")
INTERVAL = 180.0


async def keep(ctx: ServerContext) -> None:
    """Repair now and then; runs until cancelled."""
    suspects: set[str] = set()
    while True:
        await asyncio.sleep(ctx.chance.jitter(INTERVAL))
        try:
            suspects = await repair(ctx, suspects)
        except StorageError as error:
            _logger.warning("cannot check service addresses and ports", error=str(error))


async def repair(ctx: ServerContext, suspects: set[str]) -> set[str]:
    """One round. Returns what looked unowned for the first time; the next round takes it."""
    owned: dict[str, Ledger] = {}
    services = ctx.table.by_path(*g.SERVICES)
    addresses = ctx.table.by_path(*g.IPADDRESSES)
    assert services is not None and addresses is not None, "the table has no services"
    # Records first: a service stored after this listing cannot have a record in it.
    records = [kv.key for kv in (await ctx.storage.range(PORTS_PREFIX)).items]
    for kv in (await ctx.storage.range(addresses.prefix())).items:
        if (orjson.loads(kv.value)["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER:
            records.append(kv.key)
    for kv in (await ctx.storage.range(services.prefix())).items:
        service = orjson.loads(kv.value)
        ledger = Ledger(ctx, service["metadata"]["namespace"], service["metadata"]["name"])
        owned.update((addresses.key(None, a), ledger) for a in allocation.cluster_ips(service))
        owned.update((f"{PORTS_PREFIX}{p}", ledger) for p in allocation.node_ports(service))
    for key in owned.keys() - set(records):
        await _record(owned[key], key)
    unowned = {key for key in records if key not in owned}
    anybody = Ledger(ctx, "", "")
    for key in unowned & suspects:
        name = key.rpartition("/")[2]
        if key.startswith(PORTS_PREFIX):
            await anybody.release_port(int(name))
        else:
            await anybody.release_address(name)
        _logger.warning("returned a number that no service has", number=name)
    return unowned - suspects


async def _record(ledger: Ledger, key: str) -> None:
    name = key.rpartition("/")[2]
    try:
        if key.startswith(PORTS_PREFIX):
            await ledger.take_port(int(name))
        else:
            await ledger.take_address(name)
    except Taken:
        return
    _logger.warning("recorded a number that a service has", number=name)
