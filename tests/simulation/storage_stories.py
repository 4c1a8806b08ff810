"""Stories of claims and volumes, for the crash harness."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tests.simulation.telling import create, delete, new_template, patch, scaled, step

from shirube.api import nfs_directories
from shirube.api.errors import ApiError
from shirube.api.gvr import (
    CSIDRIVERS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    STATEFULSETS,
    STORAGECLASSES,
    VOLUMEATTACHMENTS,
    VOLUMEATTRIBUTESCLASSES,
)
from shirube.client.rest import Object
from shirube.simulation import world
from shirube.simulation.cluster import Cluster
from shirube.simulation.crash import Scenario


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


AT_ONCE = {"metadata": {"name": "at-once"}, "provisioner": "shirube.dev/local-path", "reclaimPolicy": "Delete"}


def _marked(name: str, node: str) -> Object:
    made = claim(name, storageClassName="local")
    made["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": node}
    return made


async def _take_away(cluster: Cluster) -> None:
    """By hand, the volume of a claim that is bound."""
    while not (bound := [v for v in await cluster.list(PERSISTENTVOLUMES) if _of(v) == "kept"]):
        await asyncio.sleep(0.5)
    await cluster.admin.patch(PERSISTENTVOLUMES, bound[0]["metadata"]["name"], {"spec": {"claimRef": None}})


def _of(volume: Object) -> str:
    phase, reference = (volume.get("status") or {}).get("phase"), volume["spec"].get("claimRef") or {}
    return str(reference.get("name") or "") if phase == "Bound" else ""


BY_HAND = Scenario(
    "a volume taken away by hand, a node that is gone",
    (
        "persistentvolume-binder-controller",
        "local-path-provisioner",
        "persistentvolumeclaim-protection-controller",
        "persistentvolume-protection-controller",
    ),
    (
        step(
            create(STORAGECLASSES, AT_ONCE, None),
            create(STORAGECLASSES, LOCAL_CLASS, None),
            create(PERSISTENTVOLUMECLAIMS, claim("kept", storageClassName="at-once")),
        ),
        step(_take_away, create(PERSISTENTVOLUMECLAIMS, _marked("moved", "gone"))),
        step(create(PODS, user_of("user", "moved"))),
        step(delete(PODS, "user"), delete(PERSISTENTVOLUMECLAIMS, "moved"), delete(PERSISTENTVOLUMECLAIMS, "kept")),
    ),
)
