"""The generic resource handler: every verb on every stored kind, as a table from verb to function.

Each turns a request into an operation of `create`, `update`, `patch`, `delete`, `listing` or `watching`, and its
outcome into an answer. What differs between kinds is in their strategies; what differs between served versions is
converted at this border.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.apiserver import (
    authorizing,
    caches,
    create,
    decoding,
    delete,
    encoding,
    listing,
    past,
    patch,
    stored,
    update,
    watching,
)
from shirube.apiserver.negotiation import media_type
from shirube.apiserver.write import Write, Written
from shirube.serving.messages import Response
from shirube.storage.types import Compacted, FutureRevision

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.context import RequestContext, RouteHandler, ServerContext

Json = dict[str, Any]

MAX_MANAGER = 128
DELETE_WORKERS = 16
LOOK_BACK = "atRevision"  # our own: GET an object as it was


# ---------------------------------------------------------------------------------------- reads


async def get(server: ServerContext, rc: RequestContext) -> Response:
    resource = rc.resource
    assert resource is not None
    key = resource.key(rc.namespace, rc.name)
    version = 0
    if rc.params.given:
        if LOOK_BACK in rc.params:
            return await _get_at(server, rc, key)
        version = listing.revision_of(rc.params.get("resourceVersion"))
    if version:
        cache = await server.caches.at_least(resource, version)
    else:
        cache = await server.caches.fresh(resource)
    entry = cache.get(key)
    if entry is None:
        raise errors.not_found(resource, rc.name)
    if resource.definition is not None:
        return encoding.respond_stored(rc, await resource.definition.view(entry.data, entry.revision))
    return encoding.respond_entry(rc, entry)


async def _get_at(server: ServerContext, rc: RequestContext, key: str) -> Response:
    revision = listing.revision_of(rc.params.get(LOOK_BACK))
    try:
        found = await server.storage.get(key, revision)
    except Compacted:
        raise errors.expired(f"revision {revision} is no longer held") from None
    except FutureRevision as error:
        raise caches.too_large_version(error.revision, error.current) from None
    if found is None:
        raise errors.not_found(rc.resource, rc.name)
    data = stored.splice(found.value, found.mod_revision)
    if rc.resource is not None and rc.resource.definition is not None:
        data = await rc.resource.definition.view(data, found.mod_revision)
    return encoding.respond_stored(rc, data)


# ---------------------------------------------------------------------------------------- writes


def manager_of(rc: RequestContext, kind: str = "UpdateOptions") -> str:
    """Who owns the fields of this write: `fieldManager`, or the program name of the User-Agent."""
    manager = rc.params.get("fieldManager")
    if not manager:
        agent = rc.request.headers.get("user-agent") or ""
        manager = agent.partition("/")[0].strip()
        if not manager.isprintable():
            manager = "".join(c for c in manager if c.isprintable())
        return manager[:MAX_MANAGER] or "unknown"
    causes = []
    if len(manager) > MAX_MANAGER:
        causes.append(errors.Cause.too_long("fieldManager", MAX_MANAGER))
    if not manager.isprintable():
        causes.append(errors.Cause.invalid("fieldManager", manager, "should only contain printable characters"))
    if causes:
        raise errors.invalid("meta.k8s.io", kind, "", causes)
    return manager


def write_of(rc: RequestContext, kind: str) -> Write:
    assert rc.resource is not None
    params = rc.params
    options: Json = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    dry_run = params.dry_run(kind) if params else False
    if dry_run:
        options["dryRun"] = ["All"]
    if params:
        options |= {name: params.get(name) for name in ("fieldManager", "fieldValidation") if name in params}
    return Write(
        rc.server,
        rc.resource,
        rc.namespace,
        rc.name,
        rc.info.subresource,
        rc.user,
        dry_run,
        manager_of(rc, kind),
        True,
        options,
        rc.warnings,
        annotations=rc.audit.annotations if rc.audit is not None else None,
    )


async def _body(rc: RequestContext) -> Json:
    resource = rc.resource
    assert resource is not None
    obj = await decoding.body_of_kind(rc, resource.group, resource.version, resource.kind)
    return stored.to_hub(rc.server.table, resource, obj)


async def post(server: ServerContext, rc: RequestContext) -> Response:
    w = write_of(rc, "CreateOptions")
    written = await create.create(w, await _body(rc))
    return encoding.respond_stored(rc, written.data, 201)


def _answer(rc: RequestContext, written: Written) -> Response:
    return encoding.respond_stored(rc, written.data, 201 if written.created else 200)


async def put(server: ServerContext, rc: RequestContext) -> Response:
    w = write_of(rc, "UpdateOptions")
    if w.strategy.allow_create_on_update and not w.subresource:
        w.may_create = lambda: authorizing.as_create(rc)
    return _answer(rc, await update.replace(w, await _body(rc)))


async def do_patch(server: ServerContext, rc: RequestContext) -> Response:
    return _answer(rc, await patch.patch(rc, write_of(rc, "PatchOptions")))


async def _delete_options(rc: RequestContext) -> delete.DeleteOptions:
    """From the body, else from the query, as upstream."""
    body = await decoding.read(rc)
    if body:
        media = media_type(rc.request.headers.get("content-type"))
        obj = decoding.parse_options(body, media)
    else:
        params = rc.params
        obj = {}
        if "gracePeriodSeconds" in params:
            obj["gracePeriodSeconds"] = params.integer("gracePeriodSeconds")
        if params.get("propagationPolicy"):
            obj["propagationPolicy"] = params.get("propagationPolicy")
        if "orphanDependents" in params:
            obj["orphanDependents"] = params.flag("orphanDependents")
    if obj.get("dryRun"):
        rc.params.set_dry_run(obj["dryRun"])
    return delete.DeleteOptions.of(obj)


async def do_delete(server: ServerContext, rc: RequestContext) -> Response:
    options = await _delete_options(rc)
    w = write_of(rc, "DeleteOptions")
    deleted = await delete.delete(w, options)
    resource = rc.resource
    assert resource is not None
    if deleted.gone and (resource.group, resource.name) not in delete.RETURN_DELETED:
        return encoding.respond(rc, delete.status(w, deleted.data))
    status = 202 if not deleted.gone and options.orphan_dependents is False else 200
    return encoding.respond_stored(rc, deleted.data, status)


async def delete_collection(server: ServerContext, rc: RequestContext) -> Response:
    """Every object that a list with the same parameters answers; several at a time."""
    options = await _delete_options(rc)
    w = write_of(rc, "DeleteOptions")
    page = await listing.read(server, rc)
    gate = asyncio.Semaphore(DELETE_WORKERS)
    outcome: list[bytes | None] = [None] * len(page.items)

    async def one(n: int, data: bytes) -> None:
        meta = stored.decode(data)["metadata"]
        each = Write(
            server,
            w.resource,
            meta.get("namespace", ""),
            meta["name"],
            "",
            w.user,
            w.dry_run,
            w.manager,
            True,
            w.options,
            w.warnings,
            annotations=w.annotations,
        )
        async with gate:
            try:
                outcome[n] = (await delete.delete(each, options)).data
            except errors.ApiError as error:
                if error.code != 404:
                    raise

    try:
        async with asyncio.TaskGroup() as group:
            for n, data in enumerate(i.data for i in page.items):
                group.create_task(one(n, data), name="delete-collection")
    except* errors.ApiError as failed:
        raise failed.exceptions[0] from None
    done = listing.Page(
        [past.Bytes(d) for d in outcome if d is not None], page.revision, page.more_after, page.remaining
    )
    return listing.respond(rc, done)


# Verbs of a stored resource, and of its subresources that only say which part of the object changes.
VERBS = {
    "get": get,
    "list": listing.handle,
    "watch": watching.handle,
    "create": post,
    "update": put,
    "patch": do_patch,
    "delete": do_delete,
    "deletecollection": delete_collection,
}
PART_VERBS = {"get": get, "update": put, "patch": do_patch}


def handler(resource: Resource, subresource: str, verb: str) -> RouteHandler | None:
    """The function for a verb on a stored resource; None when it does not have it."""
    if not subresource:
        return VERBS.get(verb) if verb in resource.verbs else None
    declared = resource.subresources.get(subresource)
    if declared is None or verb not in declared.verbs:
        return None
    return PART_VERBS.get(verb) if subresource in update.PARTS else None
