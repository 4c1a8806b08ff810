"""What the figures of a cluster run: one-container pods and Deployments of the hello image."""

from __future__ import annotations

from typing import Any

from bench.cluster import IMAGE, Cluster

NAMESPACE = "bench"

Json = dict[str, Any]


def prepare(cluster: Cluster) -> None:
    """The namespace, with the service account that pods need."""
    try:
        cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    except RuntimeError as error:
        if "AlreadyExists" not in str(error):
            raise
    cluster.wait("the default service account", lambda: accounts(cluster))


def accounts(cluster: Cluster) -> bool:
    items = cluster.request("GET", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts")["items"]
    return any(item["metadata"]["name"] == "default" for item in items)


def spec() -> Json:
    return {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "web",
                "image": IMAGE,
                "command": ["/bin/sleep", "3600"],
                "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}},
            }
        ],
    }


def pod(name: str, labels: dict[str, str] | None = None) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": spec()}


def deployment(name: str, replicas: int = 1) -> Json:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec()},
        },
    }
