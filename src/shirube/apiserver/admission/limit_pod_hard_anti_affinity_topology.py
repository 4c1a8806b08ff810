"""LimitPodHardAntiAffinityTopology: pods may keep others from their node, not from a whole zone. Off by default."""

from __future__ import annotations

from shirube.apiserver.admission.plugin import PODS_ONLY, Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest

HOSTNAME = "kubernetes.io/hostname"


class LimitPodHardAntiAffinityTopology(Plugin):
    name = "LimitPodHardAntiAffinityTopology"
    operations = frozenset((CREATE, UPDATE))
    resources = PODS_ONLY

    async def validate(self, req: AdmissionRequest) -> None:
        affinity = ((req.obj or {}).get("spec") or {}).get("affinity") or {}
        terms = (affinity.get("podAntiAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for term in terms:
            if term.get("topologyKey") != HOSTNAME:
                raise req.refusal(
                    f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {term.get('topologyKey', '')} "
                    f"but only key {HOSTNAME} is allowed"
                )
