"""The pod of the cost table: 2.5 KB as a client sends it, about 7.8 KB stored with defaults and managed fields."""

from __future__ import annotations

from typing import Any

import orjson

Json = dict[str, Any]


def _container(name: str) -> Json:
    return {
        "name": name,
        "image": "registry.example.com/team/service-with-a-name:v1.24.3",
        "args": ["--listen=:8080", "--metrics=:9090", "--log-format=json"],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "DATABASE", "valueFrom": {"secretKeyRef": {"name": "database", "key": "url"}}},
            {"name": "LOG_LEVEL", "value": "info"},
        ],
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"cpu": "500m", "memory": "256Mi"},
        },
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "initialDelaySeconds": 10},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/service", "readOnly": True},
            {"name": "scratch", "mountPath": "/tmp"},
        ],
    }


def pod(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": "bench", "tier": "backend", "pod-template-hash": "6d4cf56db6"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
        },
        "spec": {
            "containers": [_container("web"), _container("sidecar")],
            "terminationGracePeriodSeconds": 30,
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "volumes": [
                {"name": "config", "configMap": {"name": "service-config"}},
                {"name": "scratch", "emptyDir": {"sizeLimit": "64Mi"}},
            ],
        },
    }


def status(n: int) -> Json:
    """What a node agent reports of a running pod, as a merge patch."""
    at = f"2026-01-01T00:{n // 60 % 60:02}:{n % 60:02}Z"
    conditions = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "status": {
            "phase": "Running",
            "podIP": f"10.244.{n // 250 % 250}.{n % 250}",
            "startTime": at,
            "conditions": [{"type": c, "status": "True", "lastTransitionTime": at} for c in conditions],
        }
    }


def size(body: Json) -> int:
    return len(orjson.dumps(body))
