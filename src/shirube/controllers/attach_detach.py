"""CSI volumes are attached to the nodes of the pods that use them, and detached when no pod does.

What should be: for each scheduled pod that is not finished, each claim bound to a CSI volume whose driver needs
attaching. What is: VolumeAttachments, one for each (driver, volume, node), named by a hash of the three as
upstream names them. An attachment is deleted once no pod of its node uses the volume and the node no longer says
that it is mounted (`status.volumesInUse`), or is out of service, or was last seen ready six minutes ago. What is
attached is shown in the node's `status.volumesAttached`, which the node's agent waits for; what is about to be detached
is taken out of it first.

The driver's external attacher does the work and sets `status.attached`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from shirube.api.errors import ApiError
from shirube.api.gvr import (
    CSIDRIVERS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    VOLUMEATTACHMENTS,
)
from shirube.client.controller import Controller
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers import pods as of_objects
from shirube.controllers import volume_matching as matching
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting
from shirube.controllers.volume_protection import BY_CLAIM, claims_of, holds
from shirube.foundation.clock import parse_rfc3339

_ACCOUNT = "attachdetach-controller"
FORCE_SECONDS = 360.0
_OWN_NAME = re.compile(r"csi-[0-9a-f]{64}")
_BY_NODE = "node"


def attachment_name(handle: str, driver: str, node: str) -> str:
    return "csi-" + hashlib.sha256((handle + driver + node).encode()).hexdigest()


def unique_name(volume: Object) -> str:
    """As nodes name it in their status."""
    csi = volume["spec"]["csi"]
    return f"kubernetes.io/csi/{csi['driver']}^{csi['volumeHandle']}"


def is_own(attachment: Object) -> bool:
    """Whether this controller (or upstream's) made it; what others name is theirs to delete."""
    return _OWN_NAME.fullmatch(attachment["metadata"]["name"]) is not None


def in_use(node: Object, attachments: Iterable[Object]) -> set[str]:
    """Those of the node's attachments whose volumes it says it has mounted; told by what their names are made of, as
    the volume's object may be gone, or be another by now."""
    prefix, known = "kubernetes.io/csi/", {one["metadata"]["name"] for one in attachments}
    found = set()
    for unique in (node.get("status") or {}).get("volumesInUse") or ():
        driver, _, handle = unique.removeprefix(prefix).partition("^")
        found.add(attachment_name(handle, driver, node["metadata"]["name"]))
    return found & known


def superseded(attachment: Object, volume: Object, before: Object | None) -> bool:
    """It was made for another PersistentVolume of the same storage, which is no more to be attached (external attachers
    refuse one that is being deleted), and it has not been attached."""
    if deleting(attachment):
        return False  # it goes already
    same = attachment["spec"]["source"].get("persistentVolumeName") == volume["metadata"]["name"]
    attached = (attachment.get("status") or {}).get("attached")
    return not same and not attached and (before is None or deleting(before))


def new_attachment(volume: Object, node: str) -> Object:
    csi = volume["spec"]["csi"]
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": attachment_name(csi["volumeHandle"], csi["driver"], node)},
        "spec": {
            "attacher": csi["driver"],
            "nodeName": node,
            "source": {"persistentVolumeName": volume["metadata"]["name"]},
        },
    }


def silent_for(node: Object | None, now: float) -> float:
    """Seconds since a node was ready; a node that is gone has been silent for ever."""
    if node is None:
        return float("inf")
    ready = of_objects.condition(node, "Ready")
    if ready is None or ready["status"] == "True" or not ready.get("lastTransitionTime"):
        return 0.0
    return now - parse_rfc3339(ready["lastTransitionTime"])


def elsewhere(volume: Object, node: str, attachments: Iterable[Object]) -> str:
    """The other node that holds a volume which only one may have; "" when there is none."""
    if set(volume["spec"].get("accessModes") or ()) - {"ReadWriteOnce", "ReadWriteOncePod"}:
        return ""
    name, csi = volume["metadata"]["name"], volume["spec"]["csi"]
    for one in attachments:
        spec = one["spec"]
        own = attachment_name(csi["volumeHandle"], csi["driver"], spec["nodeName"])
        same = spec["source"].get("persistentVolumeName") == name or one["metadata"]["name"] == own
        if same and spec["nodeName"] != node:
            return str(spec["nodeName"])
    return ""


def _bound(claim: Object) -> tuple[str, bool]:
    name = claim["spec"].get("volumeName") or ""
    return name, matching.BIND_COMPLETED in matching.annotations_of(claim)


class AttachDetachController(Controller[str]):
    """Keys are names of nodes."""

    name = "persistentvolume-attach-detach-controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        self._pods = context.informer(PODS)
        self._nodes = context.informer(NODES)
        self._claims = context.informer(PERSISTENTVOLUMECLAIMS)
        self._volumes = context.informer(PERSISTENTVOLUMES)
        self._drivers = context.informer(CSIDRIVERS)
        self._attachments = context.informer(VOLUMEATTACHMENTS)
        super().__init__(self._pods, self._nodes, self._claims, self._volumes, self._drivers, self._attachments)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder("attachdetach-controller", _ACCOUNT)
        self._clock = context.clock
        self._pods.add_index(_BY_NODE, lambda pod: [pod["spec"].get("nodeName") or ""])
        self._pods.add_index(BY_CLAIM, claims_of)
        self._attachments.add_index(_BY_NODE, lambda one: [one["spec"]["nodeName"]])
        self._pods.add_handler(self._pod_changed, self._pod_updated, self._pod_changed)
        self._claims.add_handler(None, self._claim_updated)
        self._volumes.add_handler(self._volume_seen, self._volume_updated, self._volume_ends)
        self._drivers.add_handler(self._driver_changed, lambda _, new: self._driver_changed(new), self._driver_changed)
        self._nodes.add_handler(self._node_seen, self._node_updated, lambda node: self.queue.add(key_of(node)))
        for_node = self._attachment_changed
        self._attachments.add_handler(for_node, lambda _, new: for_node(new), self._attachment_deleted)

    # -- what wakes us -------------------------------------------------------------------------------------

    def _pod_changed(self, pod: Object) -> None:
        if pod["spec"].get("nodeName") and any(True for _ in claims_of(pod)):
            self.queue.add(pod["spec"]["nodeName"])

    def _pod_updated(self, old: Object, new: Object) -> None:
        if holds(old) != holds(new):
            self._pod_changed(new)

    def _claim_updated(self, old: Object, new: Object) -> None:
        if _bound(old) != _bound(new):
            self._claim_counts(key_of(new))

    def _volume_seen(self, volume: Object) -> None:
        """A claim may have been seen bound before its volume was seen at all."""
        if claim := volume["spec"].get("claimRef"):
            self._claim_counts(f"{claim['namespace']}/{claim['name']}")

    def _volume_updated(self, old: Object, new: Object) -> None:
        if deleting(new) and not deleting(old):
            self._volume_ends(new)
        if old["spec"] != new["spec"]:
            self._volume_seen(new)  # more nodes may have it now

    def _volume_ends(self, volume: Object) -> None:
        """Another that stands for the same storage may have waited for it."""
        for one in self._attachments.store:
            if one["spec"]["source"].get("persistentVolumeName") == volume["metadata"]["name"]:
                self.queue.add(one["spec"]["nodeName"])

    def _driver_changed(self, _: Object) -> None:
        """Whether its volumes need attaching."""
        self._wake_nodes_with_pods()

    def _claim_counts(self, key: str) -> None:
        for pod in self._pods.store.by_index(BY_CLAIM, key):
            self._pod_changed(pod)

    def _node_seen(self, node: Object) -> None:
        """It may still show a volume whose attachment went just before a predecessor of ours died; or it has come back,
        and its pods wait."""
        if (node.get("status") or {}).get("volumesAttached"):
            self.queue.add(key_of(node))
        for pod in self._pods.store.by_index(_BY_NODE, key_of(node)):
            self._pod_changed(pod)

    def _node_updated(self, old: Object, new: Object) -> None:
        before, after = ((o.get("status") or {}).get("volumesInUse") for o in (old, new))
        given_up = of_objects.out_of_service(old) != of_objects.out_of_service(new)
        if before != after or given_up or of_objects.ready(old) != of_objects.ready(new):
            self.queue.add(key_of(new))

    def _attachment_changed(self, one: Object) -> None:
        self.queue.add(one["spec"]["nodeName"])

    def _attachment_deleted(self, one: Object) -> None:
        """Another node may have waited for the volume."""
        self.queue.add(one["spec"]["nodeName"])
        self._wake_nodes_with_pods()

    def _wake_nodes_with_pods(self) -> None:
        for node in self._pods.store.index_values(_BY_NODE):
            if node:
                self.queue.add(node)

    # -- reconcile ------------------------------------------------------------------------------------------

    def _volumes_of(self, pod: Object) -> Iterator[Object]:
        """Those of a pod's volumes that have to be attached."""
        for key in claims_of(pod) if holds(pod) else ():
            claim = self._claims.store.get_by_key(key)
            if claim is None or matching.BIND_COMPLETED not in matching.annotations_of(claim):
                continue
            volume = self._volumes.store.get(None, claim["spec"].get("volumeName") or "")
            if volume is not None and self._needs_attaching(volume):
                yield volume

    def _wanted(self, node: str) -> dict[str, tuple[Object, Object]]:
        """Attachment's name -> (volume, a pod that uses it)."""
        out: dict[str, tuple[Object, Object]] = {}
        for pod in self._pods.store.by_index(_BY_NODE, node):
            for volume in self._volumes_of(pod):
                csi = volume["spec"]["csi"]
                name = attachment_name(csi["volumeHandle"], csi["driver"], node)
                if name not in out or not deleting(volume):
                    out[name] = volume, pod
        return out

    def _needs_attaching(self, volume: Object) -> bool:
        csi = volume["spec"].get("csi")
        if not csi:
            return False
        driver = self._drivers.store.get(None, csi["driver"])
        return driver is None or (driver.get("spec") or {}).get("attachRequired") is not False

    async def reconcile(self, key: str) -> float | None:
        wanted = self._wanted(key)
        have = {one["metadata"]["name"]: one for one in self._attachments.store.by_index(_BY_NODE, key)}
        for name, (volume, pod) in wanted.items():
            if name not in have:
                await self._attach(key, volume, pod)
            elif superseded(have[name], volume, self._volume_of(have[name])):
                await self._delete(have[name])  # once it is gone it is made anew
            elif ((have[name].get("status") or {}).get("attachError") or {}).get("message"):
                message = have[name]["status"]["attachError"]["message"]
                text = f'AttachVolume.Attach failed for volume "{volume["metadata"]["name"]}" : {message}'
                self._recorder.event(pod, WARNING, "FailedAttachVolume", text)
        node = self._nodes.store.get(None, key)
        waits = {name: self._left(node, one) for name, one in have.items() if name not in wanted}
        going = [have[name] for name, left in waits.items() if left == 0]
        shown = {name: one for name, one in have.items() if not deleting(one) and one not in going}
        # First the node's agent is told that it must not rely on them any more; it may have come before us.
        if node is not None:
            node = await self._show(node, shown, {name: volume for name, (volume, _) in wanted.items()})
        for one in going:
            if self._left(node, one) == 0:
                await self._delete(one)
        return min((left for left in waits.values() if left), default=None)

    async def _attach(self, node: str, volume: Object, pod: Object) -> None:
        name = volume["metadata"]["name"]
        if self._nodes.store.get(None, node) is None:
            return
        if other := elsewhere(volume, node, self._attachments.store):
            text = f'Multi-Attach error for volume "{name}" {self._why_not(volume, other, pod)}'
            self._recorder.event(pod, WARNING, "FailedAttachVolume", text)
            self.log.debug("volume is attached elsewhere", volume=name, node=other)
            return
        try:
            await self._client.create(VOLUMEATTACHMENTS, new_attachment(volume, node))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    def _why_not(self, volume: Object, node: str, waiting: Object) -> str:
        """In the words of the pods that hold the volume there, as far as the one that waits may know them."""
        unique, namespace = unique_name(volume), waiting["metadata"]["namespace"]
        pods = [
            pod["metadata"]
            for pod in self._pods.store.by_index(_BY_NODE, node)
            if any(unique_name(one) == unique for one in self._volumes_of(pod))
        ]
        names = sorted(one["name"] for one in pods if one["namespace"] == namespace)
        others = len(pods) - len(names)
        said = [f"pod(s) {', '.join(names)}"] if names else []
        said += [f"{others} pod(s) in different namespaces"] if others else []
        if said:
            return f"Volume is already used by {' and '.join(said)}"
        return "Volume is already exclusively attached to one node and can't be attached to another"

    def _left(self, node: Object | None, one: Object) -> float | None:
        """Seconds until an attachment that no pod wants may go; None when that is not a matter of time."""
        if deleting(one) or not is_own(one):
            return None
        if node is None or not in_use(node, [one]) or of_objects.out_of_service(node):
            return 0.0
        if of_objects.ready(node):
            return None  # until it says that it has let go
        return max(FORCE_SECONDS - silent_for(node, self._clock.now()), 0.0)

    async def _delete(self, one: Object) -> None:
        metadata = one["metadata"]
        try:
            await self._client.delete(VOLUMEATTACHMENTS, metadata["name"], preconditions={"uid": metadata["uid"]})
        except ApiError as error:
            if error.code != 404:
                raise

    def _volume_of(self, attachment: Object) -> Object | None:
        return self._volumes.store.get(None, attachment["spec"]["source"].get("persistentVolumeName") or "")

    async def _show(self, node: Object, attachments: dict[str, Object], wanted: dict[str, Object]) -> Object:
        """The node as it is then. `wanted`: the volumes of pods there, by their attachments' names."""
        attached = []
        for made, one in sorted(attachments.items()):
            volume = wanted.get(made) or self._volume_of(one)
            if volume is None or not volume["spec"].get("csi") or not (one.get("status") or {}).get("attached"):
                continue
            attached.append({"name": unique_name(volume), "devicePath": ""})
        before = (node.get("status") or {}).get("volumesAttached") or []
        if attached == before:
            return node
        patch = {"status": {"volumesAttached": attached or None}}
        name = key_of(node)
        node = await self._client.patch(NODES, name, patch, subresource="status")
        seen = {one["name"] for one in before}
        for unique in (one["name"] for one in attached if one["name"] not in seen):
            self._tell_attached(name, unique)
        return node

    def _tell_attached(self, node: str, unique: str) -> None:
        for volume, pod in self._wanted(node).values():
            if unique_name(volume) == unique:
                message = f'AttachVolume.Attach succeeded for volume "{volume["metadata"]["name"]}" '
                self._recorder.event(pod, NORMAL, "SuccessfulAttachVolume", message)
