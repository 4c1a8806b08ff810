"""TaintNodesByCondition: a new node takes no pods until its agent has said that it is ready."""

from __future__ import annotations

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import AdmissionRequest

NOT_READY = "node.kubernetes.io/not-ready"


class TaintNodesByCondition(Plugin):
    name = "TaintNodesByCondition"
    resources = frozenset((("", "nodes"),))

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        spec = req.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, {"effect": "NoSchedule", "key": NOT_READY}]
