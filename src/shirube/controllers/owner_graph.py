"""Who owns whom, by uid: the garbage collector's picture of the cluster. No I/O.

A node is an object seen by a watch, or a *virtual* owner: named in somebody's ownerReferences but not seen
itself (not yet, or no more, or never: references may lie). Events of objects go in, and out comes what has
to be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shirube.api.gvr import GVR
from shirube.client.rest import Object

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


@dataclass(slots=True, eq=False)
class Node:
    uid: str
    gvr: GVR | None  # None while virtual: only `reference` is known
    namespace: str
    name: str
    api_version: str
    kind: str
    owners: list[Object] = field(default_factory=list)
    dependents: dict[str, Node] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    being_deleted: bool = False

    @property
    def virtual(self) -> bool:
        return self.gvr is None

    @property
    def deleting_dependents(self) -> bool:
        """In foreground deletion: waits for dependents that block it."""
        return self.being_deleted and FOREGROUND in self.finalizers

    @property
    def orphaning(self) -> bool:
        return self.being_deleted and ORPHAN in self.finalizers

    def blocking_dependents(self) -> list[Node]:
        return [d for d in self.dependents.values() if d.blocks(self.uid)]

    def blocks(self, owner: str) -> bool:
        return any(o["uid"] == owner and o.get("blockOwnerDeletion") for o in self.owners)


@dataclass(slots=True)
class Work:
    """What an event leaves to do: uids to look at for deletion, and owners to be orphaned from. `misplaced` are
    dependents with a reference to an owner that was seen in another namespace, to be told about."""

    delete: list[str] = field(default_factory=list)
    orphan: list[str] = field(default_factory=list)
    misplaced: list[tuple[Node, Object]] = field(default_factory=list)


class OwnerGraph:
    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def seen(self, gvr: GVR, kind: str, obj: Object) -> Work:
        """An object was added or changed. Its own `kind` may only say PartialObjectMetadata."""
        metadata = obj["metadata"]
        uid = metadata["uid"]
        work = Work()
        node = self.nodes.get(uid)
        if node is None:
            node = self.nodes[uid] = Node(
                uid, gvr, metadata.get("namespace", ""), metadata["name"], gvr.group_version, kind
            )
            was_deleting, was_orphaning, was_gone = False, False, False
        else:
            if node.virtual:
                self._became_real(node, gvr, kind, obj, work)
            node.gvr, node.api_version = gvr, gvr.group_version  # its group may prefer another version by now
            was_deleting, was_orphaning = node.deleting_dependents, node.orphaning
            was_gone = node.being_deleted
        node.finalizers = tuple(metadata.get("finalizers") or ())
        node.being_deleted = bool(metadata.get("deletionTimestamp"))
        self._set_owners(node, metadata.get("ownerReferences") or [], work)
        if node.orphaning and not was_orphaning:
            work.orphan.append(uid)
        if node.deleting_dependents and not was_deleting:
            work.delete += [uid, *node.dependents]
        if node.being_deleted and not was_gone:
            # A dependent on its way out no longer counts the same for an owner that waits for it.
            work.delete += [o["uid"] for o in node.owners if self._waits(o["uid"])]
        return work

    def agreed(self, owner: Node) -> bool:
        """All dependents of a virtual owner mean the same: what is not there for one is not there for any."""
        named = ((d, o) for d in owner.dependents.values() for o in d.owners if o["uid"] == owner.uid)
        return all(_means(dependent, reference, owner) for dependent, reference in named)

    def gone(self, uid: str) -> Work:
        """An object was deleted (or a virtual owner is proven not to be there)."""
        node = self.nodes.pop(uid, None)
        work = Work()
        if node is None:
            return work
        for owner in node.owners:
            if (there := self.nodes.get(owner["uid"])) is None:
                continue
            there.dependents.pop(uid, None)
            if there.deleting_dependents:
                work.delete.append(there.uid)
            if there.virtual and not there.dependents:
                del self.nodes[there.uid]
        work.delete += list(node.dependents)
        return work

    def _waits(self, uid: str) -> bool:
        owner = self.nodes.get(uid)
        return owner is not None and owner.deleting_dependents

    def _became_real(self, node: Node, gvr: GVR, kind: str, obj: Object, work: Work) -> None:
        """The owner that was only named is there. Dependents that named it wrongly are looked at again."""
        metadata = obj["metadata"]
        node.gvr = gvr
        node.namespace, node.name = metadata.get("namespace", ""), metadata["name"]
        node.api_version, node.kind = gvr.group_version, kind
        for dependent in node.dependents.values():
            reference = next((o for o in dependent.owners if o["uid"] == node.uid), None)
            if reference is not None and not refers_to(dependent, reference, node):
                work.delete.append(dependent.uid)
                if node.namespace not in ("", dependent.namespace):
                    work.misplaced.append((dependent, reference))

    def _set_owners(self, node: Node, owners: list[Object], work: Work) -> None:
        before = {o["uid"]: o for o in node.owners}
        after = {o["uid"]: o for o in owners}
        node.owners = list(owners)
        for uid, old in before.items():
            new = after.get(uid)
            unblocked = old.get("blockOwnerDeletion") and not (new or {}).get("blockOwnerDeletion")
            if unblocked and self._waits(uid):
                work.delete.append(uid)
            if new is None and (owner := self.nodes.get(uid)) is not None:
                owner.dependents.pop(node.uid, None)
                if owner.virtual and not owner.dependents:
                    del self.nodes[uid]
        for uid, reference in after.items():
            if uid in before:
                continue
            owner = self.nodes.get(uid)
            if owner is None:
                owner = self.nodes[uid] = Node(
                    uid,
                    None,
                    node.namespace,
                    reference["name"],
                    reference["apiVersion"],
                    reference["kind"],
                )
                work.delete.append(uid)  # find out whether it exists
            elif owner.deleting_dependents or not _means(node, reference, owner):
                work.delete.append(node.uid)
                if not owner.virtual and owner.namespace not in ("", node.namespace):
                    work.misplaced.append((node, reference))
            owner.dependents[node.uid] = node


def _means(dependent: Node, reference: Object, owner: Node) -> bool:
    """The reference means this owner. One that is only named may be there under another name that somebody gave it, and
    what lives in another namespace means another object."""
    return refers_to(dependent, reference, owner) and (not owner.virtual or owner.namespace == dependent.namespace)


def refers_to(dependent: Node, reference: Object, owner: Node) -> bool:
    """The reference names this owner rightly: kind, name, and a namespace that may own the dependent."""
    return (
        reference["kind"] == owner.kind
        and reference["name"] == owner.name
        and reference["apiVersion"].rpartition("/")[0] == owner.api_version.rpartition("/")[0]
        and owner.namespace in ("", dependent.namespace)
    )
