"""OwnerReferencesPermissionEnforcement: owners are set by those who could do as much by themselves. Off by default.

An owner's end is the end of what it owns, so changing the owners of an object takes the right to delete the object;
who creates one could have left it. `blockOwnerDeletion` holds the owner's deletion up, which takes the right to update
the owner's finalizers (`RESOURCE/finalizers`).
"""

from __future__ import annotations

from typing import Any

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest
from shirube.apiserver.attributes import Attributes

Json = dict[str, Any]


class OwnerReferencesPermissionEnforcement(Plugin):
    name = "OwnerReferencesPermissionEnforcement"
    operations = frozenset((CREATE, UPDATE))

    def handles(self, operation: str, group: str, resource: str, subresource: str) -> bool:
        # A pod's status cannot change its owners, and node agents that write it have no right to delete the pod.
        return (group, resource, subresource) != ("", "pods", "status") and super().handles(
            operation, group, resource, subresource
        )

    async def validate(self, req: AdmissionRequest) -> None:
        before, after = _owners(req.old), _owners(req.obj)
        if before == after:
            return
        if req.operation != CREATE:
            what = req.requested
            asked = Attributes(req.user, "delete", what.group, what.version, what.name, req.subresource)
            asked.namespace, asked.name = req.namespace, req.name
            if (refused := await self._refused(asked)) is not None:
                raise req.refusal(f"cannot set an ownerRef on a resource you can't delete: {refused}")
        blocked_before = {owner.get("uid") for owner in before if owner.get("blockOwnerDeletion")}
        for owner in after:
            if owner.get("blockOwnerDeletion") and owner.get("uid") not in blocked_before:
                await self._may_block(req, owner)

    async def _may_block(self, req: AdmissionRequest, owner: Json) -> None:
        named, kind = str(owner.get("apiVersion", "")), str(owner.get("kind", ""))
        group, _, version = named.rpartition("/")
        resource = self.server.table.by_kind(group, version, kind)
        if resource is None:
            raise req.refusal(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for "
                f'APIVersion {named} Kind {kind}: no matches for kind "{kind}" in version "{named}"'
            )
        asked = Attributes(req.user, "update", resource.group, resource.version, resource.name, "finalizers")
        # An owner lives where what it owns lives, or in no namespace.
        asked.namespace = req.namespace if resource.namespaced else ""
        asked.name = str(owner.get("name", ""))
        if (refused := await self._refused(asked)) is not None:
            raise req.refusal(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers "
                f"on: {refused}"
            )

    async def _refused(self, asked: Attributes) -> str | None:
        """Why not, in upstream's form: the reason and the error. None: the user may."""
        decision = await self.server.authorizer.authorize(asked)
        return None if decision.allowed else f"{decision.reason}, <nil>"


def _owners(obj: Json | None) -> list[Json]:
    return ((obj or {}).get("metadata") or {}).get("ownerReferences") or []
