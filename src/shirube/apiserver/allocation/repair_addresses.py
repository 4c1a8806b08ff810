"""Every cluster IP of a Service has its IPAddress, and every IPAddress of the allocator its Service.

Looked at whenever either changes, and all of them now and then. A Service's address that has no IPAddress gets one; one
that names somebody else who does not claim it, or that has lost its labels, is made anew. An IPAddress whose Service
does not exist goes a minute after it was made (the Service may be about to be stored), one that its Service does not
claim after some seconds; both must have looked so for a while, as a Service that goes gives its addresses back a moment
later. What cannot be mended (an address outside all ranges, one that two Services have) is told. Every write compares
with the revisions that the verdict was based on, so what happens meanwhile makes it void.

Reasons, actions and messages of the Events are those of upstream's ipallocator-repair-controller.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

import orjson

from shirube.api import gvr as g
from shirube.apiserver.allocation.bands import Range, address_range
from shirube.apiserver.allocation.book import AT_ONCE, Address, Book, Service
from shirube.apiserver.allocation.families import family_of
from shirube.apiserver.allocation.ledger import Ledger, commit_if
from shirube.client.events import WARNING, EventRecorder
from shirube.foundation import log
from shirube.storage.types import Compare, Delete, Put, StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

COMPONENT = "ipallocator-repair-controller"
GRACE_SECONDS = 60.0  # between an address and its Service
BETWEEN_SECONDS = 5.0  # between a Service's end, or an address that it gave up, and the address's
_ALLOCATION, _OF_ADDRESS = "ClusterIPAllocation", "IPAddressAllocation"
_logger = log.get("allocation")


class AddressRepair:
    def __init__(self, ctx: ServerContext, book: Book, events: EventRecorder) -> None:
        self._ctx = ctx
        self._book = book
        self._events = events
        self._suspects: dict[str, tuple[int, float]] = {}  # IPAddress -> (revision, since when it looks unowned)
        self._ranges: dict[str, list[Range]] = {}
        self.again: float | None = None  # on the monotonic clock: when a verdict falls due

    async def look(self, services: set[str], addresses: set[str]) -> None:
        """Check what these keys concern. Raises StorageError."""
        book = self._book
        names = {key.rpartition("/")[2] for key in addresses}
        claimants = {service.key for name in names for service in book.claiming(name)}
        self._ranges = self._all_ranges()
        for number, key in enumerate(sorted(services | claimants)):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            if (service := book.services.get(key)) is not None:
                await self._check_service(service)
        self.again = None
        addresses = addresses | {name for key in services for name in book.naming(key)} | set(self._suspects)
        for number, key in enumerate(sorted(addresses)):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            address = book.addresses.get(key)
            if address is None:
                self._suspects.pop(key, None)
            else:
                await self._check_address(address)

    def _tell(self, subject: Service | Address, reason: str, action: str, message: str) -> None:
        self._events.event(subject.about, WARNING, reason, message, action=action)
        _logger.warning("service address", reason=reason, text=message, about=subject.name)

    def _all_ranges(self) -> dict[str, list[Range]]:
        """Of each family those of all ServiceCIDRs, whatever state they are in, and those that addresses come from."""
        ranges: dict[str, list[Range]] = {"IPv4": [], "IPv6": []}
        for block in self._ctx.reader.list(g.SERVICECIDRS):
            for cidr in block["spec"].get("cidrs") or ():
                ranges[family_of(cidr)].append(address_range(cidr))
        ledger = Ledger(self._ctx, "", "")
        for family in ledger.families:
            ranges[family] += ledger.ranges(family)
        return ranges

    async def _check_service(self, service: Service) -> None:
        for given in service.addresses:
            try:
                address = str(ipaddress.ip_address(given))
            except ValueError:
                message = f"Cluster IP {given} is not a valid IP; please recreate Service"
                self._tell(service, "ClusterIPNotValid", "ClusterIPValidation", message)
                continue
            family = family_of(address)
            if not any(int(ipaddress.ip_address(address)) in one for one in self._ranges[family]):
                message = f"Cluster IP [{family}]: {address} is not within any configured Service CIDR; "
                self._tell(service, "ClusterIPOutOfRange", _ALLOCATION, message + "please recreate service")
                continue
            try:
                await self._check_held(service, address, family)
            except StorageError:
                message = f"Unable to allocate ClusterIP [{family}]: {address} due to an unknown error"
                self._tell(service, "UnknownError", _ALLOCATION, message)
                raise

    async def _check_held(self, service: Service, address: str, family: str) -> None:
        held = self._book.address(address)
        if held is None:
            if await self._make(service, address):
                message = f"Cluster IP [{family}]: {address} is not allocated; repairing"
                self._tell(service, "ClusterIPNotAllocated", _ALLOCATION, message)
            return
        where = f"{service.namespace}/{service.name}"
        mine = held.of_service and self._book.parent_key(held) == service.key
        if not mine:
            other = self._book.services.get(self._book.parent_key(held)) if held.of_service else None
            if other is not None and address in other.addresses:
                message = f"Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service"
                self._tell(service, "ClusterIPAlreadyAllocated", _ALLOCATION, message)
                return
        elif held.labelled:
            return
        # Away with it first: what comes in its place is another object, and has another uid.
        if await commit_if(self._ctx.storage, [Compare(service.key, service.revision), _as(held)], Delete(held.key)):
            if not mine:
                message = f"the ClusterIP [{family}]: {address} for Service {where} has a wrong reference; repairing"
                self._tell(service, "ClusterIPNotAllocated", _ALLOCATION, message)
            await self._make(service, address)

    async def _make(self, service: Service, address: str) -> bool:
        ledger = Ledger(self._ctx, service.namespace, service.name)
        key = self._book.address_key(address)
        unchanged = [Compare(service.key, service.revision), Compare(key, 0)]
        return await commit_if(self._ctx.storage, unchanged, Put(key, orjson.dumps(ledger.address_object(address))))

    async def _check_address(self, address: Address) -> None:
        if not address.managed:
            return
        parent = address.parent
        if not address.of_service:
            said = ",".join(f"{field.capitalize()}:{value}" for field, value in parent._asdict().items())
            message = f"IPAddress {address.name} appears to have been modified, not referencing a Service "
            message += f"&ParentReference{{{said},}}: cleaning up"
            if await commit_if(self._ctx.storage, [_as(address)], Delete(address.key)):
                self._tell(address, "IPAddressNotAllocated", _OF_ADDRESS, message)
            return
        service = self._book.services.get(self._book.parent_key(address))
        if service is not None and address.name in service.addresses:
            self._suspects.pop(address.key, None)
            return
        if not self._due(address, service):
            return
        service_key, revision = self._book.parent_key(address), service.revision if service is not None else 0
        if not await commit_if(self._ctx.storage, [Compare(service_key, revision), _as(address)], Delete(address.key)):
            return
        what = f"IPAddress: {address.name} for Service {parent.namespace}/{parent.name}"
        if service is None:
            message = f"{what} appears to have leaked: cleaning up"
            self._tell(address, "IPAddressNotAllocated", _OF_ADDRESS, message)
        else:
            self._tell(address, "IPAddressWrongReference", _OF_ADDRESS, f"{what} has a wrong reference; cleaning up")

    def _due(self, address: Address, service: Service | None) -> bool:
        """Whether it has looked unowned for long enough."""
        clock = self._ctx.clock
        revision, since = self._suspects.get(address.key, (0, 0.0))
        if revision != address.revision:
            since = clock.monotonic()
            self._suspects[address.key] = (address.revision, since)
        left = since + BETWEEN_SECONDS - clock.monotonic()
        if service is None:
            left = max(left, address.created + GRACE_SECONDS - clock.now())
        if left <= 0:
            return True
        due = clock.monotonic() + left
        self.again = due if self.again is None else min(self.again, due)
        return False


def _as(address: Address) -> Compare:
    return Compare(address.key, address.revision)
