"""Admission for handlers that store nothing themselves, or not what they were sent.

A connection (exec, proxy …) and a subresource such as `pods/binding` pass the same plugins as other writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.apiserver.admission.request import AdmissionRequest

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]


async def admit(
    server: ServerContext, rc: RequestContext, operation: str, obj: Json | None, *, name: str = ""
) -> Json | None:
    """The object as the plugins left it. Raises ApiError."""
    assert rc.resource is not None
    request = AdmissionRequest(
        operation=operation,
        resource=rc.resource,
        subresource=rc.info.subresource,
        namespace=rc.namespace,
        name=name or rc.name,
        obj=obj,
        old=None,
        user=rc.user,
        dry_run=rc.dry_run,
        warnings=rc.warnings,
        annotations=rc.audit.annotations if rc.audit is not None else None,
    )
    await server.admission.mutate(request)
    await server.admission.validate(request)
    return request.obj


def only(rc: RequestContext, *verbs: str) -> None:
    """Raises ApiError 405 for any other verb."""
    if rc.info.verb not in verbs:
        raise errors.method_not_allowed(rc.resource or "", rc.info.verb)


def success(code: int) -> Json:
    """The Status that answers what has no object to answer with."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}
