"""The binding cycle: what is written once the node is chosen: volumes, then the binding; and evictions.

Claims that waited for the node get their volume (`claimRef`) or are marked with the node for their provisioner
(`volume.kubernetes.io/selected-node`); the pod is bound when all of them are. Raises `BindingFailed`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS
from shirube.client.rest import Client
from shirube.foundation.clock import Clock, rfc3339
from shirube.scheduler.plugins.volume_binding import VolumePlan
from shirube.scheduler.plugins.volumes import claims_of, is_bound
from shirube.scheduler.pod import PodInfo
from shirube.scheduler.surroundings import SELECTED_NODE, Surroundings

Object = dict[str, Any]
_LOOK_SECONDS = 0.1


class BindingFailed(Exception):
    """The pod goes back to the queue."""


async def bind(client: Client, pod: PodInfo, node: str) -> None:
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    await client.create(PODS, binding, pod.namespace, subresource="binding", name=pod.name)


async def bind_volumes(
    client: Client, pod: PodInfo, node: str, plan: VolumePlan, around: Surroundings, seconds: float
) -> None:
    """`seconds`: how long the volumes may take to be bound."""
    for claim, volume in plan.bind:
        known = around.claims.get(f"{pod.namespace}/{claim}")
        if known is None:
            raise BindingFailed(f"persistentvolumeclaim {claim} is gone")
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": pod.namespace,
            "name": claim,
            "uid": known["metadata"]["uid"],
        }
        # The version guards against two pods taking one volume.
        version = around.volumes[volume]["metadata"].get("resourceVersion") if volume in around.volumes else None
        patch = {"metadata": {"resourceVersion": version}, "spec": {"claimRef": reference}}
        await client.patch(PERSISTENTVOLUMES, volume, patch)
    for claim in plan.provision:
        patch = {"metadata": {"annotations": {SELECTED_NODE: node}}}
        await client.patch(PERSISTENTVOLUMECLAIMS, claim, patch, pod.namespace)
    try:
        async with asyncio.timeout(seconds):
            marked: set[str] = set()
            while not _all_bound(pod, around):
                _check_marks(pod, node, plan, around, marked)
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError as error:
        raise BindingFailed("binding volumes: context deadline exceeded") from error


def _all_bound(pod: PodInfo, around: Surroundings) -> bool:
    for name, claim, _ in claims_of(pod, around):
        if claim is None:
            raise BindingFailed(f'persistentvolumeclaim "{name}" not found')
        if is_bound(claim):
            continue
        return False
    return True


def _check_marks(pod: PodInfo, node: str, plan: VolumePlan, around: Surroundings, marked: set[str]) -> None:
    """A provisioner that cannot make the volume on the node takes the mark away: then another node is tried."""
    for name in plan.provision:
        annotations = around.claims.get(f"{pod.namespace}/{name}", {}).get("metadata", {}).get("annotations") or {}
        if annotations.get(SELECTED_NODE) == node:
            marked.add(name)
        elif name in marked:
            raise BindingFailed(f'provisioning failed for PVC "{name}"')


async def evict(client: Client, victim: PodInfo, by: PodInfo, clock: Clock) -> None:
    """Mark a victim (KEP-3329) and delete it; its grace period is its own."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": f"{by.shape.scheduler_name}: preempting to accommodate a higher priority pod",
        "lastProbeTime": None,
        "lastTransitionTime": rfc3339(clock.now()),
    }
    patch = {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}
    try:
        await client.patch(PODS, victim.name, patch, victim.namespace, "strategic", subresource="status")
        await client.delete(PODS, victim.name, victim.namespace, preconditions={"uid": victim.uid})
    except ApiError as error:
        if error.code not in (404, 409):  # gone, or another pod by now: nothing is left to evict
            raise
