"""The scale subresource: `spec.replicas` of any workload, read and written as one kind (autoscaling/v1 Scale).

Where a kind keeps its replicas and selector is a fact of `api.scale`; here a Scale is compared, checked and carried
over into the object, which is then written like any other update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import errors, scale
from shirube.apiserver import decoding, encoding, patch, stored, update
from shirube.apiserver import resource as resources
from shirube.apiserver.write import Preconditions
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]


async def get(server: ServerContext, rc: RequestContext) -> Response:
    resource = rc.resource
    assert resource is not None
    entry = (await server.caches.fresh(resource)).get(resource.key(rc.namespace, rc.name))
    if entry is None:
        raise errors.not_found(resource, rc.name)
    data = entry.data
    if resource.definition is not None:
        data = await resource.definition.view(data, entry.revision)
    return encoding.respond(rc, scale.get_scale(resource, stored.decode(data)))


async def put(server: ServerContext, rc: RequestContext) -> Response:
    wanted = await decoding.body_of_kind(rc, "autoscaling", "v1", "Scale")
    return await _change(server, rc, lambda current: wanted)


async def do_patch(server: ServerContext, rc: RequestContext) -> Response:
    apply = await patch.scale_patch(rc)
    return await _change(server, rc, apply)


async def _change(server: ServerContext, rc: RequestContext, make: Callable[[Json], Json]) -> Response:
    resource = rc.resource
    assert resource is not None
    w = resources.write_of(rc, "PatchOptions" if rc.info.verb == "patch" else "UpdateOptions")

    def change(old: Json) -> Json:
        current = scale.get_scale(resource, old)
        new = make(current)
        meta = new.get("metadata") or {}
        if meta.get("name", rc.name) != rc.name:
            raise errors.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({rc.name})"
            )
        Preconditions(meta.get("uid") or None).check(resource, rc.name, old["metadata"])
        if meta.get("resourceVersion") and meta["resourceVersion"] != old["metadata"]["resourceVersion"]:
            raise errors.conflict(resource, rc.name)
        replicas = (new.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or isinstance(replicas, bool):
            raise decoding.cannot_handle("Scale", "v1", "json: spec.replicas must be a whole number")
        if replicas < 0:
            cause = errors.Cause.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
            raise errors.invalid("autoscaling", "Scale", rc.name, [cause])
        scale.set_replicas(resource, old, replicas)
        return old

    written = await update.guaranteed(w, change)
    return encoding.respond(rc, scale.get_scale(resource, orjson.loads(written.data)))


VERBS = {"get": get, "update": put, "patch": do_patch}
