"""NamespaceExists: nothing is written in a namespace that does not exist. Off by default.

NamespaceLifecycle, which is on, sees to the same for whatever is created or updated.
"""

from __future__ import annotations

from shirube.api.gvr import NAMESPACES
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, DELETE, UPDATE, AdmissionRequest


class NamespaceExists(Plugin):
    name = "NamespaceExists"
    operations = frozenset((CREATE, UPDATE, DELETE))

    async def validate(self, req: AdmissionRequest) -> None:
        if not req.resource.namespaced or not req.namespace:
            return
        if self.server.reader.get(NAMESPACES, "", req.namespace) is None:
            await self.server.store.get(NAMESPACES, "", req.namespace)  # the cache may be behind; raises ApiError 404
