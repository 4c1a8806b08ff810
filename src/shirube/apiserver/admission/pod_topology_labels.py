"""PodTopologyLabels: a pod learns the zone and region of its node by its own labels (KEP-4742).

At binding, when the node becomes known, and for pods that are created with a node.
"""

from __future__ import annotations

from shirube.api.gvr import NODES
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import AdmissionRequest

_LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class PodTopologyLabels(Plugin):
    name = "PodTopologyLabels"
    resources = frozenset((("", "pods"), ("", "pods/binding"), ("", "bindings")))

    async def mutate(self, req: AdmissionRequest) -> None:
        obj = req.obj
        if obj is None:
            return
        if req.resource.name == "bindings" or req.subresource == "binding":
            name = (obj.get("target") or {}).get("name")
        else:
            name = (obj.get("spec") or {}).get("nodeName")
        node = self.server.reader.get(NODES, "", name) if name else None
        if node is None:
            return
        labels = node["metadata"].get("labels") or {}
        topology = {key: labels[key] for key in _LABELS if key in labels}
        if topology:
            obj["metadata"]["labels"] = {**(obj["metadata"].get("labels") or {}), **topology}
