"""What the shared caches keep of an object: what some controller reads, and nothing else.

One table. A controller that needs a field adds it here. `metadata` is always kept whole but for
`managedFields` (dropped by the informer): owners, finalizers and selectors live there, and the garbage
collector reads all kinds.
"""

from __future__ import annotations

from collections.abc import Iterable

from shirube.api.gvr import CONFIGMAPS, EVENTS, GVR, PODS, SECRETS, SERVICEACCOUNTS
from shirube.client.informer import Projection
from shirube.client.rest import Object

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_POD_SPEC = (
    "nodeName",
    "hostname",
    "subdomain",
    "tolerations",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "activeDeadlineSeconds",
    "readinessGates",
    "priorityClassName",
    "overhead",
    "setHostnameAsFQDN",
    "affinity",
    "resourceClaims",
    "resources",
)
_CONTAINER = ("name", "image", "ports", "resources", "restartPolicy")
_CONTAINER_STATUS = ("name", "restartCount", "ready", "state", "started")
_OWNERSHIP = ("name", "namespace", "uid", "resourceVersion", "ownerReferences", "finalizers", "deletionTimestamp")


def _only(obj: Object, keys: Iterable[str]) -> Object:
    return {key: obj[key] for key in keys if key in obj}


def _head(obj: Object) -> Object:
    metadata = obj["metadata"]
    if _LAST_APPLIED in (metadata.get("annotations") or ()):
        kept = {k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED}
        metadata = {**metadata, "annotations": kept}
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": metadata}


def ownership_only(obj: Object) -> Object:
    metadata = obj["metadata"]
    return {
        "apiVersion": obj.get("apiVersion"),
        "kind": obj.get("kind"),
        "metadata": {key: metadata[key] for key in _OWNERSHIP if key in metadata},
    }


def metadata_only(obj: Object) -> Object:
    return _head(obj)


def _container_status(status: Object, asked: Object) -> Object:
    """What a container has, and was promised, is kept while it is not what was asked for: it is being resized."""
    kept = _only(status, _CONTAINER_STATUS)
    has, promised = status.get("resources"), status.get("allocatedResources")
    if has is not None and (has != asked or promised not in (None, asked.get("requests"))):
        kept |= _only(status, ("resources", "allocatedResources"))
    return kept


def pod(obj: Object) -> Object:
    asked = {
        c.get("name"): c.get("resources") or {}
        for key in ("containers", "initContainers")
        for c in (obj.get("spec") or {}).get(key) or ()
    }
    spec = _only(obj.get("spec") or {}, _POD_SPEC)
    for key in ("containers", "initContainers"):
        if containers := (obj.get("spec") or {}).get(key):
            spec[key] = [_only(c, _CONTAINER) for c in containers]
    if volumes := (obj.get("spec") or {}).get("volumes"):
        claims = [v for v in volumes if "persistentVolumeClaim" in v or "ephemeral" in v]
        if claims:
            spec["volumes"] = claims
    status = dict(obj.get("status") or {})
    for key in ("containerStatuses", "initContainerStatuses"):
        if key in status:
            status[key] = [_container_status(c, asked.get(c.get("name"), {})) for c in status[key]]
    return {**_head(obj), "spec": spec, "status": status}


def config_map(obj: Object) -> Object:
    """The root CA's publisher and the bootstrap signer compare the data of those that they write; no one reads
    the others."""
    if obj["metadata"]["name"] in ("kube-root-ca.crt", "cluster-info"):
        return {**_head(obj), "data": obj.get("data") or {}}
    return _head(obj)


def secret(obj: Object) -> Object:
    """Bootstrap tokens expire by a field of their data; of accounts' tokens it is kept that there is one.
    Nothing secret is kept."""
    if obj.get("type") == "bootstrap.kubernetes.io/token":
        data = _only(obj.get("data") or {}, ("expiration", "token-id", "usage-bootstrap-signing"))
        return {**_head(obj), "type": obj["type"], "data": data}
    if obj.get("type") == "kubernetes.io/service-account-token":
        data = _only(obj.get("data") or {}, ("ca.crt", "namespace", "token"))
        data = {key: "kept" if key == "token" and value else value for key, value in data.items()}
        return {**_head(obj), "type": obj["type"], "data": data}
    return {**_head(obj), "type": obj.get("type")}


PROJECTIONS: dict[GVR, Projection] = {
    PODS: pod,
    CONFIGMAPS: config_map,
    SECRETS: secret,
    SERVICEACCOUNTS: metadata_only,
    EVENTS: metadata_only,
}
