"""What the network process of a node keeps of the objects that several of its parts follow.

They share one informer per resource, and the first who asks decides what it keeps: so all ask with the same function.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
_METADATA = ("namespace", "name", "uid", "resourceVersion", "labels")


def node(obj: Object) -> Object:
    return {
        "metadata": {k: obj["metadata"].get(k) for k in ("name", "uid", "resourceVersion", "labels")},
        "spec": {k: obj["spec"].get(k) for k in ("podCIDR", "podCIDRs")},
        "status": {"addresses": obj.get("status", {}).get("addresses")},
    }


def namespace(obj: Object) -> Object:
    return {"metadata": {k: obj["metadata"].get(k) for k in ("name", "uid", "resourceVersion", "labels")}}


def pod(obj: Object) -> Object:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return {
        "metadata": {k: obj["metadata"].get(k) for k in _METADATA},
        "spec": {
            "hostNetwork": spec.get("hostNetwork"),
            "nodeName": spec.get("nodeName", ""),
            "containers": _ports(spec.get("containers") or []),
            "initContainers": _ports(spec.get("initContainers") or []),
        },
        "status": {k: status.get(k) for k in ("phase", "podIP", "podIPs")},
    }


def _ports(containers: list[Object]) -> list[Object]:
    return [
        {
            "restartPolicy": c.get("restartPolicy"),
            "ports": [p for p in c["ports"] if p.get("name") or p.get("hostPort")],
        }
        for c in containers
        if c.get("ports")
    ]
