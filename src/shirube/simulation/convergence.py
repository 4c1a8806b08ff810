"""Whether a world is finished: everything that was asked for is there, and nothing else.

`unfinished` names what is not, for people; an empty list is convergence. Orphans are pods whose controller is gone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from shirube.api.gvr import (
    DAEMONSETS,
    DEPLOYMENTS,
    GVR,
    JOBS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    REPLICASETS,
    RESOURCEQUOTAS,
    STATEFULSETS,
)
from shirube.api.quantity import milli
from shirube.client.rest import Object
from shirube.simulation.cluster import Cluster

_PAGE = 500


async def unfinished(cluster: Cluster, *, jobs: bool = True) -> list[str]:
    """Without `jobs`, what is to run until it is over may still be running. Pods, of which there are many, are looked
    at when all that they belong to is finished."""
    found: list[str] = []
    full = await _full_namespaces(cluster)
    owners: set[str] = set()
    for gvr, check in (
        (DEPLOYMENTS, _deployment),
        (STATEFULSETS, _stateful_set),
        (DAEMONSETS, _daemon_set),
        (JOBS, _job),
        (REPLICASETS, _replica_set),
    ):
        for obj in await cluster.list(gvr):
            metadata = obj["metadata"]
            owners.add(metadata["uid"])
            why = "is being deleted" if metadata.get("deletionTimestamp") else check(obj)
            if why and metadata["namespace"] not in full and (jobs or gvr != JOBS):
                found.append(f"{gvr.resource} {metadata['namespace']}/{metadata['name']} {why}")
    for node in await cluster.list(NODES):
        ready = [c["status"] for c in (node.get("status") or {}).get("conditions") or () if c["type"] == "Ready"]
        if ready != ["True"]:
            found.append(f"node {node['metadata']['name']} is not ready")
    for claim in await cluster.list(PERSISTENTVOLUMECLAIMS):
        if (claim.get("status") or {}).get("phase") != "Bound":
            found.append(f"claim {claim['metadata']['namespace']}/{claim['metadata']['name']} is not bound")
    if found:
        return found
    return [why async for pod in _each(cluster, PODS) if (why := _pod(pod, owners))]


async def _each(cluster: Cluster, gvr: GVR) -> AsyncIterator[Object]:
    """In pages: all pods at once would take more memory than everything else."""
    after = ""
    while True:
        page = await cluster.admin.list(gvr, limit=_PAGE, continue_=after)
        for obj in page["items"]:
            yield obj
        after = page["metadata"].get("continue", "")
        if not after:
            return


async def _full_namespaces(cluster: Cluster) -> set[str]:
    """Those whose quota leaves no room: what is missing there may not be made."""
    full = set()
    for quota in await cluster.list(RESOURCEQUOTAS):
        status = quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        if any(milli(used.get(name, 0)) * 100 >= milli(limit) * 97 for name, limit in hard.items()):
            full.add(quota["metadata"]["namespace"])
    return full


def _numbers(obj: Object, *names: str) -> list[int]:
    status = obj.get("status") or {}
    return [int(status.get(name) or 0) for name in names]


def _behind(obj: Object) -> bool:
    return int((obj.get("status") or {}).get("observedGeneration") or 0) < int(obj["metadata"].get("generation") or 0)


def _deployment(obj: Object) -> str:
    wanted = int(obj["spec"].get("replicas", 1))
    counts = _numbers(obj, "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return "" if counts == [wanted] * 4 and not _behind(obj) else f"has {counts} of {wanted}"


def _replica_set(obj: Object) -> str:
    wanted = int(obj["spec"].get("replicas", 1))
    counts = _numbers(obj, "replicas", "readyReplicas", "availableReplicas")
    return "" if counts == [wanted] * 3 and not _behind(obj) else f"has {counts} of {wanted}"


def _stateful_set(obj: Object) -> str:
    wanted = int(obj["spec"].get("replicas", 1))
    counts = _numbers(obj, "replicas", "updatedReplicas", "readyReplicas")
    status = obj.get("status") or {}
    whole = counts == [wanted] * 3 and status.get("currentRevision") == status.get("updateRevision")
    return "" if whole and not _behind(obj) else f"has {counts} of {wanted}"


def _daemon_set(obj: Object) -> str:
    wanted = _numbers(obj, "desiredNumberScheduled")[0]
    counts = _numbers(obj, "currentNumberScheduled", "updatedNumberScheduled", "numberReady")
    return "" if counts == [wanted] * 3 and not _behind(obj) else f"has {counts} of {wanted}"


def _job(obj: Object) -> str:
    if obj["spec"].get("suspend"):
        return ""
    status = obj.get("status") or {}
    over = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
    if over & {"Complete", "Failed"}:
        completions = obj["spec"].get("completions")
        if "Complete" in over and completions and not obj["spec"].get("successPolicy"):
            succeeded = int(status.get("succeeded") or 0)
            return "" if succeeded == completions else f"is complete with {succeeded} of {completions}"
        return ""
    return "is not over"


def _pod(pod: Object, owners: set[str]) -> str:
    metadata = pod["metadata"]
    name = f"pod {metadata['namespace']}/{metadata['name']}"
    if metadata.get("deletionTimestamp"):
        return f"{name} is being deleted"
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller") and reference["uid"] not in owners:
            return f"{name} is an orphan of {reference['kind']} {reference['name']}"
    if (pod.get("status") or {}).get("phase") == "Pending":
        return f"{name} is pending"
    return ""
