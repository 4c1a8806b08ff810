"""DynamicResources: pods with resource claims. Allocation of devices is not built; such pods wait and are told so."""

from __future__ import annotations

from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.plugins.framework import Filter
from shirube.scheduler.pod import PodInfo


class DynamicResources(Filter):
    name = "DynamicResources"

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        return pod.shape.claims_devices

    def forbids(self, pod: PodInfo, nodes: NodeColumns) -> str:
        return (
            "resource claims (spec.resourceClaims) are not supported by this scheduler; "
            "ask for devices of a device plugin as extended resources"
        )
