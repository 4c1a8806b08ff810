"""DefaultStorageClass: a claim that names no class gets the default one; one that names "" gets none."""

from __future__ import annotations

from shirube.api.gvr import STORAGECLASSES
from shirube.apiserver.admission import default_class
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import AdmissionRequest

_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_OLD_DEFAULT = "storageclass.beta.kubernetes.io/is-default-class"
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


class DefaultStorageClass(Plugin):
    name = "DefaultStorageClass"
    resources = frozenset((("", "persistentvolumeclaims"),))

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        spec = req.obj.setdefault("spec", {})
        named = _OLD_CLASS in (req.obj["metadata"].get("annotations") or {})
        if spec.get("storageClassName") is not None or named:
            return
        chosen = default_class.choose(self.server.reader.list(STORAGECLASSES), _DEFAULT, _OLD_DEFAULT)
        if chosen is not None:
            spec["storageClassName"] = chosen["metadata"]["name"]
