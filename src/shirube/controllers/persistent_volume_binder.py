"""PersistentVolumes and claims find each other, and part.

Binding takes four writes (volume, its status, claim, its status), each of which a second pass finds done or does
again. Volume first: a claim says that it is bound only to a volume that says so, too. A volume whose claim is gone
is Released; what becomes of it is its reclaim policy's and its provisioner's business. Claims without a class get
the default one as soon as there is one.

Follows upstream's `pv_controller.go`; dynamic volumes come from provisioners, ours (`local_path_provisioner`) or
external ones, which are asked by annotation.
"""

from __future__ import annotations

from shirube.api.errors import ApiError
from shirube.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from shirube.client.controller import Controller
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import volume_matching as matching
from shirube.controllers import volume_provisioning as provisioning
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting
from shirube.controllers.pods import finished
from shirube.controllers.volume_protection import BY_CLAIM, claims_of

_ACCOUNT = "persistent-volume-binder"
_CLAIM, _VOLUME = "claim:", "volume:"
_BY_HOLDER, _FREE = "holders", ""
_IN_TREE = "kubernetes.io/"  # provisioners that upstream had built in; "no-provisioner" is none


def _holder(volume: Object) -> str:
    """`namespace/name` of the claim that a volume is reserved for or bound to."""
    reference = volume["spec"].get("claimRef")
    return f"{reference['namespace']}/{reference['name']}" if reference else _FREE


class PersistentVolumeBinder(Controller[str]):
    name = "persistentvolume-binder-controller"
    workers = 1  # two claims must not choose the same volume

    def __init__(self, context: Context) -> None:
        self._claims = context.informer(PERSISTENTVOLUMECLAIMS)
        self._volumes = context.informer(PERSISTENTVOLUMES)
        self._classes = context.informer(STORAGECLASSES)
        self._pods = context.informer(PODS)
        super().__init__(self._claims, self._volumes, self._classes, self._pods)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder("persistentvolume-controller", _ACCOUNT)
        self._taken: dict[str, str] = {}  # volume's name -> uid of the claim just bound, until the cache shows it
        self._volumes.add_index(_BY_HOLDER, lambda volume: [_holder(volume)])
        self._claims.add_handler(self._claim_changed, lambda _, new: self._claim_changed(new), self._claim_deleted)
        self._volumes.add_handler(self._volume_changed, self._volume_updated, self._volume_deleted)
        self._classes.add_handler(self._class_changed, lambda _, new: self._class_changed(new), self._class_changed)
        self._pods.add_index(BY_CLAIM, claims_of)
        self._pods.add_handler(self._pod_added)

    # -- what wakes us -------------------------------------------------------------------------------------

    def _claim_changed(self, claim: Object) -> None:
        self.queue.add(_CLAIM + key_of(claim))
        self._claim_deleted(claim)

    def _claim_deleted(self, claim: Object) -> None:
        """Volumes that name it may be others than the one that it names, or it may name none yet."""
        if name := claim["spec"].get("volumeName"):
            self.queue.add(_VOLUME + name)
        for volume in self._volumes.store.by_index(_BY_HOLDER, key_of(claim)):
            self.queue.add(_VOLUME + key_of(volume))

    def _volume_changed(self, volume: Object) -> None:
        self.queue.add(_VOLUME + key_of(volume))
        if volume["spec"].get("claimRef"):
            self._taken.pop(key_of(volume), None)
            self._wake_holder(volume)
        elif (volume.get("status") or {}).get("phase") == "Available":
            self._wake_unbound(volume)

    def _volume_updated(self, old: Object, new: Object) -> None:
        self._volume_changed(new)
        if old["spec"].get("claimRef") != new["spec"].get("claimRef"):
            self._wake_holder(old)  # somebody may have taken it away from a claim that is bound to it

    def _volume_deleted(self, volume: Object) -> None:
        self._taken.pop(key_of(volume), None)
        self._wake_holder(volume)

    def _wake_holder(self, volume: Object) -> None:
        if key := _holder(volume):
            self.queue.add(_CLAIM + key)

    def _class_changed(self, storage_class: Object) -> None:
        """Claims of the class, and those that may get it as the default one."""
        name = storage_class["metadata"]["name"]
        for claim in self._claims.store:
            if matching.BIND_COMPLETED in matching.annotations_of(claim):
                continue
            if not matching.has_class_field(claim) or matching.class_of(claim) == name:
                self.queue.add(_CLAIM + key_of(claim))

    def _wake_unbound(self, volume: Object) -> None:
        """Claims that a free volume would do for, and those that name it, even if they have lost it long ago."""
        for claim in self._claims.store:
            name = claim["spec"].get("volumeName") or ""
            if name == volume["metadata"]["name"] or (not name and self._would_do(volume, claim)):
                self.queue.add(_CLAIM + key_of(claim))

    def _would_do(self, volume: Object, claim: Object) -> bool:
        return matching.best((volume,), claim, only_reserved=self._delayed(claim)) is not None

    def _delayed(self, claim: Object) -> bool:
        return matching.delayed(self._classes.store.get(None, matching.class_of(claim)))

    def _pod_added(self, pod: Object) -> None:
        """For the event on a claim that waits for its first consumer."""
        for key in claims_of(pod):
            claim = self._claims.store.get_by_key(key)
            if claim is not None and not claim["spec"].get("volumeName"):
                self.queue.add(_CLAIM + key)

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_VOLUME):
            volume = self._volumes.store.get(None, key.removeprefix(_VOLUME))
            if volume is not None:
                await self._sync_volume(volume)
            return None
        claim = self._claims.store.get(*split_key(key.removeprefix(_CLAIM)))
        if claim is None or (deleting(claim) and not claim["spec"].get("volumeName")):
            return None
        if matching.BIND_COMPLETED in matching.annotations_of(claim):
            await self._sync_bound(claim)
            return None
        return None if await self._sync_unbound(claim) else provisioning.LOOK_AGAIN

    # -- claims ---------------------------------------------------------------------------------------------

    async def _sync_bound(self, claim: Object) -> None:
        name = claim["spec"].get("volumeName")
        if not name:
            message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
            await self._lose(claim, "ClaimLost", message)
            return
        volume = self._volumes.store.get(None, name)
        if volume is None:
            message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            await self._lose(claim, "ClaimLost", message)
        elif not volume["spec"].get("claimRef") or matching.names_claim(volume, claim):
            await self._bind(volume, claim)
        else:
            message = "Two claims are bound to the same volume, this one is bound incorrectly"
            await self._lose(claim, "ClaimMisbound", message)

    async def _lose(self, claim: Object, reason: str, message: str) -> None:
        if (claim.get("status") or {}).get("phase") != "Lost":
            await self._claim_phase(claim, "Lost")
            self._recorder.event(claim, WARNING, reason, message)

    async def _sync_unbound(self, claim: Object) -> bool:
        """Whether nothing is left to wait for."""
        if name := claim["spec"].get("volumeName"):
            return await self._sync_named(claim, name)
        class_name = matching.class_of(claim)
        storage_class = self._classes.store.get(None, class_name) if class_name else None
        delayed, uid = matching.delayed(storage_class), claim["metadata"]["uid"]
        volumes = [v for holder in (key_of(claim), _FREE) for v in self._volumes.store.by_index(_BY_HOLDER, holder)]
        not_taken = (v for v in volumes if self._taken.get(v["metadata"]["name"], uid) == uid)
        found = matching.best(not_taken, claim, only_reserved=delayed)
        if found is not None:
            await self._bind(found, claim)
            return True
        if not matching.has_class_field(claim):
            default = matching.default_class(self._classes.store)
            if default is not None:
                spec = {**claim["spec"], "storageClassName": default["metadata"]["name"]}
                await self._client.update(PERSISTENTVOLUMECLAIMS, {**claim, "spec": spec})
                return True  # seen again with its class
        if delayed and not matching.annotations_of(claim).get(matching.SELECTED_NODE):
            self._tell_waiting(claim)
        elif class_name:
            claim = await self._ask_for_volume(claim, class_name, storage_class)
        else:
            message = "no persistent volumes available for this claim and no storage class is set"
            self._recorder.event(claim, NORMAL, "FailedBinding", message)
        await self._claim_phase(claim, "Pending")
        return False

    async def _sync_named(self, claim: Object, name: str) -> bool:
        volume = self._volumes.store.get(None, name)
        if volume is not None and matching.names_claim(volume, claim):
            await self._bind(volume, claim)  # both say so: nothing is left to judge
            return True
        if volume is not None and volume["spec"].get("claimRef"):
            message = f'volume "{name}" already bound to a different claim.'
            self._recorder.event(claim, WARNING, "FailedBinding", message)
        elif volume is not None and (why := matching.mismatch(volume, claim)):
            message = f'Cannot bind to requested volume "{name}": {why}'
            self._recorder.event(claim, WARNING, "VolumeMismatch", message)
        elif volume is not None:
            await self._bind(volume, claim)
            return True
        await self._claim_phase(claim, "Pending")
        return False

    def _tell_waiting(self, claim: Object) -> None:
        pods = self._pods.store.by_index(BY_CLAIM, key_of(claim))
        waiting = sorted(p["metadata"]["name"] for p in pods if not p["spec"].get("nodeName") and not finished(p))
        if waiting:
            message = f"waiting for pod{'s' * (len(waiting) > 1)} {','.join(waiting)} to be scheduled"
            self._recorder.event(claim, NORMAL, "WaitForPodScheduled", message)
            return
        message = "waiting for first consumer to be created before binding"
        self._recorder.event(claim, NORMAL, "WaitForFirstConsumer", message)

    async def _ask_for_volume(self, claim: Object, class_name: str, storage_class: Object | None) -> Object:
        """Provisioners act on claims that name them in an annotation."""
        if storage_class is None:
            message = f'storageclass.storage.k8s.io "{class_name}" not found'
            self._recorder.event(claim, WARNING, "ProvisioningFailed", message)
            return claim
        provisioner = storage_class["provisioner"]
        if provisioner.startswith(_IN_TREE):
            message = f"no volume plugin matched name: {provisioner}"
            self._recorder.event(claim, WARNING, "ProvisioningFailed", message)
            return claim
        wanted = {matching.PROVISIONER: provisioner, matching.BETA_PROVISIONER: provisioner}
        if not wanted.items() <= matching.annotations_of(claim).items():
            metadata = {**claim["metadata"], "annotations": {**matching.annotations_of(claim), **wanted}}
            claim = await self._client.update(PERSISTENTVOLUMECLAIMS, {**claim, "metadata": metadata})
        message = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually "
            "by the system administrator. If volume creation is delayed, please verify that the provisioner is "
            "running and correctly registered."
        )
        self._recorder.event(claim, NORMAL, "ExternalProvisioning", message)
        return claim

    async def _claim_phase(self, claim: Object, phase: str) -> None:
        """Of a claim that has no volume (any more)."""
        status = claim.get("status") or {}
        if status.get("phase") != phase:
            kept = {k: v for k, v in status.items() if k not in ("accessModes", "capacity")}
            await self._client.update_status(PERSISTENTVOLUMECLAIMS, {**claim, "status": {**kept, "phase": phase}})

    # -- binding --------------------------------------------------------------------------------------------

    async def _bind(self, volume: Object, claim: Object) -> None:
        self._taken[volume["metadata"]["name"]] = claim["metadata"]["uid"]
        try:
            volume = await self._bind_volume(volume, claim)
            volume = await self._volume_phase(volume, "Bound")
            claim = await self._bind_claim(claim, volume)
        except ApiError:
            self._taken.pop(volume["metadata"]["name"], None)
            raise
        status = claim.get("status") or {}
        wanted: Object = {"phase": "Bound", "accessModes": volume["spec"].get("accessModes") or []}
        if status.get("phase") != "Bound":  # afterwards the class of attributes is the resizer's
            status = {k: v for k, v in status.items() if k != "currentVolumeAttributesClassName"}
            if name := volume["spec"].get("volumeAttributesClassName"):
                wanted["currentVolumeAttributesClassName"] = name
        if status.get("phase") != "Bound" or not status.get("capacity"):
            wanted["capacity"] = matching.capacity_when_bound(volume)  # afterwards it is the expander's
        if {**status, **wanted} != status:
            await self._client.update_status(PERSISTENTVOLUMECLAIMS, {**claim, "status": {**status, **wanted}})

    async def _bind_volume(self, volume: Object, claim: Object) -> Object:
        metadata, reference = claim["metadata"], volume["spec"].get("claimRef") or {}
        if reference.get("uid") == metadata["uid"]:
            return volume
        wanted = matching.reference_to(claim)
        described = volume["metadata"]
        if not reference:
            marked = {**matching.annotations_of(volume), matching.BOUND_BY_CONTROLLER: "yes"}
            described = {**described, "annotations": marked}
        body = {**volume, "metadata": described, "spec": {**volume["spec"], "claimRef": wanted}}
        return await self._client.update(PERSISTENTVOLUMES, body)

    async def _bind_claim(self, claim: Object, volume: Object) -> Object:
        name, marked = volume["metadata"]["name"], dict(matching.annotations_of(claim))
        spec = claim["spec"]
        if not spec.get("volumeName"):
            spec = {**spec, "volumeName": name}
            marked[matching.BOUND_BY_CONTROLLER] = "yes"
        marked[matching.BIND_COMPLETED] = "yes"
        if spec == claim["spec"] and marked == matching.annotations_of(claim):
            return claim
        body = {**claim, "metadata": {**claim["metadata"], "annotations": marked}, "spec": spec}
        return await self._client.update(PERSISTENTVOLUMECLAIMS, body)

    # -- volumes --------------------------------------------------------------------------------------------

    async def _volume_phase(self, volume: Object, phase: str, message: str = "") -> Object:
        status = volume.get("status") or {}
        if status.get("phase") == phase:
            return volume
        wanted = {k: v for k, v in status.items() if k not in ("message", "reason", "lastPhaseTransitionTime")}
        wanted["phase"] = phase
        if message:
            wanted["message"] = message
        return await self._client.update_status(PERSISTENTVOLUMES, {**volume, "status": wanted})

    async def _sync_volume(self, volume: Object) -> None:
        # A volume that is being deleted, too: what holds it (its provisioner's finalizer) waits for its release.
        reference = volume["spec"].get("claimRef")
        if not reference or not reference.get("uid"):
            await self._volume_phase(volume, "Available")
            return
        claim = await self._claim_of(reference)
        if claim is None:
            await self._release(volume)
            return
        bound_to = claim["spec"].get("volumeName")
        if bound_to == volume["metadata"]["name"]:
            await self._volume_phase(volume, "Bound")
        elif not bound_to and matching.modes_differ(volume, claim):
            self._tell_modes_differ(volume, claim)
        elif not bound_to:
            self.queue.add(_CLAIM + key_of(claim))
        elif (
            matching.PROVISIONED_BY in matching.annotations_of(volume)
            and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        ):
            await self._release(volume)  # made for the claim, which has found another meanwhile
        else:
            await self._unbind(volume)

    def _tell_modes_differ(self, volume: Object, claim: Object) -> None:
        """The volume is the claim's, who will never take it."""
        why = "due to incompatible volumeMode."
        message = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{claim["metadata"]["name"]}" {why}'
        self._recorder.event(volume, WARNING, "VolumeMismatch", message)
        message = (
            f'Cannot bind PersistentVolume "{volume["metadata"]["name"]}" to requested PersistentVolumeClaim {why}'
        )
        self._recorder.event(claim, WARNING, "VolumeMismatch", message)

    async def _unbind(self, volume: Object) -> None:
        """Its claim is bound to another. What a user has reserved stays reserved; what we have bound is free again."""
        annotations, spec = matching.annotations_of(volume), volume["spec"]
        if matching.BOUND_BY_CONTROLLER in annotations:
            annotations = {k: v for k, v in annotations.items() if k != matching.BOUND_BY_CONTROLLER}
            spec = {k: v for k, v in spec.items() if k != "claimRef"}
        else:
            spec = {**spec, "claimRef": {k: v for k, v in spec["claimRef"].items() if k != "uid"}}
        body = {**volume, "metadata": {**volume["metadata"], "annotations": annotations}, "spec": spec}
        await self._volume_phase(await self._client.update(PERSISTENTVOLUMES, body), "Available")

    async def _claim_of(self, reference: Object) -> Object | None:
        """Asked of the server when the cache does not know it: a volume is not released on hearsay."""
        found = self._claims.store.get(reference["namespace"], reference["name"])
        if found is None or found["metadata"]["uid"] != reference["uid"]:
            try:
                found = await self._client.get(PERSISTENTVOLUMECLAIMS, reference["name"], reference["namespace"])
            except ApiError as error:
                if error.code == 404:
                    return None
                raise
        return found if found["metadata"]["uid"] == reference["uid"] else None

    async def _release(self, volume: Object) -> None:
        if (volume.get("status") or {}).get("phase") == "Failed":
            return
        volume = await self._volume_phase(volume, "Released")
        policy = volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain"
        if deleting(volume):
            return
        if policy == "Recycle":
            message = "No recycler plugin found for the volume!"
            self._recorder.event(volume, WARNING, "VolumeFailedRecycle", message)
            await self._volume_phase(volume, "Failed", message)
        elif policy == "Delete" and matching.PROVISIONED_BY not in matching.annotations_of(volume):
            if volume["spec"].get("csi"):
                return  # its driver's provisioner deletes it
            name = volume["metadata"]["name"]
            message = f'error getting deleter volume plugin for volume "{name}": no deletable volume plugin matched'
            self._recorder.event(volume, WARNING, "VolumeFailedDelete", message)
            await self._volume_phase(volume, "Failed", message)
