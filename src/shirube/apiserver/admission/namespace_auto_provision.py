"""NamespaceAutoProvision: a namespace comes into being when something is first created in it. Off by default.

The namespace passes admission as any other; a dry run makes none, and is told that there is none.
"""

from __future__ import annotations

from shirube.api.errors import ApiError
from shirube.api.gvr import NAMESPACES
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, AdmissionRequest


class NamespaceAutoProvision(Plugin):
    name = "NamespaceAutoProvision"
    operations = frozenset((CREATE,))

    async def mutate(self, req: AdmissionRequest) -> None:
        if not req.resource.namespaced or not req.namespace or req.dry_run:
            return
        if self.server.reader.get(NAMESPACES, "", req.namespace) is not None:
            return
        try:
            await self.server.store.create(NAMESPACES, {**_KIND, "metadata": {"name": req.namespace}}, admit=True)
        except ApiError as error:
            if error.reason != "AlreadyExists":  # somebody else was first, or our cache is behind
                raise req.refusal(f"cannot make namespace {req.namespace}: {error.message}") from error


_KIND = {"apiVersion": "v1", "kind": "Namespace"}
