"""Claims that grow: volumes of our own provisioners grow on paper, as their sizes are not enforced; for others an
external resizer is named, as upstream names it.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims
"""

from __future__ import annotations

from shirube.api import quantity
from shirube.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from shirube.client.controller import Controller
from shirube.client.events import NORMAL
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import local_path_provisioner, nfs_parameters
from shirube.controllers import volume_matching as matching
from shirube.controllers.context import Context

_ACCOUNT = "expand-controller"
_OURS = (local_path_provisioner.PROVISIONER, nfs_parameters.PROVISIONER)


def grows(claim: Object) -> bool:
    status = claim.get("status") or {}
    have = (status.get("capacity") or {}).get("storage")
    return status.get("phase") == "Bound" and have is not None and quantity.cmp(matching.requested(claim), have) > 0


class VolumeExpandController(Controller[str]):
    name = "persistentvolume-expander-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._claims = context.informer(PERSISTENTVOLUMECLAIMS)
        self._volumes = context.informer(PERSISTENTVOLUMES)
        super().__init__(self._claims, self._volumes)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder("volume_expand", _ACCOUNT)
        self._claims.add_handler(self._changed, lambda _, new: self._changed(new))

    def _changed(self, claim: Object) -> None:
        if grows(claim):
            self.queue.add(key_of(claim))

    async def reconcile(self, key: str) -> None:
        claim = self._claims.store.get(*split_key(key))
        if claim is None or not grows(claim):
            return
        volume = self._volumes.store.get(None, claim["spec"].get("volumeName") or "")
        if volume is None or not matching.names_claim(volume, claim):
            return
        provisioner = matching.annotations_of(volume).get(matching.PROVISIONED_BY)
        if provisioner not in _OURS:
            message = "waiting for an external controller to expand this PVC"
            self._recorder.event(claim, NORMAL, "ExternalExpanding", message)
            return
        size = {"storage": matching.requested(claim)}
        if quantity.cmp(matching.capacity(volume), size["storage"]) < 0:
            name = volume["metadata"]["name"]
            await self._client.patch(PERSISTENTVOLUMES, name, {"spec": {"capacity": size}})
        metadata = claim["metadata"]
        patch = {"status": {"capacity": size}}
        await self._client.patch(
            PERSISTENTVOLUMECLAIMS, metadata["name"], patch, metadata["namespace"], subresource="status"
        )
        self._recorder.event(claim, NORMAL, "VolumeResizeSuccessful", "Resize volume succeeded")
