"""NodeRestriction: a node agent writes its own Node, its own Lease, and the pods bound to it, and little in those.

It asks for certificates in its own name only, and for tokens of the accounts and audiences that its pods use
(KEP-4412).

It works with the node authoriser (`authorization.node`), which sees names; this plugin sees the objects.
See "NodeRestriction" under "Admission Control" in the upstream documentation.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from shirube.api.gvr import CSIDRIVERS, NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, DELETE, UPDATE, AdmissionRequest
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authorization.node import node_name
from shirube.apiserver.authorization.pod_graph import MIRROR_ANNOTATION, references

if TYPE_CHECKING:
    from shirube.apiserver.reader import Reader

Json = dict[str, Any]

_OWN_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_RESERVED = ("kubernetes.io", "k8s.io")
_RESTRICTED = "node-restriction.kubernetes.io"
_KUBELET_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "node.kubernetes.io/windows-build",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    )
)
_RESOURCES = (
    ("", "pods"),
    ("", "pods/status"),
    ("", "pods/eviction"),
    ("", "nodes"),
    ("", "nodes/status"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumeclaims/status"),
    ("", "serviceaccounts/token"),
    ("coordination.k8s.io", "leases"),
    ("storage.k8s.io", "csinodes"),
    ("resource.k8s.io", "resourceslices"),
    ("certificates.k8s.io", "certificatesigningrequests"),
)
_OWN_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")


class NodeRestriction(Plugin):
    name = "NodeRestriction"
    operations = frozenset((CREATE, UPDATE, DELETE))
    resources = frozenset(_RESOURCES)

    async def mutate(self, req: AdmissionRequest) -> None:
        node = node_name(req.user)
        if node is None:
            return
        check = _CHECKS.get((req.resource.group, req.resource.name))
        if check is not None and (further := check(self, node, req)) is not None:
            await further

    def _pod(self, node: str, req: AdmissionRequest) -> None:
        if req.subresource == "status":
            self._pod_status(node, req)
        elif req.subresource == "eviction":
            pod = self.server.reader.get(PODS, req.namespace, req.name)
            if pod is not None and _node_of(pod) != node:
                raise req.refusal(f"node {node} can only evict pods with spec.nodeName set to itself")
        elif req.operation == CREATE:
            self._mirror_pod(node, req)
        elif req.operation == DELETE:
            if _node_of(req.old or {}) != node:
                raise req.refusal(f'node "{node}" can only delete pods with spec.nodeName set to itself')
        else:
            raise req.refusal(
                f'unexpected operation "{req.operation}", node "{node}" can only create and delete mirror pods'
            )

    def _pod_status(self, node: str, req: AdmissionRequest) -> None:
        old, new = req.old or {}, req.obj or {}
        if _node_of(old) != node:
            why = "can only update pod status for pods with spec.nodeName set to itself"
            raise req.refusal(f'node "{node}" {why}')
        if (old["metadata"].get("labels") or {}) != (new["metadata"].get("labels") or {}):
            raise req.refusal(f'node "{node}" cannot update labels through pod status')
        before, after = ((o.get("status") or {}).get("resourceClaimStatuses") or [] for o in (old, new))
        if before != after:
            raise req.refusal(f'node "{node}" cannot update resource claim statues')

    def _mirror_pod(self, node: str, req: AdmissionRequest) -> None:
        pod = req.obj or {}
        if MIRROR_ANNOTATION not in (pod["metadata"].get("annotations") or {}):
            raise req.refusal(
                f'pod does not have "{MIRROR_ANNOTATION}" annotation, node "{node}" can only create mirror pods'
            )
        if _node_of(pod) != node:
            raise req.refusal(f'node "{node}" can only create pods with spec.nodeName set to itself')
        self._mirror_owner(node, req, pod["metadata"].get("ownerReferences") or [])
        used = {resource for resource, _ in references(pod)}
        for resource, shown in (
            ("serviceaccounts", "a service account"),
            ("secrets", "secrets"),
            ("configmaps", "configmaps"),
            ("persistentvolumeclaims", "persistentvolumeclaims"),
            ("resourceclaims", "resourceclaims"),
        ):
            if resource in used:
                raise req.refusal(f'node "{node}" can not create pods that reference {shown}')
        for volume in (pod.get("spec") or {}).get("volumes") or ():
            for source in (volume.get("projected") or {}).get("sources") or ():
                if "clusterTrustBundle" in source:
                    raise req.refusal(f'node "{node}" can not create pods that reference clustertrustbundles')

    def _mirror_owner(self, node: str, req: AdmissionRequest, owners: list[Json]) -> None:
        if len(owners) > 1:
            raise req.refusal(f'node "{node}" can only create pods with a single owner reference set to itself')
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise req.refusal(f'node "{node}" can only create pods with an owner reference set to itself')
        if not owner.get("controller"):
            raise req.refusal(f'node "{node}" can only create pods with a controller owner reference set to itself')
        if owner.get("blockOwnerDeletion"):
            raise req.refusal(f'node "{node}" must not set blockOwnerDeletion on an owner reference')
        found = self.server.reader.get(NODES, "", node)
        uid = found["metadata"]["uid"] if found else ""
        if owner.get("uid") != uid:
            raise req.refusal(f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}")

    def _node(self, node: str, req: AdmissionRequest) -> None:
        if req.shown_name != node:
            raise req.refusal(f'node "{node}" is not allowed to modify node "{req.shown_name}"')
        if req.operation == DELETE or req.obj is None:
            return
        new = req.obj
        labels = new["metadata"].get("labels") or {}
        if req.operation == CREATE:
            if (new.get("spec") or {}).get("configSource"):
                raise req.refusal(f'node "{node}" is not allowed to create pods with a non-nil configSource')
            forbidden = forbidden_on_create(labels)
            if forbidden:
                shown = ", ".join(forbidden)
                raise req.refusal(f'node "{node}" is not allowed to set the following labels: {shown}')
            return
        old = req.old or {}
        if (new.get("spec") or {}).get("taints", []) != (old.get("spec") or {}).get("taints", []):
            raise req.refusal(f'node "{node}" is not allowed to modify taints')
        if (new["metadata"].get("ownerReferences") or []) != (old["metadata"].get("ownerReferences") or []):
            raise req.refusal(f'node "{node}" is not allowed to modify ownerReferences')
        forbidden = forbidden_on_update(changed_labels(labels, old["metadata"].get("labels") or {}))
        if forbidden:
            raise req.refusal(f'node "{node}" is not allowed to modify labels: {", ".join(forbidden)}')

    def _claim(self, node: str, req: AdmissionRequest) -> None:
        if req.subresource != "status":
            raise req.refusal("may only update PVC status")
        if _claim_rest(req.old or {}) != _claim_rest(req.obj or {}):
            raise req.refusal(
                f'node "{node}" is not allowed to update fields other than status.capacity and status.conditions'
            )

    async def _token(self, node: str, req: AdmissionRequest) -> None:
        ref = ((req.obj or {}).get("spec") or {}).get("boundObjectRef") or {}
        if ref.get("apiVersion") != "v1" or ref.get("kind") != "Pod" or not ref.get("name"):
            raise req.refusal("node requested token not bound to a pod")
        if not ref.get("uid"):
            raise req.refusal("node requested token with a pod binding without a uid")
        pod = self.server.reader.get(PODS, req.namespace, ref["name"])
        if pod is None:
            raise req.refusal(f'pod "{ref["name"]}" not found')
        if pod["metadata"]["uid"] != ref["uid"]:
            raise req.refusal(
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The "
                "object might have been deleted and then recreated"
            )
        if _node_of(pod) != node:
            raise req.refusal("node requested token bound to a pod scheduled on a different node")
        await self._audience(req, pod)

    async def _audience(self, req: AdmissionRequest, pod: Json) -> None:
        audiences = ((req.obj or {}).get("spec") or {}).get("audiences") or []
        own = list(self.server.authenticator.audiences)
        if audiences in ([], own):
            audience = ""  # that of the API server
        elif len(audiences) > 1:
            raise req.refusal("node may only request 0 or 1 audiences")
        else:
            audience = audiences[0]
        if audience in own:
            audience = ""
        known = ("" if a in own else a for a in token_audiences(self.server.reader, pod))
        if audience in known:
            return
        asked = Attributes(
            req.user, "request-serviceaccounts-token-audience", "", "v1", audience, "", req.namespace, req.shown_name
        )
        if not (await self.server.authorizer.authorize(asked)).allowed:
            raise req.refusal(
                f'audience "{audience}" not found in pod spec volume, {req.user.name} is not authorized to request '
                "tokens for this audience"
            )

    def _certificate(self, node: str, req: AdmissionRequest) -> None:
        spec = (req.obj or {}).get("spec") or {}
        if req.operation != CREATE or req.subresource or spec.get("signerName") not in _OWN_SIGNERS:
            return
        try:
            asked = x509.load_pem_x509_csr(base64.b64decode(spec.get("request", "")))
            names = [str(a.value) for a in asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        except ValueError as error:
            raise req.refusal(f"unable to parse csr: {error}") from None
        if names != [f"system:node:{node}"]:
            raise req.refusal(f"can only create a node CSR with CN=system:node:{node}")

    def _lease(self, node: str, req: AdmissionRequest) -> None:
        if req.namespace != "kube-node-lease":
            raise req.refusal('can only access leases in the "kube-node-lease" system namespace')
        if req.shown_name != node:
            raise req.refusal("can only access node lease with the same name as the requesting node")

    def _csi_node(self, node: str, req: AdmissionRequest) -> None:
        if req.shown_name != node:
            raise req.refusal("can only access CSINode with the same name as the requesting node")

    def _resource_slice(self, node: str, req: AdmissionRequest) -> None:
        held = req.obj if req.operation == CREATE else req.old
        if ((held or {}).get("spec") or {}).get("nodeName") != node:
            verb = "create" if req.operation == CREATE else "modify"
            raise req.refusal(f"can only {verb} ResourceSlice with the same NodeName as the requesting node")


_CHECKS = {
    ("", "pods"): NodeRestriction._pod,
    ("", "nodes"): NodeRestriction._node,
    ("", "persistentvolumeclaims"): NodeRestriction._claim,
    ("", "serviceaccounts"): NodeRestriction._token,
    ("coordination.k8s.io", "leases"): NodeRestriction._lease,
    ("storage.k8s.io", "csinodes"): NodeRestriction._csi_node,
    ("resource.k8s.io", "resourceslices"): NodeRestriction._resource_slice,
    ("certificates.k8s.io", "certificatesigningrequests"): NodeRestriction._certificate,
}


def token_audiences(reader: Reader, pod: Json) -> Iterator[str]:
    """For whom a pod's volumes want tokens of its account; "" is the API server."""
    namespace = pod["metadata"].get("namespace", "")
    drivers = []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if (token := source.get("serviceAccountToken")) is not None:
                yield token.get("audience") or ""
        if inline := volume.get("csi"):
            drivers.append(inline.get("driver", ""))
        claim_name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if volume.get("ephemeral"):
            claim_name = f"{pod['metadata'].get('name', '')}-{volume['name']}"
        claim = reader.get(PERSISTENTVOLUMECLAIMS, namespace, claim_name) if claim_name else None
        bound = ((claim or {}).get("spec") or {}).get("volumeName")
        found = reader.get(PERSISTENTVOLUMES, "", bound) if bound else None
        drivers.append((((found or {}).get("spec") or {}).get("csi") or {}).get("driver", ""))
    for name in filter(None, drivers):
        driver = reader.get(CSIDRIVERS, "", name)
        for wanted in ((driver or {}).get("spec") or {}).get("tokenRequests") or ():
            yield wanted.get("audience") or ""


def _node_of(pod: Json) -> str:
    return (pod.get("spec") or {}).get("nodeName") or ""


def _claim_rest(claim: Json) -> Json:
    """A claim without what a node may change."""
    meta = {k: v for k, v in (claim.get("metadata") or {}).items() if k not in ("resourceVersion", "managedFields")}
    dropped = ("capacity", "conditions", "allocatedResourceStatuses", "allocatedResources")
    status = {k: v for k, v in (claim.get("status") or {}).items() if k not in dropped}
    return {**claim, "metadata": meta, "status": status}


def changed_labels(new: Json, old: Json) -> list[str]:
    return sorted(key for key in {*new, *old} if new.get(key) != old.get(key))


def _namespace(key: str) -> str:
    return key.partition("/")[0] if "/" in key else ""


def _within(namespace: str, domains: Iterable[str]) -> bool:
    return any(namespace == d or namespace.endswith("." + d) for d in domains)


def _kubelets(key: str) -> bool:
    return key in _KUBELET_LABELS or _within(_namespace(key), _OWN_PREFIXES)


def forbidden_on_create(labels: Json) -> list[str]:
    """Labels that a node may not register with."""
    return sorted(
        key
        for key in labels
        if _within(_namespace(key), (_RESTRICTED,)) or (_within(_namespace(key), _RESERVED) and not _kubelets(key))
    )


def forbidden_on_update(changed: Iterable[str]) -> list[str]:
    """Labels that a node may not change."""
    return forbidden_on_create(dict.fromkeys(changed, ""))
