"""The world that a simulated hour begins with: workloads of every kind, sized to a number of pods.

A mix of a busy cluster: most pods belong to Deployments of many sizes, some behind Services and budgets; StatefulSets,
a DaemonSet on every node, Jobs, CronJobs, a few autoscalers, and namespaces with quotas that are tight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shirube.api.gvr import (
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    GVR,
    HORIZONTALPODAUTOSCALERS,
    JOBS,
    NAMESPACES,
    PODDISRUPTIONBUDGETS,
    RESOURCEQUOTAS,
    SERVICES,
    STATEFULSETS,
)
from shirube.client.rest import Client, Object
from shirube.foundation.chance import Chance
from shirube.simulation.hollow import EXIT_CODE, RUN_SECONDS

ZONES = 4
_SIZES = (2, 3, 5, 8, 10, 20, 40, 80)
_NAMESPACE_PODS = 1500  # about
_AUTOSCALERS = 8  # each asks for metrics four times a minute


@dataclass(slots=True)
class World:
    """What has been made, as (namespace, name), for the weather to choose from."""

    namespaces: list[str]
    deployments: list[tuple[str, str]]
    stateful_sets: list[tuple[str, str]]
    autoscaled: list[tuple[str, str]]  # of the deployments
    pods: int = 0
    jobs: int = 0


def template(
    labels: dict[str, str],
    *,
    cpu: str = "50m",
    memory: str = "64Mi",
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    container = {"name": "app", "image": "hollow:1", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    metadata: Object = {"labels": labels}
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": {"containers": [container], "automountServiceAccountToken": False, **spec}}


def deployment(name: str, replicas: int, *, surge: Any = "25%", unavailable: Any = "25%", **more: Any) -> Object:
    labels = {"app": name}
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        "template": template(labels, **more),
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def job(name: str, completions: int, parallelism: int, **more: Any) -> Object:
    spec = {
        "completions": completions,
        "parallelism": parallelism,
        "ttlSecondsAfterFinished": 600,
        "template": template({"job": name}, restartPolicy="Never", **more),
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def stateful_set(name: str, replicas: int, **more: Any) -> Object:
    labels = {"app": name}
    spec = {
        "replicas": replicas,
        "serviceName": name,
        "selector": {"matchLabels": labels},
        "template": template(labels),
        **more,
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}


def daemon_set(name: str) -> Object:
    labels = {"app": name}
    made = template(labels, cpu="20m", memory="32Mi", tolerations=[{"operator": "Exists"}])
    spec = {
        "selector": {"matchLabels": labels},
        "template": made,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
    }
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name}, "spec": spec}


def autoscaler(name: str, least: int, most: int, percent: int = 50) -> Object:
    """Of a Deployment; it follows the CPU that is used, in percent of what is asked for."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    used = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}
    metrics = [{"type": "Resource", "resource": used}]
    return {
        "metadata": {"name": name},
        "spec": {"minReplicas": least, "maxReplicas": most, "metrics": metrics, "scaleTargetRef": target},
    }


def service(name: str) -> Object:
    return {"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}


def budget(name: str) -> Object:
    return {"metadata": {"name": name}, "spec": {"maxUnavailable": "30%", "selector": {"matchLabels": {"app": name}}}}


def cron_job(name: str, minutes: int) -> Object:
    made = job(name, 2, 2, annotations={RUN_SECONDS: "20"})
    spec = {"schedule": f"*/{minutes} * * * *", "jobTemplate": {"spec": made["spec"]}, "concurrencyPolicy": "Forbid"}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": spec}


def quota(pods: int) -> Object:
    return {"metadata": {"name": "quota"}, "spec": {"hard": {"pods": str(pods), "requests.cpu": f"{pods * 100}m"}}}


async def furnish(client: Client, chance: Chance, pods: int, nodes: int) -> World:
    """Create it all; returns when everything was accepted, not when it runs."""
    count = max(1, round(pods / _NAMESPACE_PODS))
    world = World([f"team-{n}" for n in range(count)], [], [], [])
    for name in world.namespaces:
        await client.create(NAMESPACES, {"metadata": {"name": name}})
    await client.create(DAEMONSETS, daemon_set("agent"), "kube-system")
    left = pods - nodes
    share = max(1, left // count)
    for number, namespace in enumerate(world.namespaces):
        if number % 3 == 2:
            await client.create(RESOURCEQUOTAS, quota(share + share // 20), namespace)
        await _namespace(client, chance, world, namespace, share)
    world.pods += nodes
    return world


async def _namespace(client: Client, chance: Chance, world: World, namespace: str, pods: int) -> None:
    async def make(gvr: GVR, obj: Object) -> None:
        await client.create(gvr, obj, namespace)

    await make(CRONJOBS, cron_job("tick", 3))
    for number in range(2):
        failing = {RUN_SECONDS: "30", EXIT_CODE: "1"} if number else None
        await make(JOBS, job(f"batch-{number}", 4, 2, annotations=failing))
        world.jobs += 1
    made, number = 0, 0
    while made < pods:
        size = min(chance.choice(_SIZES), pods - made)
        name = f"web-{number}"
        if number % 6 == 5:
            name = f"db-{number}"
            policy = "Parallel" if size > 10 else "OrderedReady"
            await make(STATEFULSETS, stateful_set(name, size, podManagementPolicy=policy))
            world.stateful_sets.append((namespace, name))
        else:
            surge, unavailable = chance.choice((("25%", "25%"), (1, 0), (0, 1), ("50%", 0)))
            await make(DEPLOYMENTS, deployment(name, size, surge=surge, unavailable=unavailable))
            world.deployments.append((namespace, name))
            if not number and len(world.autoscaled) < _AUTOSCALERS:
                await make(HORIZONTALPODAUTOSCALERS, autoscaler(name, max(1, size // 2), size * 2))
                world.autoscaled.append((namespace, name))
        if number % 2:
            await make(SERVICES, service(name))
            await make(PODDISRUPTIONBUDGETS, budget(name))
        made += size
        number += 1
    world.pods += made
