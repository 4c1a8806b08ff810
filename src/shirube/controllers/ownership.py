"""Who owns what: controllerRefs, adoption of matching orphans, release of those that match no more.

Upstream: "ControllerRef" (kubernetes/design-proposals, apimachinery/controller-ref.md). At most one owner
reference has `controller: true`. A controller adopts orphans that its selector matches, and lets go of its
own that it matches no more; before adopting it reads its own object again, so that an owner already deleted
adopts nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from shirube.api.errors import ApiError
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


def owned_and_orphans(informer: Informer, owner: Object) -> list[Object]:
    store = informer.store
    metadata = owner["metadata"]
    return [
        *store.by_index(BY_CONTROLLER, metadata["uid"]),
        *store.by_index(BY_CONTROLLER, ORPHANS + metadata["namespace"]),
    ]


def deleting(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


@dataclass(slots=True)
class Claims:
    """A plan: what is ours, what becomes ours, what is let go."""

    owned: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def plan_claims(owner: Object, candidates: Iterable[Object], selector: LabelSelector) -> Claims:
    """Candidates are the owner's own and the orphans of its namespace."""
    claims = Claims()
    uid, owner_deleting = owner["metadata"]["uid"], deleting(owner)
    for obj in candidates:
        reference = controller_of(obj)
        matches = selector.matches(obj["metadata"].get("labels") or {})
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
        wanted: Callable[[Object], bool] = lambda _: True,
        finalizer: str = "",
    ) -> list[Object]:
        """What is ours afterwards. `wanted` filters orphans (inactive pods are not adopted)."""
        claims = plan_claims(owner, candidates, selector)
        adopt = [obj for obj in claims.adopt if wanted(obj)]
        for obj in claims.release:
            await self._release(owner, obj)
        if not adopt:
            return claims.owned
        if not await self._may_adopt(owner):
            return claims.owned
        adopted = [new for obj in adopt if (new := await self._adopt(owner, obj, finalizer))]
        return claims.owned + adopted

    async def _may_adopt(self, owner: Object) -> bool:
        metadata = owner["metadata"]
        fresh = await self._client.get(self._owner, metadata["name"], metadata["namespace"])
        return fresh["metadata"]["uid"] == metadata["uid"] and not deleting(fresh)

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

    async def _release(self, owner: Object, obj: Object) -> None:
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


async def _quietly(work: Awaitable[Object]) -> Object | None:
    """Gone, or another one by that name by now: nothing to claim."""
    try:
        return await work
    except ApiError as error:
        if error.code in (404, 422):
            return None
        raise
