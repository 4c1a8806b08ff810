"""Claims in use by pods, volumes bound to claims, attribute classes in use by either do not vanish: finalizers
hold them. A pod uses its claims as long as it exists and has a node, also when it has finished.

Admission sets the finalizers; here they are set on what was made before, and taken off what is being deleted once
nobody uses it any more.
https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from __future__ import annotations

from collections.abc import Iterable

from shirube.api.errors import ApiError
from shirube.api.gvr import GVR, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, VOLUMEATTRIBUTESCLASSES
from shirube.client.controller import Controller
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Client, Object
from shirube.controllers import pods as of_pods
from shirube.controllers.context import Context
from shirube.controllers.ownership import controller_of, deleting

CLAIM_FINALIZER, VOLUME_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
CLASS_FINALIZER = "kubernetes.io/vac-protection"
BY_CLAIM, _BY_CLASS = "claims", "attribute-classes"


def claims_of(pod: Object) -> Iterable[str]:
    """`namespace/name` of the claims that a pod names, those made for it included."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    for volume in pod["spec"].get("volumes") or ():
        if source := volume.get("persistentVolumeClaim"):
            yield f"{namespace}/{source['claimName']}"
        elif volume.get("ephemeral"):
            yield f"{namespace}/{name}-{volume['name']}"


def holds(pod: Object) -> bool:
    """A pod that may have its volumes mounted."""
    return bool(pod["spec"].get("nodeName")) and not of_pods.finished(pod)


def _shut_down(pod: Object) -> bool:
    """Deleted by force, or its node has done all that was to be done: it may only wait for its finalizers."""
    metadata = pod["metadata"]
    return deleting(pod) and metadata.get("deletionGracePeriodSeconds") == 0


def uses(pod: Object, claim: Object) -> bool:
    """A pod's own claim waits for no finalizer of its pod: that may wait for the claim."""
    metadata, name = claim["metadata"], pod["metadata"]["name"]
    if not pod["spec"].get("nodeName") or pod["metadata"]["namespace"] != metadata["namespace"]:
        return False
    owner = controller_of(claim) or {}
    for volume in pod["spec"].get("volumes") or ():
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == metadata["name"]:
            return True
        if volume.get("ephemeral") and f"{name}-{volume['name']}" == metadata["name"] and not _shut_down(pod):
            return bool(owner.get("uid") == pod["metadata"]["uid"])
    return False


async def _set(client: Client, gvr: GVR, obj: Object, finalizers: list[str]) -> None:
    try:
        await client.update(gvr, {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}})
    except ApiError as error:
        if error.code != 404:
            raise


class ClaimProtectionController(Controller[str]):
    name = "persistentvolumeclaim-protection-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._claims = context.informer(PERSISTENTVOLUMECLAIMS)
        self._pods = context.informer(PODS)
        super().__init__(self._claims, self._pods)
        self._client = context.client_of("pvc-protection-controller")
        self._pods.add_index(BY_CLAIM, claims_of)
        self._claims.add_handler(self._changed, lambda _, new: self._changed(new))
        self._pods.add_handler(None, self._pod_updated, self._pod_gone)

    def _changed(self, claim: Object) -> None:
        if deleting(claim) == (CLAIM_FINALIZER in (claim["metadata"].get("finalizers") or ())):
            self.queue.add(key_of(claim))

    def _pod_updated(self, old: Object, new: Object) -> None:
        if _shut_down(new) and not _shut_down(old):
            self._pod_gone(new)

    def _pod_gone(self, pod: Object) -> None:
        for key in claims_of(pod):
            self.queue.add(key)

    async def reconcile(self, key: str) -> None:
        claim = self._claims.store.get(*split_key(key))
        if claim is None:
            return
        finalizers = list(claim["metadata"].get("finalizers") or ())
        if not deleting(claim):
            if CLAIM_FINALIZER not in finalizers:
                await _set(self._client, PERSISTENTVOLUMECLAIMS, claim, [*finalizers, CLAIM_FINALIZER])
            return
        if CLAIM_FINALIZER not in finalizers or any(uses(p, claim) for p in self._pods.store.by_index(BY_CLAIM, key)):
            return
        # The cache may be behind: a pod that has just been bound would lose its data.
        pods = await self._client.list(PODS, split_key(key)[0])
        if any(uses(pod, claim) for pod in pods["items"]):
            return
        finalizers.remove(CLAIM_FINALIZER)
        await _set(self._client, PERSISTENTVOLUMECLAIMS, claim, finalizers)


class VolumeProtectionController(Controller[str]):
    name = "persistentvolume-protection-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._volumes = context.informer(PERSISTENTVOLUMES)
        super().__init__(self._volumes)
        self._client = context.client_of("pv-protection-controller")
        self._volumes.add_handler(self._changed, lambda _, new: self._changed(new))

    def _changed(self, volume: Object) -> None:
        if deleting(volume) == (VOLUME_FINALIZER in (volume["metadata"].get("finalizers") or ())):
            self.queue.add(key_of(volume))

    async def reconcile(self, key: str) -> None:
        volume = self._volumes.store.get(None, key)
        if volume is None:
            return
        finalizers = list(volume["metadata"].get("finalizers") or ())
        if not deleting(volume):
            if VOLUME_FINALIZER not in finalizers:
                await _set(self._client, PERSISTENTVOLUMES, volume, [*finalizers, VOLUME_FINALIZER])
        elif VOLUME_FINALIZER in finalizers and (volume.get("status") or {}).get("phase") != "Bound":
            finalizers.remove(VOLUME_FINALIZER)
            await _set(self._client, PERSISTENTVOLUMES, volume, finalizers)


def attribute_classes_of(obj: Object) -> set[str]:
    """The VolumeAttributesClasses that a claim or a volume has, wants or is on its way to."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names = {
        spec.get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    }
    return {str(name) for name in names if name}


class AttributesClassProtectionController(Controller[str]):
    name = "volumeattributesclass-protection-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._classes = context.informer(VOLUMEATTRIBUTESCLASSES)
        self._users = (context.informer(PERSISTENTVOLUMECLAIMS), context.informer(PERSISTENTVOLUMES))
        super().__init__(self._classes, *self._users)
        self._client = context.client_of("volumeattributesclass-protection-controller")
        self._classes.add_handler(self._changed, lambda _, new: self._changed(new))
        for informer in self._users:
            informer.add_index(_BY_CLASS, attribute_classes_of)
            informer.add_handler(None, self._user_updated, self._user_gone)

    def _changed(self, one: Object) -> None:
        if deleting(one) == (CLASS_FINALIZER in (one["metadata"].get("finalizers") or ())):
            self.queue.add(key_of(one))

    def _user_updated(self, old: Object, new: Object) -> None:
        for name in attribute_classes_of(old) - attribute_classes_of(new):
            self.queue.add(name)

    def _user_gone(self, user: Object) -> None:
        for name in attribute_classes_of(user):
            self.queue.add(name)

    async def reconcile(self, key: str) -> None:
        one = self._classes.store.get(None, key)
        if one is None:
            return
        finalizers = list(one["metadata"].get("finalizers") or ())
        if not deleting(one):
            if CLASS_FINALIZER not in finalizers:
                await _set(self._client, VOLUMEATTRIBUTESCLASSES, one, [*finalizers, CLASS_FINALIZER])
        elif CLASS_FINALIZER in finalizers and not any(i.store.by_index(_BY_CLASS, key) for i in self._users):
            finalizers.remove(CLASS_FINALIZER)
            await _set(self._client, VOLUMEATTRIBUTESCLASSES, one, finalizers)
