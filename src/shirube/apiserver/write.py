"""One write on its way: for whom, to what, under which options; and the steps that all writes share.

`create`, `update`, `patch` and `delete` are sequences of these steps. The order is upstream's (defaults,
field ownership, mutating admission, prepare, validation, validating admission, compare and commit). Everything
here works on the stored version of the kind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api import errors, managed_fields, scale, schema
from shirube.api.kinds import strategy_of
from shirube.apiserver import allocation, stored
from shirube.apiserver.admission.request import AdmissionRequest
from shirube.apiserver.user import SERVER, User

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.api.strategy import Strategy
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]

_NOTHING = nullcontext()


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What must be so for a write to happen; None does not care."""

    uid: str | None = None
    resource_version: str | None = None

    def check(self, resource: Any, name: str, meta: Json) -> None:
        """Raises ApiError 409 with upstream's wording."""
        uid, version = meta.get("uid", ""), meta.get("resourceVersion", "")
        if self.uid is not None and self.uid != uid:
            why = f"Precondition failed: UID in precondition: {self.uid}, UID in object meta: {uid}"
            raise errors.conflict(resource, name, why)
        if self.resource_version is not None and self.resource_version != version:
            why = (
                f"Precondition failed: ResourceVersion in precondition: {self.resource_version}, "
                f"ResourceVersion in object meta: {version}"
            )
            raise errors.conflict(resource, name, why)


class Written(NamedTuple):
    """The outcome: the object's bytes in the stored version with resourceVersion, and whether it is new."""

    data: bytes
    created: bool = False


@dataclass(slots=True)
class Write:
    server: ServerContext
    resource: Resource  # as served to the writer
    namespace: str
    name: str
    subresource: str = ""
    user: User = SERVER
    dry_run: bool = False
    manager: str = ""
    admit: bool = False  # whether admission has a say
    options: Json = field(default_factory=dict)  # CreateOptions etc. as admission sees them
    warnings: list[str] = field(default_factory=list)
    rewrite: bool = False  # what is stored is of another version: even a change of nothing is written
    annotations: dict[str, str] | None = None  # of the audit event of the request
    may_create: Callable[[], Awaitable[None]] | None = None  # raises when an update must not create

    @property
    def hub(self) -> Resource:
        return stored.hub(self.server.table, self.resource)

    @property
    def strategy(self) -> Strategy:
        """The rules of the version that it is written through; they hold for objects of the stored one."""
        return strategy_of(self.resource)

    @property
    def type(self) -> schema.Type | None:
        """The schema of the stored version; None for kinds that have none."""
        if self.resource.definition is not None:
            own: schema.Type = self.resource.definition.type
            return own
        hub = self.hub
        try:
            return schema.type_of(hub.group, hub.version, hub.kind)
        except KeyError:
            return None

    async def shown(self, data: bytes, revision: int) -> bytes:
        """Stored bytes as this write sees them: custom resources in the version of the request."""
        definition = self.resource.definition
        if definition is None:
            return data
        self.rewrite = not definition.stored_here(data)
        made: bytes = await definition.view(data, revision)
        return made

    async def encoded(self, obj: Json) -> bytes:
        """The bytes to store: those of custom resources in the version that is stored."""
        definition = self.resource.definition
        return stored.encode(obj if definition is None else await definition.store(obj))

    def own_fields(self, old: Json | None, new: Json) -> None:
        """Record in managedFields which fields this writer set."""
        type_ = self.type
        if type_ is not None:
            managed_fields.update_managers(
                old,
                new,
                type_,
                manager=self.manager,
                subresource=self.subresource,
                now=self.server.clock.now(),
                fragments=True,
            )

    def admission(self, operation: str, obj: Json | None, old: Json | None) -> AdmissionRequest | None:
        """What admission is asked about this write; None where it has no say."""
        if not self.admit:
            return None
        if self.subresource == "scale":  # is another kind to whoever looks at it
            obj, old = (scale.get_scale(self.resource, o) if o is not None else None for o in (obj, old))
        return AdmissionRequest(
            operation=operation,
            resource=self.hub,
            subresource=self.subresource,
            namespace=self.namespace,
            name=self.name,
            obj=obj,
            old=old,
            user=self.user,
            dry_run=self.dry_run,
            options=self.options,
            warnings=self.warnings,
            served=self.resource,
            annotations=self.annotations,
        )

    async def mutate(self, request: AdmissionRequest | None, obj: Json) -> Json:
        if request is None:
            return obj
        await self.server.admission.mutate(request)
        if self.subresource == "scale":
            scale.set_replicas(self.resource, obj, ((request.obj or {}).get("spec") or {}).get("replicas") or 0)
            return obj
        made = request.obj if request.obj is not None else obj
        if self.resource.definition is not None:
            self.resource.definition.complete(made)  # what admission added is held to the schema, too
        return made

    async def validate(self, request: AdmissionRequest | None) -> None:
        if request is not None:
            await self.server.admission.validate(request)

    @property
    def allocates(self) -> bool:
        """Whether storing this takes numbers from a common range (cluster IPs, node ports)."""
        return self.resource.name == "services" and not self.resource.group and self.subresource != "status"

    def allocation(self, new: Json, old: Json | None) -> AbstractAsyncContextManager[None]:
        """Around the commit: numbers are reserved before, given back when it fails, settled when it happened."""
        return self._allocation(new, old) if self.allocates else _NOTHING

    @asynccontextmanager
    async def _allocation(self, new: Json, old: Json | None) -> AsyncIterator[None]:
        if old is None:
            reserved = await allocation.on_create(self.server, new, dry_run=self.dry_run)
        else:
            reserved = await allocation.on_update(self.server, new, old, dry_run=self.dry_run)
        try:
            yield
        except BaseException:
            await reserved.rollback()
            raise
        await reserved.settle()

    async def release(self, old: Json) -> None:
        """The object is gone: give back what it had."""
        if self.allocates and not self.dry_run:
            await allocation.on_delete(self.server, old)

    def refuse(self, obj: Json, causes: list[errors.Cause]) -> None:
        """Raises ApiError 422 when there are causes."""
        if causes:
            hub = self.hub
            raise errors.invalid(hub.group, hub.kind, obj["metadata"].get("name") or self.name, causes)
