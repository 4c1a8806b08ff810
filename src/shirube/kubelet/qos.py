"""Quality of service: the class of a pod, the resources that it asks for, what they mean to the kernel.

Pure arithmetic. Classes, shares, quotas and OOM scores are upstream's:
https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shirube.api import quantity
from shirube.kubelet import huge_pages
from shirube.kubelet import pod as pods

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
MIN_SHARES, MAX_SHARES = 2, 262144
PERIOD = 100_000  # microseconds
MIN_QUOTA = 1000


def amount(resources: Mapping[str, Any] | None, which: str, resource: str) -> int | None:
    """`requests` or `limits` of cpu (in millicores) or another resource (in units); None when not given."""
    given = ((resources or {}).get(which) or {}).get(resource)
    if given is None:
        return None
    return quantity.milli(given) if resource == "cpu" else quantity.value(given)


def qos_class(pod: pods.Pod) -> str:
    if at_pod_level := pod["spec"].get("resources"):
        parts = [at_pod_level]
    else:
        parts = [c.get("resources") for c in (*pods.init_containers(pod), *pods.app_containers(pod))]
    guaranteed, anything = True, False
    for resources in parts:
        for resource in ("cpu", "memory"):
            request = amount(resources, "requests", resource)
            limit = amount(resources, "limits", resource)
            anything = anything or bool(request) or bool(limit)
            if not limit or (request if request is not None else limit) != limit:
                guaranteed = False
    if not anything:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE


def pod_total(pod: pods.Pod, which: str, resource: str) -> int | None:
    """What the pod as a whole asks for or is limited to; None for a limit when any container has none.

    App containers and sidecars run together; an init container runs with the sidecars before it.
    """
    at_pod_level = amount(pod["spec"].get("resources"), which, resource)
    if at_pod_level is not None:
        return at_pod_level + (_overhead(pod, resource))
    unlimited = False

    def of(container: pods.Container) -> int:
        nonlocal unlimited
        found = amount(container.get("resources"), which, resource)
        if found is None and which == "requests":
            found = amount(container.get("resources"), "limits", resource)
        unlimited = unlimited or not found
        return found or 0

    running = sum(of(c) for c in pods.app_containers(pod))
    beside, peak = 0, 0
    for container in pods.init_containers(pod):
        mine = of(container)
        if pods.is_sidecar(container):
            beside += mine
            mine = 0
        peak = max(peak, beside + mine)
    if which == "limits" and unlimited:
        return None
    return max(running + beside, peak) + _overhead(pod, resource)


def _overhead(pod: pods.Pod, resource: str) -> int:
    return amount({"limits": pod["spec"].get("overhead") or {}}, "limits", resource) or 0


def shares(milli_cpu: int) -> int:
    return min(max(milli_cpu * 1024 // 1000, MIN_SHARES), MAX_SHARES)


def quota(milli_cpu: int) -> int:
    """CFS quota in microseconds each `PERIOD`; 0 for no limit."""
    return max(milli_cpu * PERIOD // 1000, MIN_QUOTA) if milli_cpu else 0


def oom_score_adj(pod: pods.Pod, container: pods.Container, memory_capacity: int) -> int:
    """How readily the kernel kills it: the less memory a burstable pod asked for, the sooner."""
    if pod["spec"].get("priorityClassName") in ("system-node-critical",):
        return -997
    kind = qos_class(pod)
    if kind == GUARANTEED:
        return -997
    if kind == BEST_EFFORT:
        return 1000
    request = amount(container.get("resources"), "requests", "memory") or 0
    score = 1000 - 1000 * request // max(memory_capacity, 1)
    return min(max(score, 3), 999)


def linux_resources(pod: pods.Pod, container: pods.Container, memory_capacity: int) -> dict[str, Any]:
    """CRI `LinuxContainerResources` of a container."""
    resources = container.get("resources")
    request = amount(resources, "requests", "cpu")
    limit = amount(resources, "limits", "cpu")
    found: dict[str, Any] = {
        "cpu_shares": shares(request if request is not None else (limit or 0)),
        "oom_score_adj": oom_score_adj(pod, container, memory_capacity),
    }
    if limit:
        found["cpu_period"], found["cpu_quota"] = PERIOD, quota(limit)
    if memory := amount(resources, "limits", "memory"):
        found["memory_limit_in_bytes"] = memory
    if limits := huge_pages.limits(resources):
        found["hugepage_limits"] = limits
    return found


def total_requests(all_pods: Iterable[pods.Pod], resource: str) -> int:
    return sum(pod_total(pod, "requests", resource) or 0 for pod in all_pods)
