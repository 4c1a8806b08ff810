"""Objects for the server's own use: bootstrap, allocators and special handlers read and write through this.

Writes take the same steps as a request does (defaults, validation, managed fields, strategy, compare and
commit) except for authorisation and admission; `admit=True` adds admission, for handlers that write on behalf
of a user. What is returned is the caller's own copy, in the stored version of its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.gvr import GVR
from shirube.apiserver import create, delete, stored, update
from shirube.apiserver.user import SERVER, User
from shirube.apiserver.write import Preconditions, Write

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.context import ServerContext

MANAGER = "kube-apiserver"  # the field manager of what the server writes on its own account
Json = dict[str, Any]


class Store:
    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def _resource(self, gvr: GVR) -> Resource:
        resource = self._server.table.by_gvr(gvr)
        if resource is None:
            raise errors.path_not_found()
        return resource

    def _write(self, gvr: GVR, namespace: str, name: str, **more: Any) -> Write:
        more.setdefault("manager", MANAGER)
        return Write(self._server, self._resource(gvr), namespace, name, **more)

    async def get(self, gvr: GVR, namespace: str, name: str) -> Json:
        """The object as every acknowledged write left it; raises ApiError 404."""
        resource = self._resource(gvr)
        cache = await self._server.caches.fresh(resource)
        entry = cache.get(resource.key(namespace, name))
        if entry is None:
            raise errors.not_found(resource, name)
        return stored.decode(entry.data)

    async def list(self, gvr: GVR, namespace: str = "") -> list[Json]:
        resource = self._resource(gvr)
        cache = await self._server.caches.fresh(resource)
        return [stored.decode(e.data) for e in cache.entries(resource.prefix(namespace or None))]

    async def create(
        self,
        gvr: GVR,
        obj: Json,
        *,
        user: User = SERVER,
        dry_run: bool = False,
        admit: bool = False,
        manager: str = MANAGER,
    ) -> Json:
        """Raises ApiError 409 when it exists, 422 when it is not valid. `obj` belongs to the callee."""
        meta = obj["metadata"]
        w = self._write(
            gvr,
            meta.get("namespace", ""),
            meta.get("name", ""),
            user=user,
            dry_run=dry_run,
            admit=admit,
            manager=manager,
        )
        return stored.decode((await create.create(w, obj)).data)

    async def update(
        self,
        gvr: GVR,
        obj: Json,
        *,
        subresource: str = "",
        user: User = SERVER,
        dry_run: bool = False,
        admit: bool = False,
        manager: str = MANAGER,
    ) -> Json:
        """Replace; a resourceVersion in `obj` must match (409 otherwise)."""
        meta = obj["metadata"]
        w = self._write(
            gvr,
            meta.get("namespace", ""),
            meta["name"],
            subresource=subresource,
            user=user,
            dry_run=dry_run,
            admit=admit,
            manager=manager,
        )
        return stored.decode((await update.replace(w, obj)).data)

    async def guaranteed_update(
        self,
        gvr: GVR,
        namespace: str,
        name: str,
        change: Callable[[Json], Json | None],
        *,
        subresource: str = "",
        preconditions: Preconditions | None = None,
        user: User = SERVER,
        dry_run: bool = False,
        admit: bool = False,
        manager: str = MANAGER,
    ) -> Json:
        """Read, change and write until no other write comes between. `change` gets its own copy, may raise
        ApiError, and returns the new object, or None to leave everything as it is. It may be called again."""
        w = self._write(
            gvr,
            namespace,
            name,
            subresource=subresource,
            user=user,
            dry_run=dry_run,
            admit=admit,
            manager=manager,
        )
        return stored.decode((await update.guaranteed(w, change, preconditions)).data)

    async def delete(
        self,
        gvr: GVR,
        namespace: str,
        name: str,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        preconditions: Preconditions | None = None,
        user: User = SERVER,
        dry_run: bool = False,
        admit: bool = False,
    ) -> delete.Deleted:
        """Delete, or begin to, as grace and finalizers ask. Raises ApiError 404, 409 (preconditions)."""
        w = self._write(gvr, namespace, name, user=user, dry_run=dry_run, admit=admit)
        options = delete.DeleteOptions(grace_period_seconds, propagation_policy, preconditions)
        return await delete.delete(w, options)
