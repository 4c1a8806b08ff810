"""RuntimeClass: a pod carries the overhead of its runtime and goes only where the runtime is (KEP-688)."""

from __future__ import annotations

from typing import Any

from shirube.api import quantity
from shirube.api.gvr import RUNTIMECLASSES
from shirube.apiserver.admission.plugin import PODS_ONLY, Plugin
from shirube.apiserver.admission.request import AdmissionRequest

Json = dict[str, Any]


class RuntimeClass(Plugin):
    name = "RuntimeClass"
    resources = PODS_ONLY

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        spec = req.obj.setdefault("spec", {})
        found = self._class(req, spec)
        if found is None:
            return
        overhead = (found.get("overhead") or {}).get("podFixed")
        if overhead:
            if spec.get("overhead") and not _same(spec["overhead"], overhead):
                raise req.refusal("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec["overhead"] = dict(overhead)
        scheduling = found.get("scheduling") or {}
        selector = dict(spec.get("nodeSelector") or {})
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.get(key, value) != value:
                raise req.refusal(
                    f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                    f"pod.spec.nodeSelector[{key}] = {selector[key]}"
                )
            selector[key] = value
        if selector:
            spec["nodeSelector"] = selector
        tolerations = list(spec.get("tolerations") or ())
        tolerations += [dict(t) for t in scheduling.get("tolerations") or () if t not in tolerations]
        if tolerations:
            spec["tolerations"] = tolerations

    async def validate(self, req: AdmissionRequest) -> None:
        spec = (req.obj or {}).get("spec") or {}
        found = self._class(req, spec)
        overhead = ((found or {}).get("overhead") or {}).get("podFixed")
        if spec.get("overhead") and not overhead:
            raise req.refusal("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")

    def _class(self, req: AdmissionRequest, spec: Json) -> Json | None:
        name = spec.get("runtimeClassName")
        if not name:
            return None
        found = self.server.reader.get(RUNTIMECLASSES, "", name)
        if found is None:
            raise req.refusal(f'pod rejected: RuntimeClass "{name}" not found')
        return found


def _same(a: Json, b: Json) -> bool:
    return a.keys() == b.keys() and all(quantity.cmp(a[key], b[key]) == 0 for key in a)
