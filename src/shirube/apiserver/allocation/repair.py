"""Puts the ledger right: numbers that no Service has are returned, numbers that a Service has are recorded.

A server that dies between reserving and storing leaves a number behind; a restored backup or somebody's hand may leave
a Service without its record. Addresses are looked at when Services or IPAddresses change, and all of them, with the
ports, every three minutes; what was found is told in Events, and told again while it lasts. Each server of a cluster
does this: what they write compares with what they saw, so two of them mend a thing once.

`book` reads, `repair_addresses` and `repair_ports` judge and mend, `telling` writes the Events. Upstream runs two
controllers inside the API server: pkg/registry/core/service/{ipallocator,portallocator}/controller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shirube.apiserver.allocation import repair_addresses, repair_ports
from shirube.apiserver.allocation.book import Book
from shirube.apiserver.allocation.looking import keep_looking
from shirube.apiserver.allocation.telling import recorder

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

INTERVAL = 180.0
LOOK_SECONDS = 1.0  # at whether something has changed


async def keep(ctx: ServerContext) -> None:
    """Repair when there is a reason, and now and then; runs until cancelled."""
    await keep_looking(Repair(ctx), "service addresses and ports", LOOK_SECONDS)


class Repair:
    def __init__(self, ctx: ServerContext) -> None:
        self._ctx = ctx
        self._book = Book(ctx)
        self._recorders = [recorder(ctx, part.COMPONENT) for part in (repair_addresses, repair_ports)]
        self._addresses = repair_addresses.AddressRepair(ctx, self._book, self._recorders[0])
        self._ports = repair_ports.PortRepair(ctx, self._book, self._recorders[1])
        self._seen: tuple[int, int] | None = None
        self._whole = float("-inf")  # on the monotonic clock: when to look at everything

    async def look(self) -> None:
        """Raises StorageError, ApiError (the caches are not current)."""
        now = self._ctx.clock.monotonic()
        whole, due = now >= self._whole, self._addresses.again
        revisions = self._book.revisions()
        if not whole and revisions == self._seen and (due is None or now < due):
            return
        planned, self._whole = self._whole, float("-inf")  # a look that fails half way is made up for by a whole one
        records = await self._ports.records() if whole else {}
        services, addresses = await self._book.read()
        if whole:
            services, addresses = set(self._book.services), set(self._book.addresses)
        await self._addresses.look(services, addresses)
        self._seen = revisions
        if whole:
            await self._ports.look(records)
            planned = now + self._ctx.chance.jitter(INTERVAL)
        self._whole = planned

    async def close(self) -> None:
        """Tell what is still to be told."""
        for one in self._recorders:
            await one.close()
