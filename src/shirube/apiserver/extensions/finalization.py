"""Deleting a definition deletes its objects first.

A definition that is deleted gets a finalizer and the condition Terminating; nothing can be created any more. All its
objects are deleted like any others (their finalizers are waited for), and when none is left the finalizer goes, and
the definition with it. Follows apiextensions-apiserver ``pkg/controller/finalizer``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.crd import naming
from shirube.api.gvr import GVR
from shirube.apiserver import delete, stored
from shirube.apiserver.write import Write
from shirube.foundation import log
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]

DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
FIRST_WAIT, LONGEST_WAIT = 0.05, 5.0  # seconds between looks at what is left

_logger = log.get("extensions")


def begin(definition: Json, now: float) -> None:
    """What a deletion does to a definition, in place: the finalizer, and the condition that ends creations."""
    finalizers = definition["metadata"].setdefault("finalizers", [])
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    why = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    status = definition.setdefault("status", {})
    naming.set_condition(status, naming.TERMINATING, "True", "InstanceDeletionPending", why, now)


async def finalize(server: ServerContext, name: str, resource: Resource | None) -> None:
    """Delete all objects of a definition and let it go. Tried again until it is done."""
    wait = FIRST_WAIT
    while True:
        try:
            if resource is None:
                await _condition(server, name, "False", "NeverEstablished", "resource was never established", True)
                return
            if await _left(server, resource) == 0:
                await _condition(server, name, "False", "InstanceDeletionCompleted", "removed all instances", True)
                return
            if wait == FIRST_WAIT:
                why = "CustomResource deletion is in progress"
                await _condition(server, name, "True", "InstanceDeletionInProgress", why, False)
            await _delete_all(server, resource)
        except errors.ApiError as error:
            if error.code == 404:
                return
            _logger.warning("cannot finish a definition, trying again", definition=name, error=error.message)
        except StorageError as error:
            _logger.warning("cannot finish a definition, trying again", definition=name, error=str(error))
        await asyncio.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT)


async def _left(server: ServerContext, resource: Resource) -> int:
    return (await server.caches.fresh(resource)).count()


async def _delete_all(server: ServerContext, resource: Resource) -> None:
    for entry in list((await server.caches.fresh(resource)).entries()):
        meta = stored.decode(entry.data)["metadata"]
        if meta.get("deletionTimestamp"):
            continue
        w = Write(server, resource, meta.get("namespace", ""), meta["name"])
        try:
            await delete.delete(w, delete.DeleteOptions())
        except errors.ApiError as error:
            if error.code != 404:
                raise


async def _condition(server: ServerContext, name: str, value: str, reason: str, message: str, done: bool) -> None:
    """Set Terminating; with `done` take the finalizer away, after which the definition is gone."""
    now = server.clock.now()

    def tell(definition: Json) -> Json:
        naming.set_condition(definition["status"], naming.TERMINATING, value, reason, message, now)
        return definition

    await server.store.guaranteed_update(DEFINITIONS, "", name, tell, subresource="status")
    if not done:
        return

    def release(definition: Json) -> Json:
        meta = definition["metadata"]
        meta["finalizers"] = [f for f in meta.get("finalizers") or () if f != FINALIZER]
        return definition

    await server.store.guaranteed_update(DEFINITIONS, "", name, release)
