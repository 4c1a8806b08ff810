"""The server's table of resources follows the stored CustomResourceDefinitions.

For each definition: settle its names and conditions (`api.crd.naming`), put the resources of its served versions into
the table, and, once it is being deleted, see to it that its objects go first (`finalization`). Everything is
derived from the stored definitions, one after the other in one task, so that names are given once. A definition that
cannot be understood, which only a store written by other means can hold, is logged and not served.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import errors
from shirube.api.crd import naming
from shirube.api.gvr import GVR
from shirube.api.resources import BUILTIN, Resource
from shirube.apiserver import stored
from shirube.apiserver.extensions import conversion, finalization
from shirube.apiserver.watcher import WatchEnded
from shirube.foundation import log, tasks
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]

DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
RETRY = 1.0

_logger = log.get("extensions")


@dataclass(slots=True)
class Installed:
    """What the table holds of a definition, and what it was made from."""

    shape: bytes  # spec and names
    terminating: bool
    schemas: bytes
    fields: bytes
    since: int
    resources: list[Resource]


class Definitions:
    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._installed: dict[str, Installed] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}

    async def load(self) -> None:
        """Serve what is established already; before the server is ready."""
        cache = await self._server.caches.fresh(self._resource())
        for entry in cache.entries():
            definition = stored.decode(entry.data)
            if naming.is_true(definition, naming.ESTABLISHED):
                await self._install(definition)

    async def run(self) -> None:
        """Follow the definitions until cancelled."""
        try:
            while True:
                try:
                    await self._follow()
                except WatchEnded:
                    await asyncio.sleep(0)
                except (StorageError, errors.ApiError) as error:
                    _logger.error("cannot follow definitions, trying again", error=str(error))
                    await asyncio.sleep(RETRY)
        finally:
            await tasks.cancel(*self._ending.values())

    def _resource(self) -> Resource:
        resource = self._server.table.by_gvr(DEFINITIONS)
        assert resource is not None
        return resource

    async def _follow(self) -> None:
        cache = await self._server.caches.fresh(self._resource())
        watcher = cache.watch(after_revision=cache.revision)
        try:
            await self._settle()
            while True:
                await watcher.next_batch()
                await self._settle()
        finally:
            watcher.close()

    async def _settle(self) -> None:
        """Bring names, table and finalizations to what the definitions say now. Definitions are few: all of them are
        looked at, oldest first, so that who came first keeps a name."""
        cache = await self._server.caches.fresh(self._resource())
        found = {d["metadata"]["name"]: d for d in (stored.decode(e.data) for e in cache.entries())}
        for name in [n for n in self._installed if n not in found]:
            await self._uninstall(name)
        for definition in sorted(found.values(), key=lambda d: int(d["metadata"]["resourceVersion"])):
            name = definition["metadata"]["name"]
            try:
                await self._one(definition, found)
            except errors.ApiError as error:
                if error.code not in (404, 409):  # gone or changed meanwhile: its event is on the way
                    _logger.error("cannot settle a definition", definition=name, error=error.message)
            except (KeyError, ValueError, TypeError, StopIteration) as error:
                _logger.error("cannot serve a definition", definition=name, exc_info=error)

    async def _one(self, definition: Json, found: dict[str, Json]) -> None:
        name, group = definition["metadata"]["name"], definition["spec"]["group"]
        others = [d for n, d in found.items() if n != name and d["spec"]["group"] == group]
        status = naming.settled(definition, others, self._server.clock.now())
        if status != definition.get("status"):
            if any(c["type"] == naming.ESTABLISHED and c["status"] == "True" for c in status["conditions"]):
                await self._install({**definition, "status": status})  # served before it is said to be
            definition = found[name] = await self._write_status(definition, status)
        elif naming.is_true(definition, naming.ESTABLISHED):
            await self._install(definition)
        if definition["metadata"].get("deletionTimestamp"):
            self._finalize(definition)

    async def _write_status(self, definition: Json, status: Json) -> Json:
        version = definition["metadata"]["resourceVersion"]

        def change(old: Json) -> Json | None:
            if old["metadata"]["resourceVersion"] != version:
                raise errors.conflict(DEFINITIONS, old["metadata"]["name"])
            return {**old, "status": status}

        return await self._server.store.guaranteed_update(
            DEFINITIONS, "", definition["metadata"]["name"], change, subresource="status"
        )

    def _finalize(self, definition: Json) -> None:
        name = definition["metadata"]["name"]
        running = self._ending.get(name)
        if finalization.FINALIZER not in (definition["metadata"].get("finalizers") or ()):
            return
        if running is None or running.done():
            resource = next((r for r in self._installed[name].resources), None) if name in self._installed else None
            self._ending[name] = tasks.spawn(
                finalization.finalize(self._server, name, resource), name=f"finalize {name}"
            )

    # ------------------------------------------------------------------------------------ the table

    async def _install(self, definition: Json) -> None:
        name, spec = definition["metadata"]["name"], definition["spec"]
        shape = orjson.dumps([spec, definition["status"]["acceptedNames"]])
        terminating = naming.is_true(definition, naming.TERMINATING)
        before = self._installed.get(name)
        if before is not None and (before.shape, before.terminating) == (shape, terminating):
            return
        schemas = orjson.dumps([[v["name"], v.get("schema"), v.get("storage")] for v in spec["versions"]])
        fields = orjson.dumps([v.get("selectableFields") for v in spec["versions"]])
        if before is not None and before.schemas == schemas:
            since = before.since
        else:
            since = await self._server.storage.current_revision()
        from shirube.api.crd import served  # schemas, patterns and rules: servers without definitions do without

        converter = conversion.converter_of(self._server, definition)
        resources = served.resources_of(definition, converter, since)
        resources = [r for r in resources if BUILTIN.by_gvr(r.gvr) is None]
        table = self._server.table
        kept = {r.gvr for r in resources}
        for old in before.resources if before is not None else ():
            if old.gvr not in kept:
                table.remove(old)
        for resource in resources:
            table.add(resource)
        self._installed[name] = Installed(shape, terminating, schemas, fields, since, resources)
        if before is not None and before.resources and before.shape != shape:
            # Watches are begun anew, with the new schemas; fields that objects are selected by are read anew.
            await self._server.caches.renew(before.resources[0], drop=before.fields != fields or not resources)
        if resources:
            await self._server.caches.of(resources[0]).start()

    async def _uninstall(self, name: str) -> None:
        installed = self._installed.pop(name)
        for resource in installed.resources:
            self._server.table.remove(resource)
        if installed.resources:
            await self._server.caches.renew(installed.resources[0], drop=True)
        running = self._ending.pop(name, None)
        if running is not None and running is not asyncio.current_task():
            await tasks.cancel(running)
