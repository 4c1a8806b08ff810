"""The objects that every cluster made by `up` has, applied (server-side) at each start.

The DNS Service with its fixed address, and what the node's network process may read and write. The Service's
endpoints are kept by the network processes themselves, one EndpointSlice a node. The metrics server's APIService, with
a Service that leads to the control plane; a user who brings another metrics server takes the APIService over, and it
is left to them from then on.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from shirube.cluster import layout
from shirube.cluster.api import Api
from shirube.cluster.layout import Addresses
from shirube.foundation import address_family

NETWORK_GROUP = "system:shirube:network"
GATEWAY_GROUP = "system:shirube:gateway"
METRICS_GROUP = "system:shirube:metrics"
METRICS_USER = "system:metrics-server"
METRICS_API = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"

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


def manifests(families: Sequence[Addresses]) -> list[tuple[str, dict[str, Any]]]:
    """Path and object of each add-on, in the order of applying."""
    return [
        _node_renewal(),
        *_role(NETWORK_GROUP, _NETWORK_RULES),
        *_role(GATEWAY_GROUP, _GATEWAY_RULES),
        ("/api/v1/namespaces/kube-system/services/kube-dns", _dns(families)),
        ("/apis/storage.k8s.io/v1/storageclasses/local-path", _LOCAL_PATH),
        *_metrics_server(families),
    ]


_EVENT_RULES = [
    {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
]
_NETWORK_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["services", "endpoints", "nodes", "namespaces", "pods"], "verbs": _READ},
    {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": [*_READ, "create", "update", "patch", "delete"],
    },
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies", "servicecidrs"], "verbs": _READ},
    {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kube-dns"], "verbs": _READ},
    *_EVENT_RULES,
]
_GATEWAY_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["services", "nodes"], "verbs": _READ},
    {"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch", "update"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
    *_EVENT_RULES,
]
_LOCAL_PATH: dict[str, Any] = {
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


def _dns(families: Sequence[Addresses]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {
            "clusterIP": families[0].dns,
            "clusterIPs": [one.dns for one in families],
            "ipFamilyPolicy": "RequireDualStack" if len(families) > 1 else "SingleStack",
            "internalTrafficPolicy": "Local",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
            ],
        },
    }


def _node_renewal() -> tuple[str, dict[str, Any]]:
    """Nodes may renew their client certificates: requests for themselves are approved (as kubeadm sets it up)."""
    version, name = "rbac.authorization.k8s.io/v1", "system:shirube:node-certificate-rotation"
    role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
    binding = {
        "apiVersion": version,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}],
    }
    return f"{_RBAC}/clusterrolebindings/{name}", binding


def _metrics_server(families: Sequence[Addresses]) -> list[tuple[str, dict[str, Any]]]:
    """Its Service, whose one endpoint is the control plane, and what it may do and others may see of it."""
    about = {"name": "metrics-server", "namespace": "kube-system", "labels": {"k8s-app": "metrics-server"}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": about,
        "spec": {"ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": layout.METRICS_PORT}]},
    }
    slice_labels = {"kubernetes.io/service-name": "metrics-server", "endpointslice.kubernetes.io/managed-by": "shirube"}
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**about, "labels": slice_labels},
        "addressType": address_family.of(families[0].control_plane).api,
        "endpoints": [{"addresses": [families[0].control_plane], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": layout.METRICS_PORT, "protocol": "TCP"}],
    }
    rules = [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]
    to_view = ["admin", "edit", "view"]
    reader = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": "system:aggregated-metrics-reader",
            "labels": {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true" for role in to_view},
        },
        "rules": [{"apiGroups": ["metrics.k8s.io"], "resources": ["nodes", "pods"], "verbs": ["get", "list", "watch"]}],
    }
    inside = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/metrics-server"
    return [
        *_role(METRICS_GROUP, rules),
        (f"{_RBAC}/clusterroles/system:aggregated-metrics-reader", reader),
        ("/api/v1/namespaces/kube-system/services/metrics-server", service),
        (inside, endpoints),
    ]


def metrics_api(ca: bytes) -> dict[str, Any]:
    """`ca`: PEM that signed the metrics server's certificate."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io", "labels": {"k8s-app": "metrics-server"}},
        "spec": {
            "service": {"name": "metrics-server", "namespace": "kube-system", "port": 443},
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "caBundle": base64.b64encode(ca).decode("ascii"),
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }


def apply(api: Api, ca: bytes, families: Sequence[Addresses]) -> None:
    """Every add-on. Raises ApiUnavailable."""
    for path, obj in manifests(families):
        api.apply(path, obj)
    ours = metrics_api(ca)
    there = api.get(METRICS_API)
    if there is None or there["spec"].get("service") == ours["spec"]["service"]:
        api.apply(METRICS_API, ours)
