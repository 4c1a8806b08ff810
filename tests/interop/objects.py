"""Objects of many kinds that go at once when they are deleted, one good one each, as manifests."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
PODS: Json = {
    "metadata": {"labels": {"app": "a"}},
    "spec": {"containers": [{"name": "app", "image": "registry.k8s.io/pause:3.10"}]},
}
_SELECTOR: Json = {"matchLabels": {"app": "a"}}
_ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"}

# kind: (the official client's API class, its word for the kind, the rest of the object)
KINDS: dict[str, tuple[str, str, Json]] = {
    "ConfigMap": ("CoreV1Api", "config_map", {"data": {"a": "1"}}),
    "Secret": ("CoreV1Api", "secret", {"stringData": {"a": "1"}}),
    "Service": ("CoreV1Api", "service", {"spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}}),
    "ServiceAccount": ("CoreV1Api", "service_account", {}),
    "Pod": ("CoreV1Api", "pod", PODS),
    "ReplicationController": (
        "CoreV1Api",
        "replication_controller",
        {"spec": {"selector": {"app": "a"}, "template": PODS}},
    ),
    "ResourceQuota": ("CoreV1Api", "resource_quota", {"spec": {"hard": {"count/jobs.batch": "5"}}}),
    "LimitRange": ("CoreV1Api", "limit_range", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}}),
    "Deployment": ("AppsV1Api", "deployment", {"spec": {"selector": _SELECTOR, "template": PODS}}),
    "ReplicaSet": ("AppsV1Api", "replica_set", {"spec": {"selector": _SELECTOR, "template": PODS}}),
    "StatefulSet": ("AppsV1Api", "stateful_set", {"spec": {"selector": _SELECTOR, "template": PODS}}),
    "DaemonSet": ("AppsV1Api", "daemon_set", {"spec": {"selector": _SELECTOR, "template": PODS}}),
    "Job": (
        "BatchV1Api",
        "job",
        {"spec": {"template": {**PODS, "spec": {**PODS["spec"], "restartPolicy": "Never"}}}},
    ),
    "CronJob": (
        "BatchV1Api",
        "cron_job",
        {
            "spec": {
                "schedule": "0 0 * * *",
                "jobTemplate": {"spec": {"template": {**PODS, "spec": {**PODS["spec"], "restartPolicy": "OnFailure"}}}},
            }
        },
    ),
    "HorizontalPodAutoscaler": (
        "AutoscalingV2Api",
        "horizontal_pod_autoscaler",
        {"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}, "maxReplicas": 3}},
    ),
    "Ingress": (
        "NetworkingV1Api",
        "ingress",
        {"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}},
    ),
    "NetworkPolicy": ("NetworkingV1Api", "network_policy", {"spec": {"podSelector": {}}}),
    "PodDisruptionBudget": ("PolicyV1Api", "pod_disruption_budget", {"spec": {"selector": _SELECTOR}}),
    "Role": (
        "RbacAuthorizationV1Api",
        "role",
        {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
    ),
    "RoleBinding": ("RbacAuthorizationV1Api", "role_binding", {"roleRef": _ROLE}),
    "Lease": ("CoordinationV1Api", "lease", {"spec": {"holderIdentity": "me"}}),
    "EndpointSlice": ("DiscoveryV1Api", "endpoint_slice", {"addressType": "IPv4", "endpoints": []}),
}


def body(kind: str, api_version: str, name: str = "one") -> Json:
    rest = dict(KINDS[kind][2])
    metadata = {**rest.pop("metadata", {}), "name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}
