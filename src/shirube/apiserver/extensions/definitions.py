"""The server's table of resources follows the stored CustomResourceDefinitions.

For each definition: settle its names and conditions (`api.crd.naming`), put the resources of its served versions into
the table, and, once it is being deleted, see to it that its objects go first (`finalization`). Everything is
derived from the stored definitions, one after the other in one task, so that names are given once. A definition that
cannot be understood, which only a store written by other means can hold, is logged and not served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import errors
from shirube.api.crd import naming
from shirube.api.gvr import GVR
from shirube.api.resources import BUILTIN, OPTIONAL, Resource
from shirube.apiserver import stored
from shirube.apiserver.extensions import conversion, finalization
from shirube.apiserver.watcher import WatchEnded
from shirube.foundation import log, tasks
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.apiserver.cache_entry import Entry
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]

DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
RETRY = 1.0

_logger = log.get("extensions")


@dataclass(slots=True)
class Installed:
    """What the table holds of a definition, and what it was made from."""

    version: int  # the resourceVersion that was looked at last
    shape: bytes  # spec and names
    terminating: bool
    schemas: bytes
    fields: bytes
    since: int
    resources: list[Resource]
    kept_as: Resource  # the version that is stored, served or not


def _version(definition: Json) -> int:
    return int(definition["metadata"]["resourceVersion"])


class Definitions:
    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._installed: dict[str, Installed] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, tuple[int, Json]] = {}  # by key: revision and definition

    def _ours(self, resource: Resource) -> bool:
        """Whether the server serves it itself: that is not replaced."""
        own = OPTIONAL.by_gvr(resource.gvr)
        return BUILTIN.by_gvr(resource.gvr) is not None or (
            own is not None and self._server.table.by_gvr(resource.gvr) == own
        )

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
        found = self._decoded(cache.entries())
        for name in [n for n in self._installed if n not in found]:
            await self._uninstall(name)
        for definition in sorted(found.values(), key=_version):
            name = definition["metadata"]["name"]
            await asyncio.sleep(0)
            try:
                await self._one(definition, found)
            except errors.ApiError as error:
                if error.code not in (404, 409):  # gone or changed meanwhile: its event is on the way
                    _logger.error("cannot settle a definition", definition=name, error=error.message)
            except (KeyError, ValueError, TypeError, StopIteration) as error:
                _logger.error("cannot serve a definition", definition=name, exc_info=error)

    def _decoded(self, entries: Iterable[Entry]) -> dict[str, Json]:
        """The definitions by name; only those that changed are decoded. Read-only."""
        known, self._known = self._known, {}
        for entry in entries:
            held = known.get(entry.key)
            if held is None or held[0] != entry.revision:
                held = (entry.revision, stored.decode(entry.data))
            self._known[entry.key] = held
        return {definition["metadata"]["name"]: definition for _, definition in self._known.values()}

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
            resource = self._installed[name].kept_as if name in self._installed else None
            self._ending[name] = tasks.spawn(
                finalization.finalize(self._server, name, resource), name=f"finalize {name}"
            )

    # ------------------------------------------------------------------------------------ the table

    async def _install(self, definition: Json) -> None:
        name, spec = definition["metadata"]["name"], definition["spec"]
        before = self._installed.get(name)
        if before is not None and before.version == _version(definition):
            return
        shape = orjson.dumps([spec, definition["status"]["acceptedNames"]])
        terminating = naming.is_true(definition, naming.TERMINATING)
        if before is not None and (before.shape, before.terminating) == (shape, terminating):
            before.version = _version(definition)
            return
        schemas = orjson.dumps([[v["name"], v.get("schema"), v.get("storage")] for v in spec["versions"]])
        fields = orjson.dumps([v.get("selectableFields") for v in spec["versions"]])
        if before is not None and before.schemas == schemas:
            since = before.since
        else:
            since = await self._server.storage.current_revision()
        from shirube.api.crd import served  # schemas, patterns and rules: servers without definitions do without

        converter = conversion.converter_of(self._server, definition)
        resources, kept_as = served.resources_of(definition, converter, since)
        resources = [r for r in resources if not self._ours(r)]
        table = self._server.table
        kept = {r.gvr for r in resources}
        for old in before.resources if before is not None else ():
            if old.gvr not in kept:
                table.remove(old)
        for resource in resources:
            table.add(resource)
        self._installed[name] = Installed(
            _version(definition), shape, terminating, schemas, fields, since, resources, kept_as
        )
        if before is not None and before.shape != shape:
            # Watches are begun anew, with the new schemas; fields that objects are selected by are read anew.
            await self._server.caches.renew(kept_as, drop=before.fields != fields)
        await self._server.caches.of(kept_as).start()

    async def _uninstall(self, name: str) -> None:
        installed = self._installed.pop(name)
        for resource in installed.resources:
            self._server.table.remove(resource)
        await self._server.caches.renew(installed.kept_as, drop=True)
        running = self._ending.pop(name, None)
        if running is not None and running is not asyncio.current_task():
            await tasks.cancel(running)
