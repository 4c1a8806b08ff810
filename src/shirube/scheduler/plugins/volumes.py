"""What the volume plugins share: a pod's claims, their volumes and classes, and which of them must wait for a node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from shirube.scheduler.pod import PodInfo
from shirube.scheduler.surroundings import Surroundings

Object = dict[str, Any]
_CLASS = "volume.beta.kubernetes.io/storage-class"
_COMPLETED = "pv.kubernetes.io/bind-completed"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


class Claim(NamedTuple):
    name: str
    object: Object | None
    ephemeral: bool


def claims_of(pod: PodInfo, around: Surroundings) -> Iterator[Claim]:
    for volume in pod.shape.volumes:
        if name := volume.get("claim"):
            yield Claim(name, around.claims.get(f"{pod.namespace}/{name}"), "ephemeral" in volume)


def is_bound(claim: Object) -> bool:
    annotations = claim["metadata"].get("annotations") or {}
    return bool(claim["spec"].get("volumeName")) and _COMPLETED in annotations


def class_name(obj: Object) -> str:
    """The storage class of a claim or volume."""
    annotations = obj["metadata"].get("annotations") or {}
    return str(annotations.get(_CLASS) or obj["spec"].get("storageClassName") or "")


def waits_for_consumer(claim: Object, around: Surroundings) -> bool:
    kind = around.classes.get(class_name(claim))
    return kind is not None and kind.get("volumeBindingMode") == "WaitForFirstConsumer"


def modes(obj: Object) -> set[str]:
    return set(obj["spec"].get("accessModes") or ())
