"""What a CEL expression sees of a write: `object`, `oldObject`, `request`, `namespaceObject`, `authorizer` …"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shirube.apiserver.policies import authorizer
from shirube.apiserver.webhooks import matching, review, versions

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.admission.request import AdmissionRequest
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]


async def variables(server: ServerContext, req: AdmissionRequest, resource: Resource) -> dict[str, Any]:
    """The variables of one write, seen in the version of `resource`."""
    obj = await versions.shown(req.obj, req.resource, resource)
    old = await versions.shown(req.old, req.resource, resource)
    obj = versions.plain(obj) if obj is not None else None
    request = review.request_of(req, "", resource, None, None)
    for absent in ("uid", "object", "oldObject"):
        request.pop(absent, None)
    request["kind"] = review.kind_of(resource, req, obj if obj is not None else old)
    request.setdefault("namespace", "")
    request.setdefault("name", "")
    request.setdefault("subResource", "")
    return {
        "object": obj,
        "oldObject": old,
        "request": request,
        "namespaceObject": _namespace(server, req),
        "authorizer": authorizer.root(req),
    }


def _namespace(server: ServerContext, req: AdmissionRequest) -> Json | None:
    """The Namespace that the write happens in; null for what is in none."""
    if matching.is_namespace(req):
        return None
    found = matching.namespace_object(server, req)
    return None if found is None else dict(found)


def functions(server: ServerContext, req: AdmissionRequest) -> Mapping[str, Any]:
    return authorizer.functions(server, req)
