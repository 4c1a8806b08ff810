"""Which PersistentVolume suits a claim. Pure.

Class, volume mode, access modes, selector and size have to fit. Of those that do the one with the fewest access modes
is taken, of these the smallest: what more claims could use is kept for them. One that names the claim comes before all
others, whatever its class and labels. Nodes are the scheduler's business: claims whose class waits for their first
consumer are given a free volume by it alone.
https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from shirube.api import quantity
from shirube.api.selectors import label_selector_from
from shirube.client.rest import Object
from shirube.controllers.ownership import deleting

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
PRE_RESIZE_CAPACITY = "volume.alpha.kubernetes.io/pre-resize-capacity"
_BETA_DEFAULT_CLASS = "storageclass.beta.kubernetes.io/is-default-class"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def annotations_of(obj: Object) -> Object:
    return obj["metadata"].get("annotations") or {}


def class_of(obj: Object) -> str:
    """Of a claim or a volume; "" for none."""
    if _BETA_CLASS in annotations_of(obj):
        return str(annotations_of(obj)[_BETA_CLASS])
    return str((obj.get("spec") or {}).get("storageClassName") or "")


def has_class_field(claim: Object) -> bool:
    """Whether the claim says anything of its class: "" says that it wants none."""
    return _BETA_CLASS in annotations_of(claim) or (claim.get("spec") or {}).get("storageClassName") is not None


def default_class(classes: Iterable[Object]) -> Object | None:
    """The newest of those marked as default, of two the first by name: admission chooses the same."""
    marks = (DEFAULT_CLASS, _BETA_DEFAULT_CLASS)
    marked = [c for c in classes if any(annotations_of(c).get(mark) == "true" for mark in marks)]
    by_name = sorted(marked, key=lambda c: str(c["metadata"]["name"]))
    return max(by_name, key=lambda c: str(c["metadata"].get("creationTimestamp") or ""), default=None)


def delayed(storage_class: Object | None) -> bool:
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def requested(claim: Object) -> str:
    return str((((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage") or "0")


def capacity(volume: Object) -> str:
    return str(((volume.get("spec") or {}).get("capacity") or {}).get("storage") or "0")


def capacity_when_bound(volume: Object) -> Object:
    """What a claim has of it from the first: where its file system has yet to grow, the size before that."""
    whole = dict((volume.get("spec") or {}).get("capacity") or {})
    before = annotations_of(volume).get(PRE_RESIZE_CAPACITY)
    if before is not None:
        with contextlib.suppress(quantity.QuantityError):  # not one: as if there were none
            quantity.parse(before)
            whole["storage"] = before
    return whole


def names_claim(volume: Object, claim: Object) -> bool:
    """The volume is reserved for this claim, or bound to it."""
    reference = (volume.get("spec") or {}).get("claimRef")
    if not reference:
        return False
    metadata = claim["metadata"]
    if (reference.get("namespace"), reference.get("name")) != (metadata["namespace"], metadata["name"]):
        return False
    return reference.get("uid") in (None, "", metadata["uid"])


def reference_to(claim: Object) -> Object:
    """What a volume's `claimRef` says of the claim that it is bound to."""
    names = ("namespace", "name", "uid", "resourceVersion")
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        **{name: claim["metadata"][name] for name in names},
    }


def mismatch(volume: Object, claim: Object) -> str:
    """Why a volume that was asked for by name does not satisfy the claim; "" when it does."""
    if deleting(volume):
        return f'the volume is marked for deletion "{volume["metadata"]["name"]}"'
    if quantity.cmp(capacity(volume), requested(claim)) < 0:
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    return _incompatible(volume, claim)


def modes_differ(volume: Object, claim: Object) -> bool:
    """One is a file system, the other a block device."""
    mode, wanted = (one["spec"].get("volumeMode") or "Filesystem" for one in (volume, claim))
    return bool(mode != wanted)


def _incompatible(volume: Object, claim: Object) -> str:
    vol, spec = volume["spec"], claim["spec"]
    if modes_differ(volume, claim):
        return "incompatible volumeMode"
    if not set(spec.get("accessModes") or ()) <= set(vol.get("accessModes") or ()):
        return "incompatible accessMode"
    if (vol.get("volumeAttributesClassName") or "") != (spec.get("volumeAttributesClassName") or ""):
        return "volumeAttributesClassName does not match"
    return ""


def best(volumes: Iterable[Object], claim: Object, *, only_reserved: bool) -> Object | None:
    """`only_reserved`: binding waits for a pod, so only a volume that names the claim may be taken."""
    selector = (claim.get("spec") or {}).get("selector")
    wanted = label_selector_from(selector) if selector is not None else None
    fitting: list[Object] = []
    for volume in volumes:
        if deleting(volume):
            continue
        if names_claim(volume, claim):
            if quantity.cmp(capacity(volume), requested(claim)) >= 0 and not _incompatible(volume, claim):
                return volume
            continue
        if only_reserved or volume["spec"].get("claimRef"):
            continue
        # Upstream waits until a new volume is Available; meanwhile another might be provisioned for the claim.
        phase = (volume.get("status") or {}).get("phase")
        if phase not in (None, "", "Available", "Pending") or mismatch(volume, claim):
            continue
        if wanted is None or wanted.matches(volume["metadata"].get("labels") or {}):
            fitting.append(volume)

    def rank(volume: Object) -> tuple[int, quantity.Quantity, str]:
        modes = set(volume["spec"].get("accessModes") or ())
        return len(modes), quantity.parse(capacity(volume)), volume["metadata"]["name"]

    return min(fitting, key=rank, default=None)
