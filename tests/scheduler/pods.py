"""Small pods and nodes for the scheduler's tests."""

import itertools

from shirube.scheduler.pod import read

_numbers = itertools.count()


def pod(name="", *, cpu=None, memory=None, labels=None, namespace="default", **spec):
    number = next(_numbers)
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    containers = spec.pop("containers", [{"name": "c", "resources": {"requests": requests}}])
    metadata = {"name": name or f"pod-{number}", "namespace": namespace, "uid": f"uid-{number}", "labels": labels or {}}
    for extra in ("deletionTimestamp", "ownerReferences"):
        if extra in spec:
            metadata[extra] = spec.pop(extra)
    status = {"phase": "Pending", **spec.pop("status", {})}
    return {
        "metadata": metadata,
        "spec": {"schedulerName": "default-scheduler", "containers": containers, **spec},
        "status": status,
    }


def info(name="", **spec):
    return read(pod(name, **spec))


def node(name, *, cpu="4", memory="8Gi", pods="110", labels=None, taints=None, images=None, **more):
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"taints": taints or [], **more},
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}, "images": images or []},
    }
