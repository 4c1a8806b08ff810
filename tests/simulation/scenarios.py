"""Stories in which each controller of the table has something to write, for the crash harness.

Together they must exercise every row: `test_crashes.py` checks that none is forgotten.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from shirube.api import nfs_directories
from shirube.api.errors import ApiError
from shirube.api.gvr import (
    CERTIFICATESIGNINGREQUESTS,
    CLUSTERROLES,
    CONFIGMAPS,
    CRONJOBS,
    CSIDRIVERS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    GVR,
    HORIZONTALPODAUTOSCALERS,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICATIONCONTROLLERS,
    RESOURCECLAIMTEMPLATES,
    RESOURCEQUOTAS,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICECIDRS,
    SERVICES,
    STATEFULSETS,
    STORAGECLASSES,
    VOLUMEATTACHMENTS,
    VOLUMEATTRIBUTESCLASSES,
)
from shirube.client.rest import Object
from shirube.controllers import certificate_request as requests
from shirube.foundation.clock import rfc3339
from shirube.simulation import world
from shirube.simulation.cluster import Cluster
from shirube.simulation.crash import Scenario, Step
from shirube.simulation.hollow import EXIT_CODE, RUN_SECONDS

FINALIZER = "example.com/keep"


def step(*actions: Callable[[Cluster], Awaitable[Any]]) -> Step:
    async def act(cluster: Cluster) -> None:
        for action in actions:
            await action(cluster)

    return act


def create(gvr: GVR, obj: Object, namespace: str | None = "default") -> Callable[[Cluster], Awaitable[Any]]:
    async def act(cluster: Cluster) -> None:
        while True:
            try:
                await cluster.admin.create(gvr, obj, namespace)
                return
            except ApiError as error:
                # The namespace's service account is made by a controller, which may just have died.
                if error.code != 403 or "serviceaccount" not in error.message.lower():
                    raise
            await asyncio.sleep(0.5)

    return act


def patch(gvr: GVR, name: str, change: Object, namespace: str | None = "default", **more: Any) -> Any:
    return lambda cluster: cluster.admin.patch(gvr, name, change, namespace, **more)


def delete(gvr: GVR, name: str, namespace: str | None = "default", **more: Any) -> Any:
    return lambda cluster: cluster.admin.delete(gvr, name, namespace, **more)


def wait(seconds: float) -> Any:
    return lambda cluster: asyncio.sleep(seconds)


def new_template(version: str) -> Object:
    return {"spec": {"template": {"metadata": {"annotations": {"version": version}}}}}


def scaled(replicas: int) -> Object:
    return {"spec": {"replicas": replicas}}


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


def claim_template(name: str) -> Object:
    return {"metadata": {"name": name}, "spec": claim_spec(storageClassName="local")}


def claim_spec(size: str = "1Gi", **more: Any) -> Object:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **more}


LOCAL_CLASS = {
    "metadata": {"name": "local"},
    "provisioner": "shirube.dev/local-path",
    "volumeBindingMode": "WaitForFirstConsumer",
    "allowVolumeExpansion": True,
}
RETENTION = {"whenDeleted": "Delete", "whenScaled": "Delete"}

STATEFUL_SET = Scenario(
    "a StatefulSet with claims",
    (
        "statefulset-controller",
        "persistentvolume-binder-controller",
        "local-path-provisioner",
        "persistentvolumeclaim-protection-controller",
        "persistentvolume-protection-controller",
        "persistentvolume-expander-controller",
        "garbage-collector-controller",
    ),
    (
        step(
            create(STORAGECLASSES, LOCAL_CLASS, None),
            create(
                STATEFULSETS,
                world.stateful_set(
                    "db",
                    2,
                    volumeClaimTemplates=[claim_template("data")],
                    persistentVolumeClaimRetentionPolicy=RETENTION,
                ),
            ),
        ),
        step(patch(STATEFULSETS, "db", new_template("2"))),
        step(
            patch(PERSISTENTVOLUMECLAIMS, "data-db-0", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}),
        ),
        step(patch(STATEFULSETS, "db", scaled(1))),
        step(delete(STATEFULSETS, "db", propagation_policy="Background")),
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

AUTOSCALER = Scenario(
    "an autoscaler without metrics",
    ("horizontal-pod-autoscaler-controller",),
    (
        step(
            create(DEPLOYMENTS, world.deployment("web", 1)),
            create(
                HORIZONTALPODAUTOSCALERS,
                {
                    "metadata": {"name": "web"},
                    "spec": {
                        "minReplicas": 2,
                        "maxReplicas": 4,
                        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                    },
                },
            ),
            wait(40),
        ),
    ),
    quiet=20.0,
)


def certificate_request() -> Object:
    from tests.controllers.test_identity import csr

    made = csr(requests.CLIENT_KUBELET, "system:node:node-0", "system:nodes", "client auth", expirationSeconds=600)
    made["metadata"]["name"] = "renewal"
    return made


RENEWAL_BINDING = {
    "metadata": {"name": "renew"},
    "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
    },
    "subjects": [{"kind": "Group", "name": "system:nodes", "apiGroup": "rbac.authorization.k8s.io"}],
}


async def _ask_for_certificate(cluster: Cluster) -> None:
    from shirube.api.gvr import CLUSTERROLEBINDINGS

    await cluster.admin.create(CLUSTERROLEBINDINGS, RENEWAL_BINDING)
    node = cluster.client("system:node:node-0")
    await node.create(CERTIFICATESIGNINGREQUESTS, certificate_request())


CERTIFICATES = Scenario(
    "a certificate is asked for, given, and forgotten",
    (
        "certificatesigningrequest-approving-controller",
        "certificatesigningrequest-signing-controller",
        "certificatesigningrequest-cleaner-controller",
    ),
    (step(_ask_for_certificate), step(wait(3700))),
    nodes=0,
)


async def _bootstrap_token(cluster: Cluster) -> None:
    cluster_info = {
        "metadata": {"name": "cluster-info"},
        "data": {"kubeconfig": "apiVersion: v1\nkind: Config\n"},
    }
    await cluster.admin.create(CONFIGMAPS, cluster_info, "kube-public")
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-signing": "true",
        "expiration": rfc3339(cluster.clock.now() + 60),
    }
    secret = {
        "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
    }
    await cluster.admin.create(SECRETS, secret, "kube-system")


BOOTSTRAP = Scenario(
    "a bootstrap token signs and expires",
    ("bootstrap-signer-controller", "token-cleaner-controller"),
    (step(_bootstrap_token), step(wait(70))),
    nodes=0,
)

ROLES = Scenario(
    "an aggregated role",
    ("clusterrole-aggregation-controller",),
    (
        step(
            create(
                CLUSTERROLES,
                {
                    "metadata": {"name": "extra", "labels": {"rbac.authorization.k8s.io/aggregate-to-admin": "true"}},
                    "rules": [{"apiGroups": ["x.io"], "resources": ["xs"], "verbs": ["get"]}],
                },
                None,
            )
        ),
        step(delete(CLUSTERROLES, "extra", None)),
    ),
)


def token_secret() -> Object:
    return {
        "metadata": {"name": "robot-token", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token",
    }


TOKENS = Scenario(
    "a token kept in a Secret",
    ("serviceaccount-token-controller",),
    (
        step(create(SERVICEACCOUNTS, {"metadata": {"name": "robot"}}), create(SECRETS, token_secret())),
        step(delete(SERVICEACCOUNTS, "robot")),
    ),
)


async def _forgotten_tokens(cluster: Cluster) -> None:
    """Two that an account lists, one of which was marked invalid long ago; uses have been noted for years."""
    tracking = "kube-apiserver-legacy-service-account-token-tracking"
    await cluster.admin.patch(CONFIGMAPS, tracking, {"data": {"since": "2020-01-01"}}, "kube-system")
    references = [{"name": "unused"}, {"name": "invalid"}]
    await cluster.admin.create(SERVICEACCOUNTS, {"metadata": {"name": "robot"}, "secrets": references}, "default")
    for name, labels in (("unused", {}), ("invalid", {"kubernetes.io/legacy-token-invalid-since": "2021-01-01"})):
        made = token_secret()
        made["metadata"] |= {"name": name, "labels": labels}
        await cluster.admin.create(SECRETS, made, "default")


FORGOTTEN_TOKENS = Scenario(
    "tokens in Secrets that nobody uses",
    ("legacy-serviceaccount-token-cleaner-controller",),
    (step(_forgotten_tokens, wait(40)),),
    nodes=0,
)


def volume(name: str, **spec: Any) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, **spec}
    return {"metadata": {"name": name}, "spec": spec}


def claim(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": claim_spec(**spec)}


def user_of(name: str, claim_name: str) -> Object:
    made = world.template({"app": name}, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}])
    return {"metadata": {"name": name}, "spec": made["spec"]}


CSI = {"driver": "disk.example.com", "volumeHandle": "v1"}


async def _attach(cluster: Cluster) -> None:
    """What a driver's external attacher does."""
    while not (found := await cluster.list(VOLUMEATTACHMENTS)):
        await asyncio.sleep(0.5)
    for one in found:
        await cluster.admin.update_status(VOLUMEATTACHMENTS, {**one, "status": {"attached": True}})


VOLUMES = Scenario(
    "volumes that are there already",
    (
        "persistentvolume-binder-controller",
        "persistentvolume-attach-detach-controller",
        "persistentvolumeclaim-protection-controller",
        "persistentvolume-protection-controller",
        "volumeattributesclass-protection-controller",
    ),
    (
        step(
            create(CSIDRIVERS, {"metadata": {"name": CSI["driver"]}, "spec": {"attachRequired": True}}, None),
            create(
                VOLUMEATTRIBUTESCLASSES,
                {"metadata": {"name": "gold"}, "driverName": CSI["driver"], "parameters": {"tier": "gold"}},
                None,
            ),
            create(PERSISTENTVOLUMES, volume("disk", csi=CSI), None),
            create(PERSISTENTVOLUMES, volume("path", hostPath={"path": "/x"}, storageClassName="manual"), None),
            create(PERSISTENTVOLUMECLAIMS, claim("disk", storageClassName="")),
            create(PERSISTENTVOLUMECLAIMS, claim("path", storageClassName="manual")),
        ),
        step(create(PODS, user_of("user", "disk")), _attach),
        step(delete(PERSISTENTVOLUMECLAIMS, "disk")),
        step(delete(PODS, "user")),
        step(
            delete(PERSISTENTVOLUMES, "path", None),
            delete(PERSISTENTVOLUMECLAIMS, "path"),
            delete(VOLUMEATTRIBUTESCLASSES, "gold", None),
        ),
    ),
)


def ephemeral_pod() -> Object:
    ephemeral = {"volumeClaimTemplate": {"spec": claim_spec(storageClassName="local")}}
    made = world.template({"app": "scratch"}, volumes=[{"name": "scratch", "ephemeral": ephemeral}])
    return {"metadata": {"name": "scratch"}, "spec": made["spec"]}


EPHEMERAL = Scenario(
    "a pod with a volume of its own",
    ("ephemeral-volume-controller", "garbage-collector-controller"),
    (
        step(create(STORAGECLASSES, LOCAL_CLASS, None), create(PODS, ephemeral_pod())),
        step(delete(PODS, "scratch")),
    ),
)


NFS_CLASS = {
    "metadata": {"name": "nfs"},
    "provisioner": "shirube.dev/nfs",
    "parameters": {"server": "nfs.example.com", "share": "/export", "subDir": "${pvc.metadata.name}"},
}


async def _node_asked(cluster: Cluster) -> Object:
    while True:
        for node in await cluster.list(NODES):
            if nfs_directories.requests_of(node):
                return node
        await asyncio.sleep(0.5)


async def _remove_directory(cluster: Cluster) -> None:
    """What the agent does of the node that is asked."""
    while True:
        node = await _node_asked(cluster)
        done = {name: replace(one, done=True) for name, one in nfs_directories.requests_of(node).items()}
        try:
            await cluster.admin.patch(NODES, node["metadata"]["name"], nfs_directories.patch_of(node, done))
            return
        except ApiError as error:
            if error.code != 409:
                raise


NFS = Scenario(
    "a directory of an NFS export, twice of the same name",
    ("nfs-provisioner", "persistentvolume-binder-controller", "persistentvolume-protection-controller"),
    (
        step(
            create(STORAGECLASSES, NFS_CLASS, None), create(PERSISTENTVOLUMECLAIMS, claim("a", storageClassName="nfs"))
        ),
        step(
            delete(PERSISTENTVOLUMECLAIMS, "a"),
            _node_asked,
            create(PERSISTENTVOLUMECLAIMS, claim("a", storageClassName="nfs")),
            _remove_directory,
        ),
        step(delete(PERSISTENTVOLUMECLAIMS, "a"), _remove_directory),
    ),
)


def claiming_pod() -> Object:
    made = world.template({"app": "device"})
    made["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]
    return {"metadata": {"name": "device"}, "spec": made["spec"]}


CLAIM_TEMPLATE = {
    "metadata": {"name": "gpu"},
    "spec": {"spec": {"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu.example.com"}}]}}},
}

DEVICES = Scenario(
    "a pod with a device of its own",
    ("resourceclaim-controller",),
    (
        step(create(RESOURCECLAIMTEMPLATES, CLAIM_TEMPLATE), create(PODS, claiming_pod())),
        step(delete(PODS, "device")),
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
    STATEFUL_SET,
    DAEMON_SET,
    REPLICATION_CONTROLLER,
    JOBS_STORY,
    CRON,
    NAMESPACE,
    NODE,
    MIRRORING,
    AUTOSCALER,
    CERTIFICATES,
    BOOTSTRAP,
    ROLES,
    TOKENS,
    FORGOTTEN_TOKENS,
    VOLUMES,
    EPHEMERAL,
    NFS,
    DEVICES,
    SERVICE_CIDR,
)
