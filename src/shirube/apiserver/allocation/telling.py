"""Events that the API server tells of its own accord: recorded, counted and bounded as those of any other component.

`OwnEvents` is a sink for `client.events.EventRecorder` that needs no socket: what the recorder would send goes through
the server's own store, with admission, so that nothing is told into a namespace that is going away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.gvr import GVR
from shirube.api.patch import merge_patch
from shirube.apiserver import stored
from shirube.client.events import EventRecorder
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]


class OwnEvents:
    """Implements `client.events.Sink`."""

    def __init__(self, ctx: ServerContext, component: str) -> None:
        self._ctx = ctx
        self._component = component

    def _resource(self, gvr: GVR) -> Resource:
        resource = self._ctx.table.by_gvr(gvr)
        assert resource is not None, f"the table has no {gvr.resource}"
        return resource

    async def create(self, gvr: GVR, obj: Json, namespace: str | None = None) -> Json:
        resource, store = self._resource(gvr), self._ctx.store
        event = stored.to_hub(self._ctx.table, resource, obj)
        try:
            return await store.create(gvr, event, admit=True, manager=self._component)
        except StorageError as error:
            raise errors.service_unavailable(f"storage: {error}", 1) from None

    async def patch(self, gvr: GVR, name: str, patch: Any, namespace: str | None = None, type: str = "merge") -> Json:
        """What recorders patch are plain fields: every kind of patch says the same of them."""
        resource, table = self._resource(gvr), self._ctx.table

        def changed(event: Json) -> Json:
            served = stored.from_hub(table, resource, event)
            return stored.to_hub(table, resource, merge_patch.apply(served, patch))

        try:
            return await self._ctx.store.guaranteed_update(
                gvr, namespace or "", name, changed, admit=True, manager=self._component
            )
        except StorageError as error:
            raise errors.service_unavailable(f"storage: {error}", 1) from None


def recorder(ctx: ServerContext, component: str, style: str = "events.k8s.io") -> EventRecorder:
    return EventRecorder(OwnEvents(ctx, component), component, style=style, clock=ctx.clock)
