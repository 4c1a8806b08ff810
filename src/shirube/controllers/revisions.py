"""ControllerRevisions: the history of a StatefulSet's or DaemonSet's pod template.

A revision holds the template as a strategic merge patch (`$patch: replace`), so that `kubectl rollout undo`
can write it back. It is immutable; going back to an old template takes the old revision again and gives it the
next number. Its name is a hash of the template, salted by the owner's `collisionCount` when another owner has
taken that name.

Follows upstream's `pkg/controller/history`.
"""

from __future__ import annotations

from collections.abc import Iterable

from shirube.api.errors import ApiError
from shirube.api.gvr import CONTROLLERREVISIONS, GVR
from shirube.client.rest import Client, Object
from shirube.controllers.deployment_rollout import template_hash
from shirube.controllers.ownership import controller_of, controller_reference
from shirube.controllers.pods import created

HASH_LABEL = "controller.kubernetes.io/hash"
POD_LABEL = "controller-revision-hash"
_MOST_OF_A_NAME = 223  # of the owner's: with the hash it is still a name
_KEPT_AS_IS = ("kubectl.kubernetes.io/last-applied-configuration",)


def number(revision: Object) -> int:
    return int(revision.get("revision") or 0)


def in_order(revisions: Iterable[Object]) -> list[Object]:
    """Oldest first."""
    return sorted(revisions, key=lambda r: (number(r), created(r), r["metadata"]["name"]))


def patch_of(owner: Object) -> Object:
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def template_of(revision: Object) -> Object:
    """The pod template that a revision keeps."""
    template = dict(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


def equal(revision: Object, owner: Object) -> bool:
    return bool(revision.get("data") == patch_of(owner))


def new_revision(owner: Object, kind: str, revision: int, labels: Object, label: str, collisions: int | None) -> Object:
    digest = template_hash(owner["spec"]["template"], collisions)
    annotations = {
        k: v for k, v in (owner["metadata"].get("annotations") or {}).items() if k not in _KEPT_AS_IS
    }  # what kubectl rollout history shows as CHANGE-CAUSE is among them
    metadata: Object = {
        "name": f"{owner['metadata']['name'][:_MOST_OF_A_NAME]}-{digest}",
        "namespace": owner["metadata"]["namespace"],
        "labels": {**labels, label: digest},
        "ownerReferences": [controller_reference(owner, "apps/v1", kind)],
    }
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": patch_of(owner),
        "revision": revision,
    }


def to_clean_up(revisions: Iterable[Object], live: set[str], limit: int | None) -> list[Object]:
    """Oldest revisions that no pod needs, beyond the history's limit."""
    dead = [r for r in in_order(revisions) if r["metadata"]["name"] not in live]
    keep = 10 if limit is None else limit
    return dead[: max(len(dead) - keep, 0)]


class RevisionHistory:
    """Reads and writes the revisions of one kind of owner."""

    def __init__(self, client: Client, owner: GVR, kind: str, label: str = HASH_LABEL) -> None:
        self._client = client
        self._owner, self._kind, self._label = owner, kind, label

    async def current(self, owner: Object, revisions: Iterable[Object], labels: Object) -> tuple[Object, int | None]:
        """(the revision of the owner's present template, the owner's collision count), made or renumbered."""
        ordered = in_order(revisions)
        collisions: int | None = (owner.get("status") or {}).get("collisionCount")
        following = number(ordered[-1]) + 1 if ordered else 1
        same = [r for r in ordered if equal(r, owner)]
        if not same:
            return await self._create(owner, following, labels, collisions)
        newest = same[-1]
        if newest is ordered[-1]:
            return newest, collisions
        return await self._client.update(CONTROLLERREVISIONS, {**newest, "revision": following}), collisions

    async def _create(
        self, owner: Object, following: int, labels: Object, collisions: int | None
    ) -> tuple[Object, int | None]:
        while True:
            wanted = new_revision(owner, self._kind, following, labels, self._label, collisions)
            try:
                return await self._client.create(CONTROLLERREVISIONS, wanted), collisions
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
            metadata = wanted["metadata"]
            there = await self._client.get(CONTROLLERREVISIONS, metadata["name"], metadata["namespace"])
            reference = controller_of(there)
            if reference and reference["uid"] == owner["metadata"]["uid"] and there.get("data") == wanted["data"]:
                return there, collisions
            collisions = (collisions or 0) + 1

    async def delete(self, revision: Object) -> None:
        metadata = revision["metadata"]
        try:
            await self._client.delete(
                CONTROLLERREVISIONS, metadata["name"], metadata["namespace"], preconditions={"uid": metadata["uid"]}
            )
        except ApiError as error:
            if error.code != 404:
                raise
