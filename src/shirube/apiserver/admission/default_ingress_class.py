"""DefaultIngressClass: an ingress that names no class gets the default one."""

from __future__ import annotations

from shirube.api.gvr import INGRESSCLASSES
from shirube.apiserver.admission import default_class
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import AdmissionRequest

_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
_OLD_CLASS = "kubernetes.io/ingress.class"


class DefaultIngressClass(Plugin):
    name = "DefaultIngressClass"
    resources = frozenset((("networking.k8s.io", "ingresses"),))

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        spec = req.obj.setdefault("spec", {})
        named = _OLD_CLASS in (req.obj["metadata"].get("annotations") or {})
        if spec.get("ingressClassName") is not None or named:
            return
        chosen = default_class.choose(self.server.reader.list(INGRESSCLASSES), _DEFAULT)
        if chosen is not None:
            spec["ingressClassName"] = chosen["metadata"]["name"]
