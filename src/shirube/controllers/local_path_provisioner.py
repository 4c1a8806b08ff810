"""Volumes out of nothing: a directory of a node for each claim of a class with provisioner
`shirube.dev/local-path`.

A claim whose class waits for its first consumer gets its directory on the node that the scheduler has chosen
(annotation `volume.kubernetes.io/selected-node`; when that node is gone the annotation is taken off, so that another is
chosen); one bound at once on the ready node with the fewest such volumes, of those in the class's `allowedTopologies`.
The volume is a `hostPath` with type `DirectoryOrCreate` and a required affinity to its node: the node's
agent makes the directory when the first pod mounts it, nothing else runs on the node. Sizes are not enforced.

When the claim goes and the policy is Delete, the directory `DIRECTORY/pvc-UID_NAMESPACE_CLAIM` is named to its node's
agent, which removes it, in an annotation of the node; then the volume's object is deleted here. External provisioners'
finalizer holds the volume until then, also when it is deleted before its claim (KEP-2644).

Acts as upstream's `persistent-volume-binder`, whose role has all that this needs.
"""

from __future__ import annotations

import asyncio

from shirube.api.errors import ApiError
from shirube.api.gvr import NODES, PERSISTENTVOLUMECLAIMS
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import pods as of_nodes
from shirube.controllers import volume_matching as matching
from shirube.controllers import volume_provisioning as provisioning
from shirube.controllers.context import Context
from shirube.controllers.node_fit import untolerated

PROVISIONER = "shirube.dev/local-path"
TO_REMOVE = "shirube.dev/local-paths-to-remove"  # annotation of a node: names, separated by spaces
_HOSTNAME = "kubernetes.io/hostname"
_NAME_LENGTH = 140  # of the claim's name: with the other parts it makes one name of a directory
_CLAIM, _VOLUME = "claim:", "volume:"


def volume_for(claim: Object, storage_class: Object, node: Object, directory: str) -> Object:
    metadata = claim["metadata"]
    hostname = (node["metadata"].get("labels") or {}).get(_HOSTNAME) or node["metadata"]["name"]
    term = {"matchExpressions": [{"key": _HOSTNAME, "operator": "In", "values": [hostname]}]}
    name = f"{provisioning.volume_name(claim)}_{metadata['namespace']}_{metadata['name'][:_NAME_LENGTH]}"
    return provisioning.volume_of(
        claim,
        storage_class,
        PROVISIONER,
        hostPath={"path": f"{directory.rstrip('/')}/{name}", "type": "DirectoryOrCreate"},
        nodeAffinity={"required": {"nodeSelectorTerms": [term]}},
    )


def allowed_by(storage_class: Object, node: Object) -> bool:
    """Whether the class's `allowedTopologies` (none: everywhere) allow volumes on a node."""
    terms, labels = storage_class.get("allowedTopologies") or (), node["metadata"].get("labels") or {}
    return not terms or any(
        all(labels.get(one["key"]) in one["values"] for one in term.get("matchLabelExpressions") or ())
        for term in terms
    )


def _host_of(volume: Object) -> str:
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    return str(terms[0]["matchExpressions"][0]["values"][0])


class LocalPathProvisioner(provisioning.Provisioner):
    name = "local-path-provisioner"
    provisioner = PROVISIONER
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._directory = context.local_path_directory
        self._telling = asyncio.Lock()
        self._told: dict[str, Object] = {}  # nodes as they were after our last write
        self._claims.add_handler(self._claim_changed, lambda _, new: self._claim_changed(new))
        self._volumes.add_handler(self._volume_changed, lambda _, new: self._volume_changed(new), self._volume_gone)
        # Claims may have waited for a node, or for a class that was made again.
        self._classes.add_handler(self._look_again)
        self._nodes.add_handler(self._look_again)

    def _claim_changed(self, claim: Object) -> None:
        if provisioning.wants_volume(claim, PROVISIONER):
            self.queue.add(_CLAIM + key_of(claim))

    def _volume_changed(self, volume: Object) -> None:
        if provisioning.made_by(volume, PROVISIONER):
            self.queue.add(_VOLUME + key_of(volume))

    def _volume_gone(self, volume: Object) -> None:
        """Its claim may not have been bound yet: then it needs another."""
        if (reference := volume["spec"].get("claimRef")) and provisioning.made_by(volume, PROVISIONER):
            self.queue.add(f"{_CLAIM}{reference['namespace']}/{reference['name']}")

    def _look_again(self, _: Object) -> None:
        for claim in self._claims.store:
            self._claim_changed(claim)

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_VOLUME):
            await self._delete(key.removeprefix(_VOLUME))
            return None
        claim = self._claims.store.get(*split_key(key.removeprefix(_CLAIM)))
        if claim is None or not provisioning.wants_volume(claim, PROVISIONER):
            return None
        storage_class = self._classes.store.get(None, matching.class_of(claim))
        if storage_class is None or storage_class["provisioner"] != PROVISIONER:
            return None
        if why := self._refused(claim):
            self._tell_failed(claim, why)
            return provisioning.LOOK_AGAIN
        chosen = matching.annotations_of(claim).get(matching.SELECTED_NODE)
        if matching.delayed(storage_class) and not chosen:
            return None
        node = await self._node(chosen) if chosen else self._emptiest(storage_class)
        if node is None and chosen:
            await self._choose_again(claim, chosen)
            return None
        if node is None:
            self._tell_failed(claim, "no node is ready to hold it")
            return 15.0
        if self._volumes.store.get(None, provisioning.volume_name(claim)) is None:
            await self._create(claim, volume_for(claim, storage_class, node, self._directory))
        return None

    @staticmethod
    def _refused(claim: Object) -> str:
        modes = claim["spec"].get("accessModes") or ()
        if "ReadWriteMany" in modes or "ReadOnlyMany" in modes:
            return "only ReadWriteOnce and ReadWriteOncePod are possible on one node"
        return provisioning.refused(claim)

    async def _node(self, name: str) -> Object | None:
        """Asked of the server when the cache does not know it: the scheduler may have seen a new node first."""
        found = self._nodes.store.get(None, name)
        if found is None:
            try:
                found = await self._nodes_client.get(NODES, name)
            except ApiError as error:
                if error.code != 404:
                    raise
        return found

    async def _choose_again(self, claim: Object, node: str) -> None:
        """Its pod is scheduled anew, where there is a node."""
        self._tell_failed(claim, f'node "{node}" is gone, another one has to be chosen')
        kept = {k: v for k, v in matching.annotations_of(claim).items() if k != matching.SELECTED_NODE}
        body = {**claim, "metadata": {**claim["metadata"], "annotations": kept}}
        await self._client.update(PERSISTENTVOLUMECLAIMS, body)

    def _emptiest(self, storage_class: Object) -> Object | None:
        held: dict[str, int] = {}
        for volume in self._volumes.store:
            if provisioning.made_by(volume, PROVISIONER):
                name = _host_of(volume)
                held[name] = held.get(name, 0) + 1
        fit = [
            n
            for n in self._nodes.store
            if of_nodes.ready(n)
            and not untolerated(n, [], ("NoSchedule", "NoExecute"))
            and allowed_by(storage_class, n)
        ]
        return min(fit, key=lambda n: (held.get(n["metadata"]["name"], 0), n["metadata"]["name"]), default=None)

    async def _give_up(self, volume: Object) -> None:
        """Tell the volume's node that the directory may go. Raises ApiError; a conflict is tried again."""
        host = _host_of(volume)
        label = (n for n in self._nodes.store if (n["metadata"].get("labels") or {}).get(_HOSTNAME) == host)
        node = next(label, None) or self._nodes.store.get(None, host)
        if node is None:
            return  # its disk went with it
        async with self._telling:
            await self._tell(self._newest(node), volume["spec"]["hostPath"]["path"].rpartition("/")[2])

    def _newest(self, node: Object) -> Object:
        """The cache may not show yet what was written last: many volumes may go at once."""
        told = self._told.get(node["metadata"]["name"])
        if told is None or int(told["metadata"]["resourceVersion"]) <= int(node["metadata"]["resourceVersion"]):
            return node
        return told

    async def _tell(self, node: Object, directory: str) -> None:
        metadata = node["metadata"]
        names = (metadata.get("annotations") or {}).get(TO_REMOVE, "").split()
        if directory in names:
            return
        annotations = {TO_REMOVE: " ".join([*names, directory])}
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "annotations": annotations}}
        self._told.pop(metadata["name"], None)
        self._told[metadata["name"]] = await self._nodes_client.patch(NODES, metadata["name"], patch)

    async def _delete(self, name: str) -> None:
        volume = self._volumes.store.get(None, name)
        if volume is None or not provisioning.made_by(volume, PROVISIONER):
            return
        if provisioning.unwanted(volume):
            await self._give_up(volume)
            await provisioning.let_go(self._client, volume)
        elif provisioning.abandoned(volume):
            await provisioning.let_go(self._client, volume)
