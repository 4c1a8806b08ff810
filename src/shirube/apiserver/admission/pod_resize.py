"""PodResizeValidator, NodeDeclaredFeatureValidator: a pod that runs changes only as far as its node can follow.

A resize that the node could never hold, and one that its node agent does not know how to carry out
(`status.declaredFeatures` of the Node), are refused at once instead of waiting for ever in the pod's status.
See "Resize CPU and Memory Resources assigned to Containers" and "Node Declared Features" in the upstream documentation.
"""

from __future__ import annotations

from typing import Any

from shirube.api import quantity, quota_usage
from shirube.api.gvr import NODES
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import UPDATE, AdmissionRequest

Json = dict[str, Any]
GUARANTEED_CPU = "GuaranteedQoSPodCPUResize"
POD_LEVEL = "InPlacePodLevelResourcesVerticalScaling"


class PodResizeValidator(Plugin):
    name = "PodResizeValidator"
    operations = frozenset((UPDATE,))
    resources = frozenset((("", "pods/resize"),))

    async def validate(self, req: AdmissionRequest) -> None:
        node = _node_of_changed(self, req)
        if node is None or req.obj is None:
            return
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        wanted = quota_usage.pod_total(req.obj, "requests")
        amounts = {
            "cpu": (quantity.milli(wanted.get("cpu", "0")), quantity.milli(allocatable.get("cpu", "0"))),
            "memory": (quantity.value(wanted.get("memory", "0")), quantity.value(allocatable.get("memory", "0"))),
        }
        over = [
            f"{n}, requested: {asked}, allocatable: {there}" for n, (asked, there) in amounts.items() if asked > there
        ]
        if over:
            raise req.refusal(f"Node didn't have enough allocatable resources: {'; '.join(over)}")
        system = (node["metadata"].get("labels") or {}).get("kubernetes.io/os", "")
        if system != "linux":
            name = node["metadata"]["name"]
            raise req.refusal(f'pod resize is only supported on linux nodes, node "{name}" is "{system}"')


class NodeDeclaredFeatureValidator(Plugin):
    name = "NodeDeclaredFeatureValidator"
    operations = frozenset((UPDATE,))
    resources = frozenset((("", "pods"), ("", "pods/resize")))

    async def validate(self, req: AdmissionRequest) -> None:
        if req.obj is None or req.old is None:
            return
        needed = needed_features(req.obj, req.old)
        if not needed:
            return
        node = _node_of_changed(self, req)
        if node is None:
            return
        declared = (node.get("status") or {}).get("declaredFeatures") or ()
        missing = [feature for feature in needed if feature not in declared]
        if missing:
            name = node["metadata"]["name"]
            raise req.refusal(
                f'pod update requires features {", ".join(missing)} which are not available on node "{name}"'
            )


def needed_features(pod: Json, old: Json) -> list[str]:
    """What a node must know to follow a change of a pod."""
    spec, before = pod.get("spec") or {}, old.get("spec") or {}
    needed = []
    guaranteed = (old.get("status") or {}).get("qosClass") == "Guaranteed"
    pairs = zip(spec.get("containers") or (), before.get("containers") or (), strict=False)
    if guaranteed and any(_cpu(new) != _cpu(was) for new, was in pairs):
        needed.append(GUARANTEED_CPU)
    if spec.get("resources") != before.get("resources"):
        needed.append(POD_LEVEL)
    return needed


def _cpu(container: Json) -> int:
    requests = (container.get("resources") or {}).get("requests") or {}
    return quantity.milli(requests.get("cpu", "0"))


def _node_of_changed(plugin: Plugin, req: AdmissionRequest) -> Json | None:
    """The Node of a bound pod whose specification changes; None for others. Raises ApiError 403 when it is gone."""
    spec, before = (req.obj or {}).get("spec") or {}, (req.old or {}).get("spec") or {}
    name = spec.get("nodeName")
    if not name or spec == before:
        return None
    node = plugin.server.reader.get(NODES, "", name)
    if node is None:
        raise req.refusal(f'node "{name}" not found')
    return node
