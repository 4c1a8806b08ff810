"""StorageObjectInUseProtection: volumes and claims are not gone before nobody uses them.

The finalizers are taken off by the protection controllers.
"""

from __future__ import annotations

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import AdmissionRequest

_FINALIZERS = {
    ("", "persistentvolumeclaims"): "kubernetes.io/pvc-protection",
    ("", "persistentvolumes"): "kubernetes.io/pv-protection",
    ("storage.k8s.io", "volumeattributesclasses"): "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection(Plugin):
    name = "StorageObjectInUseProtection"
    resources = frozenset(_FINALIZERS)

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        finalizer = _FINALIZERS[req.resource.group, req.resource.name]
        finalizers = req.obj["metadata"].get("finalizers") or []
        if finalizer not in finalizers:
            req.obj["metadata"]["finalizers"] = [*finalizers, finalizer]
