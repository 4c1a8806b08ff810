"""The objects that several of these tests make, as plain dicts."""

from __future__ import annotations

from typing import Any

from tests.cluster.conformance.api import Obj

IMAGE = "localhost/hello:1"


def meta(name: str, labels: Any = None, **more: Any) -> Obj:
    return {"name": name, **({"labels": labels} if labels else {}), **more}


def container(name: str = "main", script: str | None = None, **more: Any) -> Obj:
    """A container of the hello image: its web server on 8080, or a shell script."""
    command = {"command": ["/bin/catatonit", "--", "/bin/sh", "-c", script]} if script is not None else {}
    return {"name": name, "image": IMAGE, **command, **more}


def pod_spec(*containers: Obj, **more: Any) -> Obj:
    return {"terminationGracePeriodSeconds": 1, "containers": list(containers) or [container()], **more}


def pod(name: str, *containers: Obj, labels: Any = None, **spec: Any) -> Obj:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta(name, labels), "spec": pod_spec(*containers, **spec)}


def template(labels: Any, *containers: Obj, **spec: Any) -> Obj:
    return {"metadata": {"labels": labels}, "spec": pod_spec(*containers, **spec)}


def workload(kind: str, name: str, labels: Any, replicas: int | None = 1, *containers: Obj, **spec: Any) -> Obj:
    """A Deployment, ReplicaSet, StatefulSet, DaemonSet (replicas None) or ReplicationController."""
    core = kind == "ReplicationController"
    return {
        "apiVersion": "v1" if core else "apps/v1",
        "kind": kind,
        "metadata": meta(name, labels),
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "selector": dict(labels) if core else {"matchLabels": labels},
            "template": template(labels, *containers),
            **spec,
        },
    }


def config_map(name: str, data: Any = None, labels: Any = None) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name, labels), "data": data or {}}


def running(obj: Obj) -> bool:
    return bool(obj.get("status", {}).get("phase") == "Running")


def ready(obj: Obj) -> bool:
    conditions = obj.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def condition(obj: Obj, kind: str) -> Obj | None:
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), None)


def complete(deployment: Obj) -> bool:
    """As kubectl rollout status sees it: all replicas are of the newest template, and available."""
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted == status.get("replicas", 0)
        and status.get("availableReplicas", 0) == wanted
    )
