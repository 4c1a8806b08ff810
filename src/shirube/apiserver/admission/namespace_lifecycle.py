"""NamespaceLifecycle: nothing is made in a namespace that does not exist or is going away.

Three namespaces cannot be deleted at all. A namespace that the cache does not know is asked for again, fresh,
because a client may create in a namespace the moment its creation is acknowledged (by another server).
"""

from __future__ import annotations

from shirube.api import errors
from shirube.api.errors import ApiError, Cause
from shirube.api.gvr import NAMESPACES
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, DELETE, UPDATE, AdmissionRequest

IMMORTAL = frozenset(("default", "kube-system", "kube-public"))


class NamespaceLifecycle(Plugin):
    name = "NamespaceLifecycle"
    operations = frozenset((CREATE, UPDATE, DELETE))

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.resource.group == "" and req.resource.name == "namespaces":
            if req.operation == DELETE and not req.subresource and req.name in IMMORTAL:
                raise req.refusal("this namespace may not be deleted")
            return
        if not req.resource.namespaced or req.operation == DELETE or _is_access_review(req):
            return
        namespace = self.server.reader.get(NAMESPACES, "", req.namespace)
        if namespace is None:
            try:
                namespace = await self.server.store.get(NAMESPACES, "", req.namespace)
            except ApiError as error:
                if error.code == 404:
                    raise errors.not_found(NAMESPACES, req.namespace) from None
                raise
        if req.operation == CREATE and (namespace.get("status") or {}).get("phase") == "Terminating":
            refusal = req.refusal(
                f"unable to create new content in namespace {req.namespace} because it is being terminated"
            )
            cause = Cause(
                "NamespaceTerminating", f"namespace {req.namespace} is being terminated", "metadata.namespace"
            )
            refusal.details = {**(refusal.details or {}), "causes": [cause.to_dict()]}
            raise refusal


def _is_access_review(req: AdmissionRequest) -> bool:
    # Somebody may ask what he may do in a namespace that does not exist.
    return req.resource.group == "authorization.k8s.io" and req.resource.name == "localsubjectaccessreviews"
