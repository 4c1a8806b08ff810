"""Resource claims in the binding cycle: allocations are written and claims reserved before the pod is bound.

A claim's status is written over the version that is known; after a conflict over the newest, unless somebody else has
allocated it. What was assumed holds until then, and is given back when the pod cannot be bound after all. Devices with
binding conditions (KEP-5007) are waited for.
"""

from __future__ import annotations

import asyncio
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import PODS, RESOURCECLAIMS
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.clock import Clock, rfc3339
from shirube.scheduler.binding import BindingFailed
from shirube.scheduler.devices.claims import FAILED, MOST_CONSUMERS, WAITING, Asked, device_states
from shirube.scheduler.devices.inventory import EXTENDED_CLAIM, Inventory
from shirube.scheduler.plugins.dynamic_resources import ClaimPlan, DevicePlan, special_key
from shirube.scheduler.pod import PodInfo

Object = dict[str, Any]
_logger = log.get("scheduler")
FINALIZER = "resource.kubernetes.io/delete-protection"
_TRIES = 5
_LOOK_SECONDS = 0.1
_IDENTITY = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim"}


async def bind_devices(
    client: Client, pod: PodInfo, plan: DevicePlan, inventory: Inventory, clock: Clock, seconds: float
) -> None:
    """`seconds`: how long devices may take to be made ready.

    Raises BindingFailed and ApiError; what was written stays, `release_devices` takes the pod's name off it.
    """
    for one in plan.claims:
        namespace, name = split_key(one.key)
        known = inventory.claims.get(one.key) or await client.get(RESOURCECLAIMS, name, namespace)
        inventory.set_claim(await _reserve(client, pod, known, one, clock))
        inventory.forget(one.key)
    if plan.special is not None:
        await _make_special(client, pod, plan, inventory, clock)
    await _wait_for_conditions(pod, plan, inventory, seconds)


async def _reserve(client: Client, pod: PodInfo, claim: Object, plan: ClaimPlan, clock: Clock) -> Object:
    for attempt in range(_TRIES):
        metadata, status = claim["metadata"], claim.get("status") or {}
        if metadata.get("deletionTimestamp") or metadata["uid"] != plan.uid:
            raise BindingFailed(f"claim {plan.key} got deleted in the meantime")
        try:
            if plan.allocation is not None:
                if status.get("allocation") is not None:
                    raise BindingFailed(f"claim {plan.key} got allocated elsewhere in the meantime")
                if FINALIZER not in (metadata.get("finalizers") or ()):
                    finalizers = [*(metadata.get("finalizers") or ()), FINALIZER]
                    protected = {**claim, **_IDENTITY, "metadata": {**metadata, "finalizers": finalizers}}
                    claim = await client.update(RESOURCECLAIMS, protected)
                    status = claim.get("status") or {}
                status = {**status, "allocation": {**plan.allocation, "allocationTimestamp": rfc3339(clock.now())}}
            elif status.get("allocation") is None:
                raise BindingFailed(f"claim {plan.key} is not allocated any more")
            consumers = [c for c in status.get("reservedFor") or () if c.get("uid") != pod.uid]
            if len(consumers) >= MOST_CONSUMERS:
                raise BindingFailed(f"claim {plan.key} is in use by {len(consumers)} pods")
            consumers.append({"resource": "pods", "name": pod.name, "uid": pod.uid})
            written = {**claim, **_IDENTITY, "status": {**status, "reservedFor": consumers}}
            return await client.update_status(RESOURCECLAIMS, written)
        except ApiError as error:
            if error.code != 409 or attempt == _TRIES - 1:
                raise
            claim = await client.get(RESOURCECLAIMS, metadata["name"], metadata["namespace"])
    raise AssertionError


async def _make_special(client: Client, pod: PodInfo, plan: DevicePlan, inventory: Inventory, clock: Clock) -> None:
    """The claim for the pod's extended resources, and in the pod's status who is served by which of its requests."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": True}
    metadata = {
        "generateName": f"{pod.name[:225]}-extended-resources-",
        "namespace": pod.namespace,
        "annotations": {EXTENDED_CLAIM: "true"},
        "ownerReferences": [owner],
    }
    made = await client.create(RESOURCECLAIMS, {**_IDENTITY, "metadata": metadata, "spec": {"devices": plan.special}})
    name = made["metadata"]["name"]
    wanted = ClaimPlan(key_of(made), made["metadata"]["uid"], plan.special_allocation)
    inventory.set_claim(await _reserve(client, pod, made, wanted, clock))
    inventory.forget(special_key(pod))
    mappings = [
        {"containerName": m.container, "resourceName": m.resource, "requestName": m.request} for m in plan.mappings
    ]
    said = {"resourceClaimName": name, "requestMappings": mappings}
    patch = {"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": said}}
    await client.patch(PODS, pod.name, patch, pod.namespace, "strategic", subresource="status")


async def _wait_for_conditions(pod: PodInfo, plan: DevicePlan, inventory: Inventory, seconds: float) -> None:
    keys = [one.key for one in plan.claims]
    if pod.uid in inventory.special:
        keys.append(inventory.special[pod.uid])
    try:
        async with asyncio.timeout(seconds):
            for key in keys:
                await _until_ready(key, inventory)
    except TimeoutError as error:
        raise BindingFailed("device binding timeout") from error


async def _until_ready(key: str, inventory: Inventory) -> None:
    ready = _ready(key, inventory)
    while not ready:
        await asyncio.sleep(_LOOK_SECONDS)
        ready = _ready(key, inventory)


def _ready(key: str, inventory: Inventory) -> bool:
    claim = inventory.claims.get(key)
    if claim is None:
        raise BindingFailed(f"claim {key} got deleted in the meantime")
    states = device_states(claim)
    if FAILED in states:
        raise BindingFailed(f"claim {key}: a device cannot be made ready on the node")
    return WAITING not in states


async def release_devices(client: Client, pod: PodInfo, plan: DevicePlan, inventory: Inventory) -> None:
    """The pod is not bound: take it out of its claims again; a claim made for it alone goes."""
    for one in plan.claims:
        claim = inventory.claims.get(one.key)
        if claim is None or not Asked(one.key, claim).reserved_for(pod):
            continue
        gone = [{"$patch": "delete", "uid": pod.uid}]
        patch = {"metadata": {"uid": one.uid}, "status": {"reservedFor": gone}}
        namespace, name = split_key(one.key)
        try:
            made = await client.patch(RESOURCECLAIMS, name, patch, namespace, "strategic", subresource="status")
            inventory.set_claim(made)
        except ApiError as error:
            _logger.warning("cannot take a pod out of its claim", pod=pod.key, claim=one.key, error=str(error))
    if pod.uid in inventory.special:
        await delete_special(client, pod, inventory)


async def delete_special(client: Client, pod: PodInfo, inventory: Inventory) -> None:
    """What is left of an attempt to serve the pod's extended resources."""
    key = inventory.special[pod.uid]
    namespace, name = split_key(key)
    kept = [f for f in inventory.claims[key]["metadata"].get("finalizers") or () if f != FINALIZER]
    try:
        await client.patch(RESOURCECLAIMS, name, {"metadata": {"finalizers": kept}}, namespace)
        await client.delete(RESOURCECLAIMS, name, namespace)
    except ApiError as error:
        if error.code != 404:
            _logger.warning("cannot delete a claim for extended resources", claim=key, error=str(error))


async def deallocate(client: Client, asked: Asked, inventory: Inventory) -> bool:
    """Take an idle claim's devices back, so that it can be allocated where its pod fits; whether they came free."""
    left = {
        k: v for k, v in (asked.claim.get("status") or {}).items() if k not in ("allocation", "reservedFor", "devices")
    }
    try:
        made = await client.update_status(RESOURCECLAIMS, {**asked.claim, **_IDENTITY, "status": left})
    except ApiError as error:
        _logger.info("cannot deallocate a claim", claim=asked.key, error=str(error))
        return False
    return inventory.set_claim(made)
