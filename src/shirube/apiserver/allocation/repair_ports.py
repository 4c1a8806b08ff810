"""Every node port of a Service has its record, and every record its Service.

Looked at now and then, as upstream does. A port without a record gets one; a record that no Service has in three looks
one after the other is returned. What cannot be mended (a port outside the range, one that two Services have) is told.
Who is recorded as a port's owner and has it is in the right; else the first in the order of names.

Reasons, actions and messages of the Events are those of upstream's portallocator-repair-controller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from shirube.apiserver.allocation.book import Book, Service
from shirube.apiserver.allocation.ledger import PORTS_PREFIX, Ledger, commit_if
from shirube.client.events import WARNING, EventRecorder
from shirube.foundation import log
from shirube.storage.types import Compare, Delete, KeyValue, Put, StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

COMPONENT = "portallocator-repair-controller"
LOOKS = 3  # before a port that nobody has is returned
_logger = log.get("allocation")


class PortRepair:
    def __init__(self, ctx: ServerContext, book: Book, events: EventRecorder) -> None:
        self._ctx = ctx
        self._book = book
        self._events = events
        self._leaks: dict[str, tuple[int, int]] = {}  # key of a record -> (its revision, looks that found no owner)

    async def records(self) -> dict[str, KeyValue]:
        """To be asked for before the book is read: a Service stored after this cannot have its ports in it."""
        return {kv.key: kv for kv in (await self._ctx.storage.range(PORTS_PREFIX)).items}

    async def look(self, records: dict[str, KeyValue]) -> None:
        """Raises StorageError."""
        ports = Ledger(self._ctx, "", "").ports
        taken: set[int] = set()
        claims: dict[int, list[Service]] = {}
        for service in self._book.services.values():
            for port in service.ports:
                claims.setdefault(port, []).append(service)
        for port, claimants in sorted(claims.items()):
            taken.add(port)
            record = records.get(f"{PORTS_PREFIX}{port}")
            rightful = next((s for s in claimants if record is not None and record.value == _owner(s)), claimants[0])
            claimants.remove(rightful)
            if port not in ports:
                valid = f"{ports.first}-{ports.last}"
                message = f"Port {port} is not within the port range {valid}; please recreate service"
                for service in (rightful, *claimants):
                    self._tell(service, "PortOutOfRange", message)
                continue
            for service in claimants:
                message = f"Port {port} was assigned to multiple services; please recreate service"
                self._tell(service, "PortAlreadyAllocated", message)
            await self._record(rightful, port, record)
        await self._return(records, taken)

    def _tell(self, service: Service, reason: str, message: str) -> None:
        self._events.event(service.about, WARNING, reason, message, action="PortAllocation")
        _logger.warning("service port", reason=reason, text=message, about=f"{service.namespace}/{service.name}")

    async def _record(self, service: Service, port: int, record: KeyValue | None) -> None:
        if record is not None and record.value == _owner(service):
            return
        key, revision = f"{PORTS_PREFIX}{port}", record.mod_revision if record is not None else 0
        try:
            written = await commit_if(
                self._ctx.storage,
                [Compare(service.key, service.revision), Compare(key, revision)],
                Put(key, _owner(service)),
            )
        except StorageError:
            self._tell(service, "UnknownError", f"Unable to allocate port {port} due to an unknown error")
            raise
        if written and record is None:
            self._tell(service, "PortNotAllocated", f"Port {port} is not allocated; repairing")

    async def _return(self, records: dict[str, KeyValue], taken: set[int]) -> None:
        leaks: dict[str, tuple[int, int]] = {}
        for key, record in records.items():
            port = int(key.removeprefix(PORTS_PREFIX))
            if port in taken:
                continue
            revision, looks = self._leaks.get(key, (0, 0))
            looks = looks + 1 if revision == record.mod_revision else 1
            leaks[key] = (record.mod_revision, looks)
            if looks < LOOKS:
                _logger.info("a node port may have leaked", port=port)
            elif await commit_if(self._ctx.storage, [Compare(key, record.mod_revision)], Delete(key)):
                _logger.warning("returned a node port that no service has", port=port)
                del leaks[key]
        self._leaks = leaks


def _owner(service: Service) -> bytes:
    return orjson.dumps({"namespace": service.namespace, "service": service.name})
