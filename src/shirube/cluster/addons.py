"""The objects that every cluster made by `up` has, applied (server-side) at each start.

The DNS Service with its fixed address, and what the node's network process may read and write. The Service's
endpoints are kept by the network processes themselves, one EndpointSlice a node.
"""

from __future__ import annotations

from typing import Any

from shirube.cluster import layout
from shirube.cluster.api import Api

NETWORK_GROUP = "system:shirube:network"
GATEWAY_GROUP = "system:shirube:gateway"

_READ = ["get", "list", "watch"]
_RBAC = "/apis/rbac.authorization.k8s.io/v1"


def _role(name: str, rules: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    version = "rbac.authorization.k8s.io/v1"
    role = {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    binding = {
        "apiVersion": version,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}],
    }
    return [(f"{_RBAC}/clusterroles/{name}", role), (f"{_RBAC}/clusterrolebindings/{name}", binding)]


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """Path and object of each add-on, in the order of applying."""
    events = [
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
    ]
    network = [
        {"apiGroups": [""], "resources": ["services", "endpoints", "nodes", "namespaces", "pods"], "verbs": _READ},
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": [*_READ, "create", "update", "patch", "delete"],
        },
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies", "servicecidrs"], "verbs": _READ},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kube-dns"], "verbs": _READ},
        *events,
    ]
    gateway = [
        {"apiGroups": [""], "resources": ["services", "nodes"], "verbs": _READ},
        {"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch", "update"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
        *events,
    ]
    dns = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {
            "clusterIP": layout.CLUSTER_DNS,
            "internalTrafficPolicy": "Local",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
            ],
        },
    }
    local_path = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "local-path",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "shirube.dev/local-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return [
        *_role(NETWORK_GROUP, network),
        *_role(GATEWAY_GROUP, gateway),
        ("/api/v1/namespaces/kube-system/services/kube-dns", dns),
        ("/apis/storage.k8s.io/v1/storageclasses/local-path", local_path),
    ]


def apply(api: Api) -> None:
    for path, obj in manifests():
        api.apply(path, obj)
