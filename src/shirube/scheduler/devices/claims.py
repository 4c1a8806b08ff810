"""A pod's claims: which ResourceClaims they are, whether the pod may have them, and the one for extended resources.

A pod names a claim, or a template from which the controller makes one and says so in the pod's status. Amounts of an
extended resource that a DeviceClass provides (KEP-5004) become requests of a claim that the scheduler makes itself,
on nodes where no device plugin has the resource.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, NamedTuple

from shirube.scheduler.devices.allocator import alternatives
from shirube.scheduler.devices.inventory import Inventory
from shirube.scheduler.pod import ExtendedRequest, PodInfo

Object = dict[str, Any]
MOST_CONSUMERS = 256
SPECIAL = "<extended-resources>"  # no name that a claim could have


class Asked(NamedTuple):
    """A claim of the pod as the API knows it."""

    key: str
    claim: Object

    @property
    def allocation(self) -> Object | None:
        found: Object | None = (self.claim.get("status") or {}).get("allocation")
        return found

    @property
    def devices(self) -> Object:
        found: Object = (self.claim.get("spec") or {}).get("devices") or {}
        return found

    @property
    def consumers(self) -> list[Object]:
        return (self.claim.get("status") or {}).get("reservedFor") or []

    def reserved_for(self, pod: PodInfo) -> bool:
        return any(c.get("uid") == pod.uid for c in self.consumers)


def missing(pod: PodInfo, inventory: Inventory) -> str:
    """Why the pod cannot be tried before a claim of it has come; "" when all are there."""
    for claim, generated in pod.claims:
        if claim is None:
            return f'pod "{pod.key}": ResourceClaim not created yet'
        known = inventory.claims.get(f"{pod.namespace}/{claim}")
        if known is None:
            return f'resourceclaim.resource.k8s.io "{claim}" not found'
        if known["metadata"].get("deletionTimestamp"):
            return f'resourceclaim "{claim}" is being deleted'
        if generated and not _owned(known, pod):
            return f"ResourceClaim {pod.namespace}/{claim} was not created for pod {pod.key} (pod is not owner)"
    return ""


def _owned(claim: Object, pod: PodInfo) -> bool:
    owners = claim["metadata"].get("ownerReferences") or ()
    return any(o.get("controller") and o.get("uid") == pod.uid for o in owners)


def asked(pod: PodInfo, inventory: Inventory) -> list[Asked]:
    """Those that are there, in the pod's order."""
    keys = [f"{pod.namespace}/{claim}" for claim, _ in pod.claims if claim is not None]
    return [Asked(key, inventory.claims[key]) for key in keys if key in inventory.claims]


def forbidden(pod: PodInfo, inventory: Inventory) -> str:
    """Why no node will do; "" when some may."""
    if reason := missing(pod, inventory):
        return reason
    for one in asked(pod, inventory):
        if one.allocation is not None:
            if len(one.consumers) >= MOST_CONSUMERS and not one.reserved_for(pod):
                return "resourceclaim in use"
        elif one.key in inventory.assumed:
            return f"resource claim {one.key} is in the process of being allocated"
        else:
            for request in one.devices.get("requests") or ():
                for option in alternatives(0, request):
                    name = option.spec.get("deviceClassName", "")
                    if name not in inventory.classes:
                        return f"request {option.full_name}: device class {name} does not exist"
    if pod.uid in inventory.special:
        return "cannot schedule extended resource claim"
    return ""


READY, WAITING, FAILED = "ready", "waiting", "failed"


def device_states(claim: Object) -> set[str]:
    """What drivers say of the allocated devices that wait for binding conditions (KEP-5007); others are ready."""
    status = claim.get("status") or {}
    results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or ()
    return {_state(result, status.get("devices") or ()) for result in results}


def _state(result: Object, devices: Iterable[Object]) -> str:
    wanted, failures = result.get("bindingConditions") or (), result.get("bindingFailureConditions") or ()
    if not wanted:
        return READY
    where = ("driver", "pool", "device", "shareID")
    true = {
        condition["type"]
        for device in devices
        if all(device.get(k) == result.get(k) for k in where)
        for condition in device.get("conditions") or ()
        if condition.get("status") == "True"
    }
    if true.intersection(failures):
        return FAILED
    return READY if true.issuperset(wanted) else WAITING


# Extended resources


def provided(pod: PodInfo, inventory: Inventory) -> set[str]:
    """The pod's extended resources that classes of devices can provide."""
    return {r.resource for r in pod.shape.extended if r.resource in inventory.extended}


class Mapping(NamedTuple):
    """Which request serves a container's extended resource."""

    container: str
    resource: str
    request: str


def special_claim(pod: PodInfo, resources: Container[str], inventory: Inventory) -> tuple[Object, list[Mapping]]:
    """The `spec.devices` of the claim for these resources, and who is served by which of its requests.

    Containers that run at the same time have requests of their own; an init container takes what they will have
    later, and asks only for what is missing.
    """
    requests: list[Object] = []
    mappings: list[Mapping] = []
    later: dict[str, list[Object]] = {}
    lasting = [r for r in pod.shape.extended if not r.init]
    for one in (*lasting, *(r for r in pod.shape.extended if r.init)):
        if one.resource not in resources or not one.amount:
            continue
        left = one.amount
        for request in later.get(one.resource, ()) if one.init else ():
            if left > 0:
                mappings.append(Mapping(one.container, one.resource, request["name"]))
                left -= request["exactly"]["count"]
        if left <= 0:
            continue
        made = _request(one, left, inventory.extended[one.resource])
        requests.append(made)
        mappings.append(Mapping(one.container, one.resource, made["name"]))
        # Init containers run one after the other: what one has had, the next can have.
        later.setdefault(one.resource, []).append(made)
    return {"requests": requests}, mappings


def _request(one: ExtendedRequest, count: int, kind: str) -> Object:
    exactly = {"deviceClassName": kind, "allocationMode": "ExactCount", "count": count}
    return {"name": f"container-{one.container_number}-request-{one.position}", "exactly": exactly}
