"""Binding: a pod gets its node. Once, and only while it waits for one.

`pods/binding`, and the older collection `bindings`. The change is written as a compare-and-commit of the pod
itself, not as an update of it: an update may not touch `spec.nodeName`, and nothing else changes, so there is
nothing to validate. The scheduler does this thousands of times a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.errors import Cause
from shirube.api.gvr import PODS
from shirube.apiserver import stored, update
from shirube.apiserver.subresources.admitting import admit, only, success
from shirube.apiserver.write import Preconditions, Write
from shirube.foundation.clock import rfc3339
from shirube.serving.messages import Response
from shirube.storage.types import CompareFailed, Put

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]
_PODS_BINDING = "pods/binding"


async def bind(server: ServerContext, rc: RequestContext) -> Response:
    """POST of a Binding."""
    only(rc, "create")
    binding = await rc.body("", "v1", "Binding")
    meta = binding["metadata"]
    name = rc.name or meta.get("name", "")
    if rc.name and meta.get("name") and meta["name"] != rc.name:
        raise errors.bad_request("name in URL does not match name in Binding object")
    if not rc.name:
        rc.attributes.name = name
    _check(binding, name)
    binding = await admit(server, rc, "CREATE", binding, name=name) or binding
    resource = server.table.by_gvr(PODS)
    assert resource is not None
    manager = (rc.request.headers.get("user-agent") or "").partition("/")[0]
    w = Write(
        server,
        resource,
        rc.namespace,
        name,
        "binding",
        user=rc.user,
        dry_run=rc.dry_run,
        manager=rc.params.get("fieldManager") or manager,
    )
    await _assign(w, binding)
    return rc.respond(success(201), 201)


def _check(binding: Json, name: str) -> None:
    target = binding.get("target") or {}
    causes = []
    if target.get("kind") not in ("Node", "", None):
        causes.append(Cause.not_supported("target.kind", target["kind"], ["Node", "<empty>"]))
    if not target.get("name"):
        causes.append(Cause.required("target.name"))
    if causes:
        raise errors.invalid("", "Binding", name, causes)


async def _assign(w: Write, binding: Json) -> None:
    meta = binding["metadata"]
    preconditions = Preconditions(meta.get("uid") or None, meta.get("resourceVersion") or None)
    found = await update.current(w)
    for _ in range(update.TRIES):
        if found is None:
            raise errors.not_found(w.resource, w.name)
        data, revision = found
        old, pod = stored.decode(data), stored.decode(data)
        preconditions.check(_PODS_BINDING, w.name, old["metadata"])
        assign(pod, binding, rfc3339(w.server.clock.now()))
        w.own_fields(old, pod)
        if w.dry_run:
            return
        try:
            await update.commit(w, Put(w.hub.key(w.namespace, w.name), stored.encode(pod)), revision, pod)
            return
        except CompareFailed as failure:
            found = await update.found_in(w, failure.current)
    raise errors.conflict(_PODS_BINDING, w.name)


def assign(pod: Json, binding: Json, now: str) -> None:
    """Give the pod the node of the binding, in place. Raises ApiError 409 when it may not have it."""
    meta, spec = pod["metadata"], pod["spec"]
    name = meta["name"]
    why = ""
    if meta.get("deletionTimestamp"):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise errors.conflict(_PODS_BINDING, name, why)
    spec["nodeName"] = binding["target"]["name"]
    for key in ("annotations", "labels"):
        if added := binding["metadata"].get(key):
            meta[key] = {**(meta.get(key) or {}), **added}
    status = pod.setdefault("status", {})
    status.pop("nominatedNodeName", None)
    conditions = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
    scheduled: Json = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
    if meta.get("generation"):
        scheduled["observedGeneration"] = meta["generation"]
    status["conditions"] = [*conditions, scheduled]
