"""One write on its way: for whom, to what, under which options; and the steps that all writes share.

`create`, `update`, `patch` and `delete` are sequences of these steps. The order is upstream's (defaults,
field ownership, mutating admission, prepare, validation, validating admission, compare and commit).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api import errors
from shirube.apiserver.user import SERVER, User

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What must be so for a write to happen; None does not care."""

    uid: str | None = None
    resource_version: str | None = None

    def check(self, resource: Any, name: str, meta: Json) -> None:
        """Raises ApiError 409 with upstream's wording."""
        if self.uid is not None and self.uid != meta.get("uid", ""):
            why = f"Precondition failed: UID in precondition: {self.uid}, UID in object meta: {meta.get('uid', '')}"
            raise errors.conflict(resource, name, why)
        if self.resource_version is not None and self.resource_version != meta.get("resourceVersion", ""):
            why = (
                f"Precondition failed: ResourceVersion in precondition: {self.resource_version}, "
                f"ResourceVersion in object meta: {meta.get('resourceVersion', '')}"
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
