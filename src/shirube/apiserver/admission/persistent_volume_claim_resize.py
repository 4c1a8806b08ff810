"""PersistentVolumeClaimResize: a claim grows only where its storage class can make volumes grow."""

from __future__ import annotations

from typing import Any

from shirube.api import quantity
from shirube.api.gvr import STORAGECLASSES
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import UPDATE, AdmissionRequest

Json = dict[str, Any]


class PersistentVolumeClaimResize(Plugin):
    name = "PersistentVolumeClaimResize"
    operations = frozenset((UPDATE,))
    resources = frozenset((("", "persistentvolumeclaims"),))

    async def validate(self, req: AdmissionRequest) -> None:
        old, new = req.old or {}, req.obj or {}
        if quantity.cmp(_size(new), _size(old)) <= 0:
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise req.refusal("Only bound persistent volume claims can be expanded")
        name = (new.get("spec") or {}).get("storageClassName") or ""
        found = self.server.reader.get(STORAGECLASSES, "", name) if name else None
        if found is None or not found.get("allowVolumeExpansion"):
            raise req.refusal(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize"
            )


def _size(claim: Json) -> str:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return str(requests.get("storage", "0"))
