"""ComponentStatus: how the other parts of the control plane are. Deprecated upstream, still asked for.

The store answers for itself; the controllers and the scheduler are as healthy as their leader election is fresh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.gvr import LEASES
from shirube.apiserver import encoding
from shirube.apiserver.subresources.admitting import only
from shirube.foundation.clock import parse_rfc3339
from shirube.serving.messages import Response
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]
_LEASES = {"scheduler": "kube-scheduler", "controller-manager": "kube-controller-manager"}
NAMES = ("scheduler", "controller-manager", "etcd-0")


async def read(server: ServerContext, rc: RequestContext) -> Response:
    only(rc, "get", "list")
    rc.warnings.append("v1 ComponentStatus is deprecated in v1.19+")
    if rc.info.verb == "get":
        if rc.name not in NAMES:
            raise errors.not_found(rc.resource, rc.name)
        return rc.respond(await _status(server, rc.name))
    items = [await _status(server, name) for name in NAMES]
    wanted = encoding.wanted_for(rc, "v1", "ComponentStatusList")
    if wanted.transform and rc.resource is not None:
        shown = encoding.transform(rc, rc.resource, items, wanted)
        return Response(200, encoding.serialize(shown, wanted.media), encoding.headers(rc), wanted.media)
    for item in items:
        del item["kind"], item["apiVersion"]
    return rc.respond({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": items})


async def _status(server: ServerContext, name: str) -> Json:
    error = await _store(server) if name == "etcd-0" else _leader(server, _LEASES[name])
    condition = {"type": "Healthy", "status": "False" if error else "True"}
    condition |= {"message": error, "error": error} if error else {"message": "ok"}
    return {
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "conditions": [condition],
    }


async def _store(server: ServerContext) -> str:
    try:
        await server.storage.current_revision()
    except StorageError as error:
        return f"the store does not answer: {error}"
    return ""


def _leader(server: ServerContext, lease: str) -> str:
    found = server.reader.get(LEASES, "kube-system", lease)
    spec = (found or {}).get("spec") or {}
    if not spec.get("renewTime"):
        return "nobody holds its lease"
    age = server.clock.now() - parse_rfc3339(spec["renewTime"])
    if age > spec.get("leaseDurationSeconds", 15):
        return f"its lease was last renewed {int(age)} seconds ago"
    return ""
