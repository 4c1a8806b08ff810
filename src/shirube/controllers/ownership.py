"""Who owns what: controllerRefs, adoption of matching orphans, release of those that match no more.

Upstream: "ControllerRef" (kubernetes/design-proposals, apimachinery/controller-ref.md). At most one owner
reference has `controller: true`. A controller adopts orphans that its selector matches, and lets go of its
own that it matches no more; before adopting it reads its own object again, so that an owner already deleted
adopts nothing. Owner and owned are of one namespace: whoever writes another namespace's owner into an object gives it
to nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from shirube.api.errors import ApiError, conflict
from shirube.api.gvr import GVR
from shirube.api.selectors import LabelSelector
from shirube.client.informer import Informer
from shirube.client.rest import Client, Object

ORPHANS = "orphans:"
BY_CONTROLLER = "controller"


def controller_of(obj: Object) -> Object | None:
    """The owner reference with `controller: true`."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Object = reference
            return found
    return None


def controller_reference(owner: Object, api_version: str, kind: str) -> Object:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def index_by_controller(informer: Informer) -> None:
    """Objects by the uid of their controller; orphans by namespace."""

    def values(obj: Object) -> Iterable[str]:
        owner = controller_of(obj)
        return [str(owner["uid"])] if owner else [ORPHANS + obj["metadata"].get("namespace", "")]

    informer.add_index(BY_CONTROLLER, values)


def owned(informer: Informer, owner: Object) -> list[Object]:
    metadata = owner["metadata"]
    namespace = metadata["namespace"]
    return [
        obj
        for obj in informer.store.by_index(BY_CONTROLLER, metadata["uid"])
        if obj["metadata"].get("namespace") == namespace
    ]


def owned_and_orphans(informer: Informer, owner: Object) -> list[Object]:
    return [
        *owned(informer, owner),
        *informer.store.by_index(BY_CONTROLLER, ORPHANS + owner["metadata"]["namespace"]),
    ]


def deleting(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


@dataclass(slots=True)
class Claims:
    """A plan: what is ours, what becomes ours, what is let go."""

    owned: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def _anybody(_: Object) -> bool:
    return True


def plan_claims(
    owner: Object,
    candidates: Iterable[Object],
    selector: LabelSelector,
    member: Callable[[Object], bool] = _anybody,
) -> Claims:
    """Candidates are the owner's own and the orphans of its namespace. `member`: what else than the selector says
    whether one belongs to it (a StatefulSet's pods by their names)."""
    claims = Claims()
    uid, owner_deleting = owner["metadata"]["uid"], deleting(owner)
    for obj in candidates:
        reference = controller_of(obj)
        matches = selector.matches(obj["metadata"].get("labels") or {}) and member(obj)
        if reference is not None:
            if reference["uid"] != uid:
                continue
            if matches:
                claims.owned.append(obj)
            elif not owner_deleting:
                claims.release.append(obj)
        elif matches and not owner_deleting and not deleting(obj):
            claims.adopt.append(obj)
    return claims


class Claimer:
    """Carries claims out for one kind of owner (`gvr`, `kind`) and one kind of owned objects."""

    def __init__(self, client: Client, owner: GVR, owner_kind: str, owned: GVR) -> None:
        self._client = client
        self._owner, self._owner_kind, self._owned = owner, owner_kind, owned

    async def claim(
        self,
        owner: Object,
        candidates: Iterable[Object],
        selector: LabelSelector,
        wanted: Callable[[Object], bool] = _anybody,
        finalizer: str = "",
        member: Callable[[Object], bool] = _anybody,
    ) -> list[Object]:
        """What is ours afterwards. `wanted` filters orphans (inactive pods are not adopted). One that cannot be
        claimed or let go (somebody's webhook forbids it) does not stand in the way of the others."""
        claims = plan_claims(owner, candidates, selector, member)
        adopt = [obj for obj in claims.adopt if wanted(obj)]
        work = [partial(self._release, owner, obj) for obj in claims.release]
        if adopt:
            await self._check_owner(owner)
            work += [partial(self._adopt, owner, obj, finalizer) for obj in adopt]
        failure: ApiError | None = None
        for step in work:
            try:
                if (adopted := await step()) is not None:
                    claims.owned.append(adopted)
            except ApiError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return claims.owned

    async def _check_owner(self, owner: Object) -> None:
        """What our cache still calls alive may be on its way out, its pods let go on purpose: then nothing is adopted,
        and nothing made in their place either."""
        metadata = owner["metadata"]
        fresh = await self._client.get(self._owner, metadata["name"], metadata["namespace"])
        if fresh["metadata"]["uid"] != metadata["uid"] or deleting(fresh):
            raise conflict(self._owner, metadata["name"], "cannot adopt: it has been deleted since it was looked at")

    async def _adopt(self, owner: Object, obj: Object, finalizer: str) -> Object | None:
        metadata = obj["metadata"]
        reference = controller_reference(owner, self._owner.group_version, self._owner_kind)
        patch: Object = {"ownerReferences": [reference], "uid": metadata["uid"]}
        if finalizer:
            patch["finalizers"] = [finalizer]
        return await _quietly(
            self._client.patch(
                self._owned,
                metadata["name"],
                {"metadata": patch},
                metadata["namespace"],
                type="strategic",
            )
        )

    async def _release(self, owner: Object, obj: Object) -> Object | None:
        metadata = obj["metadata"]
        patch = {
            "ownerReferences": [{"$patch": "delete", "uid": owner["metadata"]["uid"]}],
            "uid": metadata["uid"],
        }
        await _quietly(
            self._client.patch(
                self._owned,
                metadata["name"],
                {"metadata": patch},
                metadata["namespace"],
                type="strategic",
            )
        )
        return None


async def _quietly(work: Awaitable[Object]) -> Object | None:
    """Gone, or another one by that name by now: nothing to claim."""
    try:
        return await work
    except ApiError as error:
        if error.code in (404, 422):
            return None
        raise
