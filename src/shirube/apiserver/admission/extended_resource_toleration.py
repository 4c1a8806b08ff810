"""ExtendedResourceToleration: pods that ask for a device tolerate the taint that keeps its nodes free. Off by default.

The taint has the name of the extended resource as its key and the effect NoSchedule.
"""

from __future__ import annotations

from shirube.api.validation.resource_requirements import is_extended
from shirube.apiserver.admission.plugin import PODS_ONLY, Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest


class ExtendedResourceToleration(Plugin):
    name = "ExtendedResourceToleration"
    operations = frozenset((CREATE, UPDATE))
    resources = PODS_ONLY

    async def mutate(self, req: AdmissionRequest) -> None:
        spec = (req.obj or {}).get("spec") or {}
        asked: set[str] = set()
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            asked.update(filter(is_extended, ((container.get("resources") or {}).get("requests") or {})))
        tolerations = list(spec.get("tolerations") or ())
        for name in sorted(asked):
            wanted = {"effect": "NoSchedule", "key": name, "operator": "Exists"}
            if wanted not in tolerations:
                tolerations.append(wanted)
        if asked:
            spec["tolerations"] = tolerations
