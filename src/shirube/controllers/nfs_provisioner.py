"""Volumes that many nodes share: a directory of an NFS export for each claim of a class with provisioner
`shirube.dev/nfs`.

The control plane has no NFS client, so the nodes do what has to be done on the export. That needs no image and no pod,
and it is done by those who must be able to mount the export anyway:

- *Making.* The volume is an `nfs` volume with the path of its directory; annotations name the share above it. The agent
  of the first node that mounts the volume makes the directory. A claim that is never used leaves nothing on the export,
  one write makes a volume, and a server that does not answer is told where it matters: at the pod.
- *Removing.* The volume stays, Released, until its directory is deleted or archived. One ready node is asked by an
  annotation (`api/nfs_directories.py`) and answers there; then the volume goes, then the question. What a predecessor
  had done can be told from these two objects, so it may have died after any of its writes. After an error another node
  is asked, later each time; the volume's event says what was wrong. `onDelete: retain` asks nobody.

Nothing is lost to a name: two volumes never have directories that overlap, unless both only ever retain, and no
directory is removed while another volume, also one made by hand, lies in it. A question is taken back from a node
only when that has been silent for longer than its agent may take to begin (`SILENT_SECONDS`): a late removal must not
meet a directory of the same name that was made meanwhile.

The volume carries external provisioners' finalizer: its directory is also removed when the volume is deleted before its
claim (KEP-2644). Sizes are not enforced. Acts as upstream's `persistent-volume-binder`, whose role has all that this
needs, and on nodes as `node-controller`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from shirube.api import nfs_directories as directories
from shirube.api.errors import ApiError
from shirube.api.gvr import NODES
from shirube.client.events import WARNING
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers import pods as of_nodes
from shirube.controllers import volume_matching as matching
from shirube.controllers import volume_provisioning as provisioning
from shirube.controllers.attach_detach import silent_for
from shirube.controllers.context import Context
from shirube.controllers.nfs_parameters import PROVISIONER, ParameterError, request_for, volume_for
from shirube.controllers.node_fit import untolerated

SILENT_SECONDS = 180.0
_FIRST_RETRY, _LAST_RETRY = 10.0, 300.0
_LOOK_AGAIN, _CACHE_SECONDS = 15.0, 60.0
_BY_VOLUME = "volumes-to-be"


def ours(volume: Object) -> bool:
    return provisioning.made_by(volume, PROVISIONER)


def in_the_way(wanted: Object, volumes: Iterable[Object]) -> str:
    """The volume of ours whose directory a new one must not touch; "" when there is none."""
    source, retains = wanted["spec"]["nfs"], _only_retains(wanted)
    for other in volumes:
        theirs = other["spec"].get("nfs") or {}
        if not ours(other) or theirs.get("server") != source["server"]:
            continue
        name: str = other["metadata"]["name"]
        if name == wanted["metadata"]["name"] or not directories.overlap(theirs["path"], source["path"]):
            continue
        if not (retains and _only_retains(other) and theirs["path"] == source["path"]):
            return name
    return ""


def _only_retains(volume: Object) -> bool:
    return bool(matching.annotations_of(volume).get(directories.ON_DELETE) == directories.RETAIN)


def inside(volume: Object, volumes: Iterable[Object]) -> str:
    """Another volume, whoever made it, with the same directory or one in it; "" when there is none."""
    source = volume["spec"]["nfs"]
    top = source["path"].rstrip("/") + "/"
    for other in volumes:
        theirs = other["spec"].get("nfs") or {}
        if theirs.get("server") != source["server"] or other["metadata"]["name"] == volume["metadata"]["name"]:
            continue
        if (theirs["path"].rstrip("/") + "/").startswith(top):
            return str(other["metadata"]["name"])
    return ""


def chosen_node(nodes: Iterable[Object], but: str = "") -> Object | None:
    """A ready node with room for a question, the one with the fewest; `but` only when there is no other."""
    fit = [n for n in nodes if of_nodes.ready(n) and len(directories.requests_of(n)) < directories.MOST]

    def rank(node: Object) -> tuple[bool, bool, int, str]:
        name = node["metadata"]["name"]
        shunned = untolerated(node, [], ("NoSchedule", "NoExecute"))
        return name == but, shunned, len(directories.requests_of(node)), name

    return min(fit, key=rank, default=None)


class NfsProvisioner(provisioning.Provisioner):
    """Keys are names of volumes: `pvc-` and the claim's UID."""

    name = "nfs-provisioner"
    provisioner = PROVISIONER
    workers = 1  # two claims must not be given directories that overlap

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._clock = context.clock
        self._made: dict[str, tuple[Object, float]] = {}  # volumes just created, and when: until the cache shows them
        self._errors: dict[str, tuple[int, float]] = {}  # volume -> how often in a row, when to ask again
        self._claims.add_index(_BY_VOLUME, lambda claim: [provisioning.volume_name(claim)])
        self._claims.add_handler(self._claim_changed, lambda _, new: self._claim_changed(new))
        self._volumes.add_handler(self._volume_changed, lambda _, new: self._volume_changed(new), self._volume_gone)
        self._classes.add_handler(self._class_added)
        self._nodes.add_handler(self._node_seen, self._node_changed, self._node_seen)

    # -- what wakes us -------------------------------------------------------------------------------------

    def _claim_changed(self, claim: Object) -> None:
        if provisioning.wants_volume(claim, PROVISIONER):
            self.queue.add(provisioning.volume_name(claim))

    def _volume_changed(self, volume: Object) -> None:
        if ours(volume):
            self._made.pop(key_of(volume), None)
            self.queue.add(key_of(volume))

    def _volume_gone(self, volume: Object) -> None:
        if not volume["spec"].get("nfs"):
            return
        self._volume_changed(volume)
        # Claims may have waited for its directory, and volumes that it lay in.
        for claim in self._claims.store:
            self._claim_changed(claim)
        for other in self._volumes.store:
            if ours(other) and provisioning.unwanted(other):
                self.queue.add(key_of(other))

    def _class_added(self, _: Object) -> None:
        for claim in self._claims.store:
            self._claim_changed(claim)

    def _node_seen(self, node: Object) -> None:
        for name in directories.requests_of(node):
            self.queue.add(name)

    def _node_changed(self, old: Object, new: Object) -> None:
        before, after = (matching.annotations_of(node).get(directories.REQUESTS) for node in (old, new))
        if before != after or of_nodes.ready(old) != of_nodes.ready(new):
            self._node_seen(old)
            self._node_seen(new)

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        volume = self._volumes.store.get(None, key)
        if volume is None:
            for claim in self._claims.store.by_index(_BY_VOLUME, key):
                if provisioning.wants_volume(claim, PROVISIONER):
                    return await self._provision(claim, key)
        elif ours(volume) and provisioning.unwanted(volume):
            return await self._remove(volume)
        elif ours(volume) and provisioning.abandoned(volume):
            await provisioning.let_go(self._client, volume)
        self._errors.pop(key, None)
        for node in self._asked(key):
            await self._ask(node, key, None)
        return None

    # -- a directory for a claim ----------------------------------------------------------------------------

    async def _provision(self, claim: Object, name: str) -> float | None:
        storage_class = self._classes.store.get(None, matching.class_of(claim))
        if storage_class is None or storage_class["provisioner"] != PROVISIONER or name in self._just_made():
            return None
        if matching.delayed(storage_class) and not matching.annotations_of(claim).get(matching.SELECTED_NODE):
            return None
        try:
            volume = volume_for(claim, storage_class)
        except ParameterError as error:
            self._tell_failed(claim, str(error))
            return provisioning.LOOK_AGAIN
        if other := in_the_way(volume, [*self._volumes.store, *self._just_made().values()]):
            path = volume["spec"]["nfs"]["path"]
            why = f"directory {path} is, holds or lies in that of volume {other}; waiting until that is gone"
            self._tell_failed(claim, why)
            return self._later(name)
        if await self._create(claim, volume):
            self._errors.pop(name, None)
            if self._volumes.store.get(None, name) is None:
                self._made[name] = volume, self._clock.monotonic()
        return None

    def _just_made(self) -> dict[str, Object]:
        """A minute is enough for the cache, also when it missed the volume's short life."""
        since = self._clock.monotonic() - _CACHE_SECONDS
        self._made = {name: one for name, one in self._made.items() if one[1] > since}
        return {name: volume for name, (volume, _) in self._made.items()}

    def _later(self, name: str) -> float:
        """Seconds until the next try: twice as long each time."""
        times, _ = self._errors.get(name, (0, 0.0))
        wait = min(_FIRST_RETRY * 2.0**times, _LAST_RETRY)
        self._errors[name] = times + 1, self._clock.monotonic() + wait
        return wait

    # -- and its end ----------------------------------------------------------------------------------------

    async def _remove(self, volume: Object) -> float | None:
        name = volume["metadata"]["name"]
        try:
            wanted = request_for(volume)
        except ParameterError as error:
            self._recorder.event(volume, WARNING, "VolumeFailedDelete", f"cannot remove the directory: {error}")
            return None
        if wanted.action == directories.RETAIN:
            await provisioning.let_go(self._client, volume)
            return None
        asked = self._asked(name)
        if any(directories.requests_of(node)[name].done for node in asked):
            await provisioning.let_go(self._client, volume)
            return None
        if asked:
            return await self._wait_for(asked[0], volume, wanted)
        if other := inside(volume, self._volumes.store):
            message = f"cannot remove the directory: volume {other} has the same or one in it; delete that first"
            self._recorder.event(volume, WARNING, "VolumeFailedDelete", message)
            return self._later(name)
        node = chosen_node(self._nodes.store)
        if node is None:
            message = "cannot remove the directory: no node is ready and has time for it"
            self._recorder.event(volume, WARNING, "VolumeFailedDelete", message)
            return _LOOK_AGAIN
        self._again(name)
        await self._ask(node, name, wanted)
        return None

    def _again(self, name: str) -> None:
        """Asking anew: how often it went wrong is remembered."""
        if name in self._errors:
            self._errors[name] = self._errors[name][0], 0.0

    async def _wait_for(self, node: Object, volume: Object, wanted: directories.Request) -> float | None:
        """A node has been asked and has not done it."""
        name, host = volume["metadata"]["name"], node["metadata"]["name"]
        if error := directories.requests_of(node)[name].error:
            _, again = self._errors.get(name, (0, 0.0))
            left = again - self._clock.monotonic()
            if not again:
                self._recorder.event(volume, WARNING, "VolumeFailedDelete", f"node {host}: {error}")
                return self._later(name)
            if left > 0:
                return left
            self._again(name)
            other = chosen_node(self._nodes.store, but=host)
            if other is None or other["metadata"]["name"] == host:
                await self._ask(node, name, replace(wanted, error=""))
                return None
            await self._ask(node, name, None)
            await self._ask(other, name, wanted)
            return None
        if of_nodes.ready(node):
            return None
        left = SILENT_SECONDS - silent_for(node, self._clock.now())
        if left > 0:
            return left
        await self._ask(node, name, None)
        return None

    def _asked(self, name: str) -> list[Object]:
        return [node for node in self._nodes.store if name in directories.requests_of(node)]

    async def _ask(self, node: Object, name: str, wanted: directories.Request | None) -> None:
        """Put the question to a node, or take it back. Raises ApiError; a conflict is tried again."""
        requests: Mapping[str, directories.Request] = directories.requests_of(node)
        rest = {other: one for other, one in requests.items() if other != name}
        if wanted is not None:
            rest[name] = wanted
        try:
            await self._nodes_client.patch(NODES, node["metadata"]["name"], directories.patch_of(node, rest))
        except ApiError as error:
            if error.code != 404:
                raise
