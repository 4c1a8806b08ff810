"""What our provisioners have in common: which claims are theirs, the volume of a claim, and the volume's end.

Provisioners hold their volumes with a finalizer, so that what is behind one is also removed when the volume is deleted
before its claim. Whoever takes that finalizer off a volume that is being deleted keeps what is behind it.
Follows KEP-2644 (honour the reclaim policy).
"""

from __future__ import annotations

from typing import ClassVar

from shirube.api.errors import ApiError
from shirube.api.gvr import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES
from shirube.client.controller import Controller
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import key_of
from shirube.client.rest import Client, Object
from shirube.controllers import volume_matching as matching
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting

_ACCOUNT = "persistent-volume-binder"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
LOOK_AGAIN = 300.0  # what is wrong with a claim is told again, before its events have expired


def wants_volume(claim: Object, provisioner: str) -> bool:
    asked = matching.annotations_of(claim).get(matching.PROVISIONER)
    return asked == provisioner and not claim["spec"].get("volumeName") and not deleting(claim)


def refused(claim: Object) -> str:
    """Why no directory can do for this claim; "" when nothing is against it."""
    spec = claim["spec"]
    if spec.get("volumeMode") == "Block":
        return "a directory cannot be a block device"
    if spec.get("selector"):
        return "claim.Spec.Selector is not supported"
    if spec.get("dataSource") or spec.get("dataSourceRef"):
        return "data sources are not supported"
    if spec.get("volumeAttributesClassName"):
        return "VolumeAttributesClasses are not supported"
    return ""


def volume_of(claim: Object, storage_class: Object, provisioner: str, **source: Object) -> Object:
    """The volume that a claim gets of a class; `source` and what else belongs into its spec."""
    spec: Object = {
        "capacity": {"storage": matching.requested(claim)},
        "accessModes": claim["spec"].get("accessModes") or ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        "storageClassName": storage_class["metadata"]["name"],
        "volumeMode": "Filesystem",
        "claimRef": matching.reference_to(claim),
        **source,
    }
    if options := storage_class.get("mountOptions"):
        spec["mountOptions"] = list(options)
    metadata = {
        "name": volume_name(claim),
        "annotations": {matching.PROVISIONED_BY: provisioner},
        "finalizers": [FINALIZER],
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def volume_name(claim: Object) -> str:
    return f"pvc-{claim['metadata']['uid']}"


def made_by(volume: Object, provisioner: str) -> bool:
    return bool(matching.annotations_of(volume).get(matching.PROVISIONED_BY) == provisioner)


def _phase(volume: Object) -> str:
    return str((volume.get("status") or {}).get("phase") or "")


def held(volume: Object) -> bool:
    return FINALIZER in (volume["metadata"].get("finalizers") or ())


def unwanted(volume: Object) -> bool:
    """What is behind the volume is to be removed."""
    policy = volume["spec"].get("persistentVolumeReclaimPolicy")
    return _phase(volume) == "Released" and policy == "Delete" and (held(volume) or not deleting(volume))


def abandoned(volume: Object) -> bool:
    """It is deleted, nobody uses it, and what is behind it stays."""
    return deleting(volume) and _phase(volume) != "Bound" and not unwanted(volume)


async def let_go(client: Client, volume: Object) -> None:
    """Delete the volume; once it is being deleted (its watchers see it again) take off what holds it."""
    metadata = volume["metadata"]
    try:
        if not deleting(volume):
            await client.delete(PERSISTENTVOLUMES, metadata["name"], preconditions={"uid": metadata["uid"]})
        elif held(volume):
            rest = [one for one in metadata["finalizers"] if one != FINALIZER]
            await client.update(PERSISTENTVOLUMES, {**volume, "metadata": {**metadata, "finalizers": rest}})
    except ApiError as error:
        if error.code != 404:
            raise


class Provisioner(Controller[str]):
    """What it looks at and as whom it acts. Its own account may only look at nodes."""

    provisioner: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self._claims = context.informer(PERSISTENTVOLUMECLAIMS)
        self._volumes = context.informer(PERSISTENTVOLUMES)
        self._classes = context.informer(STORAGECLASSES)
        self._nodes = context.informer(NODES)
        super().__init__(self._claims, self._volumes, self._classes, self._nodes)
        self._client = context.client_of(_ACCOUNT)
        self._nodes_client = context.client_of("node-controller")
        self._recorder = context.recorder(self.provisioner, _ACCOUNT)

    def _tell_failed(self, claim: Object, why: str) -> None:
        message = f'failed to provision volume with StorageClass "{matching.class_of(claim)}": {why}'
        self._recorder.event(claim, WARNING, "ProvisioningFailed", message)

    async def _create(self, claim: Object, volume: Object) -> bool:
        """Make the claim's volume, and say so; False when it is there already. Raises ApiError, told to the claim."""
        message = f'External provisioner is provisioning volume for claim "{key_of(claim)}"'
        self._recorder.event(claim, NORMAL, "Provisioning", message)
        try:
            await self._client.create(PERSISTENTVOLUMES, volume)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return False
            self._tell_failed(claim, error.message)
            raise
        message = f"Successfully provisioned volume {volume['metadata']['name']}"
        self._recorder.event(claim, NORMAL, "ProvisioningSucceeded", message)
        return True
