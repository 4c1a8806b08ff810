"""What an admission plugin is: a name, the writes that it looks at, and one or both of two steps.

Plugins are made once per server and keep no state that matters. They read stored objects through
`server.reader` (read-only) and write, rarely, through `server.store`. One that can be configured says how its
configuration is read (`read`) and takes it before the first request (`configure`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from shirube.apiserver.admission.request import AdmissionRequest

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext


class Plugin:
    """`mutate` may change `req.obj` in place; `validate` only looks. Both refuse by raising ApiError."""

    name = ""
    operations: frozenset[str] = frozenset(("CREATE",))
    # (group, resource or resource/subresource); None = every resource, main resources and subresources alike
    resources: frozenset[tuple[str, str]] | None = None
    # What makes a configuration of what its file says (the value, the path for messages; raises
    # ConfigurationError); None: there is nothing to configure.
    read: ClassVar[staticmethod[[Any, str], Any] | None] = None
    must_be_configured: ClassVar[bool] = False

    def __init__(self, server: ServerContext) -> None:
        self.server = server

    def configure(self, configuration: Any) -> None:
        """Take what `read` has made. Raises ConfigurationError when it cannot be used after all."""

    def handles(self, operation: str, group: str, resource: str, subresource: str) -> bool:
        if operation not in self.operations:
            return False
        if self.resources is None:
            return True
        return (group, f"{resource}/{subresource}" if subresource else resource) in self.resources

    async def mutate(self, req: AdmissionRequest) -> None:
        """Change the object, or refuse it."""

    async def validate(self, req: AdmissionRequest) -> None:
        """Refuse the object, seen as it will be stored."""


PODS_ONLY = frozenset((("", "pods"),))
