"""Stories in which each controller of the table has something to write, for the crash harness.

Together they must exercise every row: `test_crashes.py` checks that none is forgotten. Those of workloads, namespaces
and nodes are here, the others in the modules beside, in the words of `telling`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.simulation import autoscaling_stories, device_stories, identity_stories, storage_stories
from tests.simulation.telling import create, delete, new_template, patch, scaled, step, wait

from shirube.api.gvr import (
    CONFIGMAPS,
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    JOBS,
    NAMESPACES,
    NODES,
    PODDISRUPTIONBUDGETS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    SERVICEACCOUNTS,
    SERVICECIDRS,
    SERVICES,
)
from shirube.client.rest import Object
from shirube.simulation import world
from shirube.simulation.cluster import Cluster
from shirube.simulation.crash import Scenario
from shirube.simulation.hollow import EXIT_CODE, RUN_SECONDS

FINALIZER = "example.com/keep"


DEPLOYMENT = Scenario(
    "a Deployment behind a Service",
    (
        "deployment-controller",
        "replicaset-controller",
        "endpoints-controller",
        "endpointslice-controller",
        "disruption-controller",
        "garbage-collector-controller",
    ),
    (
        step(
            create(SERVICES, world.service("web")),
            create(PODDISRUPTIONBUDGETS, world.budget("web")),
            create(DEPLOYMENTS, world.deployment("web", 3)),
        ),
        step(patch(DEPLOYMENTS, "web", new_template("2"))),
        step(patch(DEPLOYMENTS, "web", scaled(5))),
        step(patch(DEPLOYMENTS, "web", {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}})),
        step(
            patch(
                DEPLOYMENTS,
                "web",
                {
                    **new_template("3"),
                },
            )
        ),
        step(delete(DEPLOYMENTS, "web", propagation_policy="Foreground")),
    ),
)

ORPHANS = Scenario(
    "orphans and adoption",
    ("replicaset-controller", "deployment-controller", "garbage-collector-controller"),
    (
        step(create(DEPLOYMENTS, world.deployment("web", 2))),
        step(delete(DEPLOYMENTS, "web", propagation_policy="Orphan")),
        step(create(DEPLOYMENTS, world.deployment("web", 3))),
        step(delete(DEPLOYMENTS, "web", propagation_policy="Background")),
    ),
)


DAEMON_SET = Scenario(
    "a DaemonSet",
    ("daemonset-controller",),
    (
        step(create(DAEMONSETS, world.daemon_set("agent"))),
        step(patch(DAEMONSETS, "agent", new_template("2"))),
        step(patch(DAEMONSETS, "agent", {"spec": {"template": {"spec": {"nodeSelector": {"none": "here"}}}}})),
    ),
)

REPLICATION_CONTROLLER = Scenario(
    "a ReplicationController",
    ("replicationcontroller-controller",),
    (
        step(
            create(
                REPLICATIONCONTROLLERS,
                {
                    "metadata": {"name": "old"},
                    "spec": {"replicas": 3, "selector": {"app": "old"}, "template": world.template({"app": "old"})},
                },
            )
        ),
        step(patch(REPLICATIONCONTROLLERS, "old", scaled(1))),
    ),
)


def lasting_job(name: str, completions: int, parallelism: int, seconds: int = 2, **spec: Any) -> Object:
    annotations = {RUN_SECONDS: str(seconds), **spec.pop("annotations", {})}
    made = world.job(name, completions, parallelism, annotations=annotations)
    del made["spec"]["ttlSecondsAfterFinished"]
    made["spec"] |= spec
    return made


JOBS_STORY = Scenario(
    "Jobs",
    ("job-controller", "ttl-after-finished-controller"),
    (
        step(create(JOBS, lasting_job("plain", 4, 2))),
        step(create(JOBS, lasting_job("indexed", 3, 2, completionMode="Indexed"))),
        step(create(JOBS, lasting_job("failing", 2, 1, backoffLimit=1, annotations={EXIT_CODE: "1"})), wait(40)),
        step(
            create(
                JOBS,
                lasting_job(
                    "per-index", 2, 2, completionMode="Indexed", backoffLimitPerIndex=1, annotations={EXIT_CODE: "1"}
                ),
            ),
            wait(40),
        ),
        step(create(JOBS, lasting_job("suspended", 2, 2, seconds=20)), wait(3)),
        step(patch(JOBS, "suspended", {"spec": {"suspend": True}})),
        step(patch(JOBS, "suspended", {"spec": {"suspend": False}}), wait(25)),
        step(create(JOBS, lasting_job("short-lived", 1, 1, ttlSecondsAfterFinished=5)), wait(10)),
    ),
)


async def _until_minute(cluster: Cluster, minute: int) -> None:
    now = cluster.clock.monotonic()
    await asyncio.sleep(max(0.0, minute * 60 - now))


CRON = Scenario(
    "a CronJob",
    ("cronjob-controller",),
    (
        step(
            create(CRONJOBS, {**world.cron_job("tick", 1), "metadata": {"name": "tick"}}),
            lambda cluster: _until_minute(cluster, 3),
            wait(30),
            patch(CRONJOBS, "tick", {"spec": {"suspend": True}}),
            wait(30),
        ),
    ),
)

NAMESPACE = Scenario(
    "a namespace comes and goes",
    (
        "namespace-controller",
        "serviceaccount-controller",
        "root-ca-certificate-publisher-controller",
        "resourcequota-controller",
    ),
    (
        step(create(NAMESPACES, {"metadata": {"name": "team"}}, None)),
        step(
            create(RESOURCEQUOTAS, world.quota(4), "team"),
            wait(3),
            create(DEPLOYMENTS, world.deployment("web", 3), "team"),
            create(CONFIGMAPS, {"metadata": {"name": "c", "finalizers": [FINALIZER]}}, "team"),
        ),
        step(patch(DEPLOYMENTS, "web", scaled(2), "team")),
        step(delete(SERVICEACCOUNTS, "default", "team")),
        step(delete(NAMESPACES, "team", None)),
        step(patch(CONFIGMAPS, "c", {"metadata": {"finalizers": None}}, "team"), wait(30)),
    ),
    quiet=20.0,
)


async def _fail(cluster: Cluster, name: str, seconds: float) -> None:
    cluster.nodes.fail(name)
    await asyncio.sleep(seconds)
    cluster.nodes.recover(name)


def brief_tolerations() -> list[Object]:
    keys = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
    return [{"key": k, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5} for k in keys]


NODE = Scenario(
    "nodes come, fail and go",
    (
        "node-ipam-controller",
        "node-lifecycle-controller",
        "taint-eviction-controller",
        "pod-garbage-collector-controller",
        "ttl-controller",
    ),
    (
        step(
            lambda cluster: cluster.nodes.add("node-3"),
            create(DEPLOYMENTS, world.deployment("web", 4, tolerations=brief_tolerations())),
        ),
        step(lambda cluster: _fail(cluster, "node-1", 90)),
        step(lambda cluster: _remove(cluster, "node-2"), wait(120)),
    ),
    quiet=45.0,
)


async def _remove(cluster: Cluster, name: str) -> None:
    cluster.nodes.fail(name)
    await cluster.admin.delete(NODES, name)


MIRRORING = Scenario(
    "Endpoints of people's own",
    ("endpointslice-mirroring-controller",),
    (
        step(
            create(SERVICES, {"metadata": {"name": "own"}, "spec": {"ports": [{"port": 80}]}}),
            create(
                ENDPOINTS,
                {
                    "metadata": {"name": "own"},
                    "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "http", "port": 80}]}],
                },
            ),
        ),
        step(
            patch(
                ENDPOINTS,
                "own",
                {"subsets": [{"addresses": [{"ip": "192.0.2.2"}], "ports": [{"name": "http", "port": 81}]}]},
            )
        ),
        step(delete(ENDPOINTS, "own")),
    ),
)

SERVICE_CIDR = Scenario(
    "a range of addresses comes and goes",
    ("service-cidr-controller",),
    (
        step(create(SERVICECIDRS, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.200.0.0/24"]}}, None)),
        step(delete(SERVICECIDRS, "more", None), wait(15)),
    ),
)

SCENARIOS: tuple[Scenario, ...] = (
    DEPLOYMENT,
    ORPHANS,
    storage_stories.STATEFUL_SET,
    DAEMON_SET,
    REPLICATION_CONTROLLER,
    JOBS_STORY,
    CRON,
    NAMESPACE,
    NODE,
    MIRRORING,
    autoscaling_stories.METERED,
    autoscaling_stories.BLIND,
    identity_stories.CERTIFICATES,
    identity_stories.BOOTSTRAP,
    identity_stories.ROLES,
    identity_stories.TOKENS,
    identity_stories.FORGOTTEN_TOKENS,
    identity_stories.TRUST,
    identity_stories.POLICIES,
    storage_stories.VOLUMES,
    storage_stories.EPHEMERAL,
    storage_stories.NFS,
    storage_stories.BY_HAND,
    device_stories.CLAIMED,
    device_stories.TAINTED,
    SERVICE_CIDR,
)
