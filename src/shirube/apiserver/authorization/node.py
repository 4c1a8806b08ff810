"""The node authoriser: a node agent may touch what belongs to its node and what the pods bound to it need.

A node (`system:node:NAME` in the group `system:nodes`) reads its own Node, the pods bound to it, and the
secrets, config maps, claims, volumes, resource claims and service-account tokens that those pods refer to. What
it may do everywhere is the table `ANYWHERE`. What it may write into its own objects is the business of the
admission plugin `node_restriction`. See "Using Node Authorization" in the upstream documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authorization.decision import Decision
from shirube.apiserver.authorization.pod_graph import PodGraph, PodsOnNode
from shirube.apiserver.authorization.rules import CompiledRule
from shirube.apiserver.user import User

if TYPE_CHECKING:
    from shirube.apiserver.reader import Reader

NODES_GROUP = "system:nodes"
_PREFIX = "system:node:"
_READ = ("get", "list", "watch")
_ALLOWED = Decision(True)

# (groups, resources, verbs)
_TABLE = (
    ("authentication.k8s.io", "tokenreviews", "create"),
    ("authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews", "create"),
    ("", "services", "get list watch"),
    ("|events.k8s.io", "events", "create patch update"),
    ("", "endpoints", "get"),
    ("certificates.k8s.io", "certificatesigningrequests", "create get list watch"),
    ("certificates.k8s.io", "clustertrustbundles", "get list watch"),
    ("storage.k8s.io", "csidrivers", "get list watch"),
    ("node.k8s.io", "runtimeclasses", "get list watch"),
)
ANYWHERE = tuple(
    CompiledRule({"apiGroups": g.split("|"), "resources": r.split(), "verbs": v.split()}) for g, r, v in _TABLE
)


def node_name(user: User) -> str | None:
    """The node that a user is the agent of, or None."""
    if user.name.startswith(_PREFIX) and NODES_GROUP in user.groups:
        return user.name.removeprefix(_PREFIX) or None
    return None


def selected_name(a: Attributes) -> str:
    """The one object that a request is about: by its path, or by `fieldSelector=metadata.name=…`."""
    return a.name or _selected(a.field_selector, "metadata.name")


def _selected(selector: str, field: str) -> str:
    for term in selector.split(","):
        key, found, value = term.partition("=")
        if found and key.strip() == field:
            return value.lstrip("=").strip()
    return ""


class NodeAuthorizer:
    def __init__(self, reader: Reader, pods_on_node: PodsOnNode) -> None:
        self._graph = PodGraph(reader, pods_on_node)

    def authorize(self, a: Attributes) -> Decision | None:
        """None when the user is no node."""
        node = node_name(a.user)
        if node is None:
            return None
        if not a.is_resource:
            return Decision(False)
        special = _RESOURCES.get((a.group, a.resource))
        decision = special(self, node, a) if special else None
        if decision is not None:
            return decision
        return _ALLOWED if any(rule.allows(a) for rule in ANYWHERE) else Decision(False)

    @staticmethod
    def is_node(user: User) -> bool:
        return node_name(user) is not None

    def _node(self, node: str, a: Attributes) -> Decision:
        if a.subresource == "status":
            return _verbs(a, "update", "patch")
        if a.subresource in ("configz", "healthz", "log", "metrics", "pods", "proxy", "stats"):
            # The agents' own APIs ask this about their clients; a node may ask about itself.
            return _ALLOWED if a.name == node else Decision(False, f"node '{node}' cannot reach other nodes")
        if a.subresource:
            return Decision(False)
        if a.verb in _READ:
            if selected_name(a) == node:
                return _ALLOWED
            return Decision(False, f"node '{node}' cannot read '{selected_name(a)}', only its own Node object")
        return _verbs(a, "create", "update", "patch")

    def _pod(self, node: str, a: Attributes) -> Decision:
        if a.subresource == "status":
            return _verbs(a, "update", "patch")
        if a.subresource == "eviction":
            return _verbs(a, "create")
        if a.subresource:
            return Decision(False)
        if a.verb in ("list", "watch") and _selected(a.field_selector, "spec.nodeName") == node:
            return _ALLOWED
        if a.verb in _READ:
            name = selected_name(a)
            if not name:
                return Decision(False, "can only list/watch pods with spec.nodeName field selector")
            return self._path(node, self._graph.pod_on(node, a.namespace, name), a)
        return _verbs(a, "create", "delete")

    def _needed(self, node: str, a: Attributes) -> Decision:
        """Secrets and config maps: those of the node's pods, one at a time."""
        if a.subresource:
            return Decision(False, "cannot read subresource")
        if a.verb not in _READ:
            return Decision(False, "can only read resources of this type")
        name = selected_name(a)
        if not name or not a.namespace:
            return Decision(False, "can only read namespaced object of this type")
        return self._path(node, self._graph.needs(node, a.resource, a.namespace, name), a)

    def _claim(self, node: str, a: Attributes) -> Decision:
        verbs = ("get", "update", "patch") if a.subresource == "status" else ("get",)
        if a.subresource not in ("", "status") or a.verb not in verbs:
            return Decision(False, "can only get individual resources of this type")
        return self._path(node, self._graph.needs(node, a.resource, a.namespace, a.name), a)

    def _device_claim(self, node: str, a: Attributes) -> Decision:
        if a.subresource or a.verb != "get":
            return Decision(False, "can only get individual resources of this type")
        return self._path(node, self._graph.needs(node, a.resource, a.namespace, a.name), a)

    def _volume(self, node: str, a: Attributes) -> Decision:
        if a.subresource or a.verb != "get":
            return Decision(False, "can only get individual resources of this type")
        return self._path(node, self._graph.needs_volume(node, a.name), a)

    def _attachment(self, node: str, a: Attributes) -> Decision:
        if a.subresource or a.verb != "get":
            return Decision(False, "can only get individual resources of this type")
        return self._path(node, self._graph.attached(node, a.name), a)

    def _account(self, node: str, a: Attributes) -> Decision:
        if (a.subresource, a.verb) not in (("token", "create"), ("", "get")):
            return Decision(False, "can only create tokens for individual service accounts")
        return self._path(node, self._graph.needs(node, "serviceaccounts", a.namespace, a.name), a)

    def _lease(self, node: str, a: Attributes) -> Decision:
        if a.subresource or a.verb not in ("get", "create", "update", "patch", "delete"):
            return Decision(False, "can only get, create, update, patch, or delete a node lease")
        if a.namespace != "kube-node-lease":
            return Decision(False, 'can only access leases in the "kube-node-lease" system namespace')
        if a.verb != "create" and a.name != node:
            return Decision(False, "can only access node lease with the same name as the requesting node")
        return _ALLOWED

    def _csi_node(self, node: str, a: Attributes) -> Decision:
        if a.subresource or a.verb not in ("get", "create", "update", "patch", "delete"):
            return Decision(False, "can only get, create, update, patch, or delete a CSINode")
        if a.verb != "create" and a.name != node:
            return Decision(False, "can only access CSINode with the same name as the requesting node")
        return _ALLOWED

    def _resource_slice(self, node: str, a: Attributes) -> Decision:
        if a.subresource:
            return Decision(False, "cannot authorize ResourceSlice subresources")
        if a.verb == "create":
            return _ALLOWED  # admission compares spec.nodeName
        if a.verb in ("list", "watch", "deletecollection"):
            if _selected(a.field_selector, "spec.nodeName") == node:
                return _ALLOWED
            return Decision(False, f"can only {a.verb} ResourceSlices with spec.nodeName field selector")
        return self._path(node, self._graph.slice_of(node, a.name), a)

    def _path(self, node: str, there: bool, a: Attributes) -> Decision:
        if there:
            return _ALLOWED
        return Decision(False, f"no relationship found between node '{node}' and this object")


_RESOURCES = {
    ("", "nodes"): NodeAuthorizer._node,
    ("", "pods"): NodeAuthorizer._pod,
    ("", "secrets"): NodeAuthorizer._needed,
    ("", "configmaps"): NodeAuthorizer._needed,
    ("", "persistentvolumeclaims"): NodeAuthorizer._claim,
    ("", "persistentvolumes"): NodeAuthorizer._volume,
    ("", "serviceaccounts"): NodeAuthorizer._account,
    ("resource.k8s.io", "resourceclaims"): NodeAuthorizer._device_claim,
    ("resource.k8s.io", "resourceslices"): NodeAuthorizer._resource_slice,
    ("storage.k8s.io", "volumeattachments"): NodeAuthorizer._attachment,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer._csi_node,
    ("coordination.k8s.io", "leases"): NodeAuthorizer._lease,
}


def _verbs(a: Attributes, *allowed: str) -> Decision:
    return _ALLOWED if a.verb in allowed else Decision(False)
