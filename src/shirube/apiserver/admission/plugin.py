"""What an admission plugin is: a name, the writes that it looks at, and one or both of two steps.

Plugins are made once per server and keep no state that matters. They read stored objects through
`server.reader` (read-only) and write, rarely, through `server.store`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shirube.apiserver.admission.request import AdmissionRequest

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext


class Plugin:
    """`mutate` may change `req.obj` in place; `validate` only looks. Both refuse by raising ApiError."""

    name = ""
    operations: frozenset[str] = frozenset(("CREATE",))
    # (group, resource or resource/subresource); None = every resource, main resources and subresources alike
    resources: frozenset[tuple[str, str]] | None = None

    def __init__(self, server: ServerContext) -> None:
        self.server = server

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
