"""May they? The question put to the authoriser, and the 403 that refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shirube.apiserver.attributes import Attributes

if TYPE_CHECKING:
    from shirube.apiserver.audit.events import Record
    from shirube.apiserver.context import RequestContext, ServerContext


async def check(server: ServerContext, attributes: Attributes, record: Record | None = None) -> None:
    """Raises ApiError 403. `record` is told of the decision, for the audit log."""
    decision = await server.authorizer.authorize(attributes)
    if record is not None:
        record.annotations["authorization.k8s.io/decision"] = "allow" if decision.allowed else "forbid"
        record.annotations["authorization.k8s.io/reason"] = decision.reason
    if not decision.allowed:
        raise server.authorizer.refusal(attributes, decision)


async def as_create(rc: RequestContext) -> None:
    """An update or apply that turns out to make the object needs the right to create it, too."""
    await check(rc.server, replace(rc.attributes, verb="create"))
