"""ServiceCIDRs say whether addresses may be taken from them, and stay while addresses would be left without a range.

A range that is there is Ready. One that is being deleted goes when every address of a Service in it is in another range
too (KEP-1880), and not before allocators had a moment to see that it is going; until then it says why it stays.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from shirube.api.errors import ApiError
from shirube.api.gvr import IPADDRESSES, SERVICECIDRS
from shirube.client.controller import Controller
from shirube.client.events import WARNING
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers import pods as of_objects
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting
from shirube.foundation.clock import parse_rfc3339, rfc3339

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
GRACE_SECONDS = 10.0  # for allocators to see that the range is going
_ACCOUNT = "service-cidrs-controller"
_MANAGED = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io")
_READY = "Kubernetes Service CIDR is ready"
_CANNOT_SAY = "The ServiceCIDR Status can not be set to Ready=True"
_IN_USE = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def orphans(leaving: Object, others: Iterable[Object], addresses: Iterable[Object]) -> list[str]:
    """Addresses of Services that would be in no range without this one."""
    ours = [ipaddress.ip_network(c) for c in leaving["spec"]["cidrs"]]
    kept = [ipaddress.ip_network(c) for other in others for c in other["spec"]["cidrs"]]
    found = []
    for obj in addresses:
        key, value = _MANAGED
        if (obj["metadata"].get("labels") or {}).get(key) != value:
            continue
        address = ipaddress.ip_address(obj["metadata"]["name"])
        if any(_has(n, address) for n in ours) and not any(_has(n, address) for n in kept):
            found.append(str(address))
    return sorted(found)


def _has(network: _Network, address: _Address) -> bool:
    """The network's own address and an IPv4 network's broadcast address are nobody's to have."""
    if address not in network or address == network.network_address:
        return False
    return network.version == 6 or address != network.broadcast_address


class ServiceCIDRController(Controller[str]):
    name = "service-cidr-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._cidrs = context.informer(SERVICECIDRS)
        self._addresses = context.informer(IPADDRESSES)
        super().__init__(self._cidrs, self._addresses)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._clock = context.clock
        self._cidrs.add_handler(self._changed, lambda _, new: self._changed(new), lambda _: self._leaving())
        self._addresses.add_handler(None, None, lambda _: self._leaving())

    def _changed(self, cidr: Object) -> None:
        self.queue.add(key_of(cidr))
        self._leaving()

    def _leaving(self) -> None:
        """Whatever changes may let a range go that is on its way."""
        for cidr in self._cidrs.store:
            if deleting(cidr):
                self.queue.add(key_of(cidr))

    async def reconcile(self, key: str) -> float | None:
        cidr = self._cidrs.store.get(None, key)
        if cidr is None:
            return None
        if not deleting(cidr):
            if FINALIZER not in (cidr["metadata"].get("finalizers") or ()):
                await self._client.patch(SERVICECIDRS, key, {"metadata": {"finalizers": [FINALIZER]}}, type="strategic")
            try:
                await self._say(cidr, "True", "", _READY)
            except ApiError as error:
                if error.code not in (404, 409):
                    self._recorder.event(cidr, WARNING, "KubernetesServiceCIDRError", _CANNOT_SAY)
                raise
            return None
        # Two that are on their way out do not count on each other.
        others = [o for o in self._cidrs.store if key_of(o) != key and not deleting(o)]
        if orphans(cidr, others, self._addresses.store):
            await self._say(cidr, "False", "Terminating", _IN_USE)
            return None
        left = parse_rfc3339(cidr["metadata"]["deletionTimestamp"]) + GRACE_SECONDS - self._clock.now()
        if left > 0:
            return left
        try:
            gone = {"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
            await self._client.patch(SERVICECIDRS, key, gone, type="strategic")
        except ApiError as error:
            if error.code != 404:
                raise
        return None

    async def _say(self, cidr: Object, status: str, reason: str, message: str) -> None:
        have = of_objects.condition(cidr, "Ready")
        if have is not None and (have["status"], have.get("reason", ""), have.get("message")) == (
            status,
            reason,
            message,
        ):
            return
        since = have["lastTransitionTime"] if have and have["status"] == status else rfc3339(self._clock.now())
        condition = {
            "type": "Ready",
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since,
        }
        name = key_of(cidr)
        wanted = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": name},
            "status": {"conditions": [condition]},
        }
        await self._client.patch(
            SERVICECIDRS, name, wanted, type="apply", subresource="status", field_manager=self.name, force=True
        )
