"""What the pods bound to a node need: the question behind most of the node authoriser's answers.

Asked when a node agent reads a single secret, claim and so on. The pods of a node are picked out of the watch
cache by their selectable field `spec.nodeName`, without decoding any other pod; a node has at most a few hundred.
Mirror pods are passed over: a node makes them itself, so they must not open anything to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from shirube.api.gvr import (
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    RESOURCESLICES,
    VOLUMEATTACHMENTS,
)

if TYPE_CHECKING:
    from shirube.apiserver.reader import Reader

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
# Sources of a volume that name one secret: (volume source, key of the name in it).
_SECRET_SOURCES = (
    ("secret", "secretName"),
    ("azureFile", "secretName"),
    ("cephfs", "secretRef"),
    ("cinder", "secretRef"),
    ("csi", "nodePublishSecretRef"),
    ("flexVolume", "secretRef"),
    ("iscsi", "secretRef"),
    ("rbd", "secretRef"),
    ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
)
_PV_SECRET_KEYS = (
    "nodePublishSecretRef", "nodeStageSecretRef", "controllerPublishSecretRef", "nodeExpandSecretRef",
)  # fmt: skip

Reference = tuple[str, str]  # (resource, name), in the pod's namespace


def references(pod: dict[str, Any]) -> set[Reference]:
    """Everything in its own namespace that a pod refers to by name."""
    spec = pod.get("spec") or {}
    found: set[Reference] = set()
    if spec.get("serviceAccountName"):
        found.add(("serviceaccounts", spec["serviceAccountName"]))
    for ref in spec.get("imagePullSecrets") or ():
        found.add(("secrets", ref.get("name", "")))
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            found.update(_of_container(container))
    for volume in spec.get("volumes") or ():
        found.update(_of_volume(volume, pod["metadata"].get("name", "")))
    statuses = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    generated = {s.get("name"): s.get("resourceClaimName") for s in statuses}
    for claim in spec.get("resourceClaims") or ():
        name = claim.get("resourceClaimName") or generated.get(claim.get("name"))
        if name:
            found.add(("resourceclaims", name))
    return found


def _of_container(container: dict[str, Any]) -> Iterator[Reference]:
    for source in container.get("envFrom") or ():
        if ref := source.get("secretRef"):
            yield "secrets", ref.get("name", "")
        if ref := source.get("configMapRef"):
            yield "configmaps", ref.get("name", "")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        if ref := source.get("secretKeyRef"):
            yield "secrets", ref.get("name", "")
        if ref := source.get("configMapKeyRef"):
            yield "configmaps", ref.get("name", "")


def _of_volume(volume: dict[str, Any], pod_name: str) -> Iterator[Reference]:
    for source, key in _SECRET_SOURCES:
        ref = (volume.get(source) or {}).get(key)
        if ref:
            yield "secrets", ref.get("name", "") if isinstance(ref, dict) else ref
    if config := volume.get("configMap"):
        yield "configmaps", config.get("name", "")
    if claim := volume.get("persistentVolumeClaim"):
        yield "persistentvolumeclaims", claim.get("claimName", "")
    if volume.get("ephemeral"):
        yield "persistentvolumeclaims", f"{pod_name}-{volume['name']}"
    for projected in (volume.get("projected") or {}).get("sources") or ():
        if ref := projected.get("secret"):
            yield "secrets", ref.get("name", "")
        if ref := projected.get("configMap"):
            yield "configmaps", ref.get("name", "")


# (node, namespace or "") -> the pods bound to the node
PodsOnNode = Callable[[str, str], Iterable[dict[str, Any]]]


class PodGraph:
    def __init__(self, reader: Reader, pods_on_node: PodsOnNode) -> None:
        self._reader = reader
        self._pods_on_node = pods_on_node

    def pod_on(self, node: str, namespace: str, name: str) -> bool:
        pod = self._reader.get(PODS, namespace, name)
        return pod is not None and (pod.get("spec") or {}).get("nodeName") == node

    def _pods(self, node: str, namespace: str = "") -> Iterator[dict[str, Any]]:
        for pod in self._pods_on_node(node, namespace):
            if MIRROR_ANNOTATION not in (pod["metadata"].get("annotations") or {}):
                yield pod

    def needs(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether a pod on the node refers to the object, itself or through a volume bound to its claim."""
        if not name:
            return False
        wanted = (resource, name)
        if any(wanted in references(pod) for pod in self._pods(node, namespace)):
            return True
        return resource == "secrets" and self._secret_of_volume(node, namespace, name)

    def _volumes(self, node: str) -> Iterator[dict[str, Any]]:
        for pod in self._pods(node):
            namespace = pod["metadata"]["namespace"]
            for resource, name in references(pod):
                if resource != "persistentvolumeclaims":
                    continue
                claim = self._reader.get(PERSISTENTVOLUMECLAIMS, namespace, name)
                volume_name = ((claim or {}).get("spec") or {}).get("volumeName")
                volume = self._reader.get(PERSISTENTVOLUMES, "", volume_name) if volume_name else None
                if volume is not None:
                    yield volume

    def _secret_of_volume(self, node: str, namespace: str, name: str) -> bool:
        for volume in self._volumes(node):
            spec = volume.get("spec") or {}
            claim_namespace = (spec.get("claimRef") or {}).get("namespace", "")
            refs = [(spec.get("csi") or {}).get(key) for key in _PV_SECRET_KEYS]
            refs += [(spec.get(source) or {}).get("secretRef") for source, _ in _SECRET_SOURCES]
            for ref in refs:
                if ref and ref.get("name") == name and (ref.get("namespace") or claim_namespace) == namespace:
                    return True
        return False

    def needs_volume(self, node: str, name: str) -> bool:
        return any(volume["metadata"]["name"] == name for volume in self._volumes(node))

    def attached(self, node: str, name: str) -> bool:
        attachment = self._reader.get(VOLUMEATTACHMENTS, "", name)
        return attachment is not None and (attachment.get("spec") or {}).get("nodeName") == node

    def slice_of(self, node: str, name: str) -> bool:
        found = self._reader.get(RESOURCESLICES, "", name)
        return found is not None and (found.get("spec") or {}).get("nodeName") == node
