"""All controllers where owners are set by those who may delete: they have the rights to the owners that they set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.controllers.conftest import items, kubelet
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.gvr import (
    CONTROLLERREVISIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    JOBS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCECLAIMS,
    RESOURCECLAIMTEMPLATES,
    SERVICES,
    STATEFULSETS,
)

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
WAYS = {"whenDeleted": "Delete", "whenScaled": "Delete"}


def workload(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}


async def test_whatever_is_owned_is_made(tmp_path: Path):
    plugin = "OwnerReferencesPermissionEnforcement"
    async with live(tmp_path, enable_admission_plugins=plugin) as house, house.controllers(), kubelet(house.admin):
        admin = house.admin
        await admin.create(NODES, {"metadata": {"name": "n1"}})
        await until(house.furnished, 30)
        await admin.create(DEPLOYMENTS, workload("deployment", replicas=1), "default")
        daemons = workload("daemons")
        daemons["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]  # the node is not ready
        await admin.create(DAEMONSETS, daemons, "default")
        claims = [{"metadata": {"name": "d"}, "spec": CLAIM}]
        sets = workload("sets", serviceName="s", volumeClaimTemplates=claims, persistentVolumeClaimRetentionPolicy=WAYS)
        await admin.create(STATEFULSETS, sets, "default")
        old = workload("old", replicas=1)
        old["spec"]["selector"] = {"app": "old"}
        await admin.create(REPLICATIONCONTROLLERS, old, "default")
        job = workload("job")
        del job["spec"]["selector"]
        job["spec"]["template"]["spec"]["restartPolicy"] = "Never"
        await admin.create(JOBS, job, "default")
        port = [{"port": 80}]
        await admin.create(
            SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": port, "selector": {"a": "b"}}}, "default"
        )
        await admin.create(SERVICES, {"metadata": {"name": "mirrored"}, "spec": {"ports": port}}, "default")
        subsets = [{"addresses": [{"ip": "192.0.2.1"}], "ports": port}]
        await admin.create(ENDPOINTS, {"metadata": {"name": "mirrored"}, "subsets": subsets}, "default")
        device = {"metadata": {"name": "t"}, "spec": {"spec": {}}}
        await admin.create(RESOURCECLAIMTEMPLATES, device, "default")
        volumes = [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}}]
        devices = [{"name": "r", "resourceClaimTemplateName": "t"}]
        spec = {"containers": [{"name": "c", "image": "i"}], "volumes": volumes, "resourceClaims": devices}
        await admin.create(PODS, {"metadata": {"name": "pod"}, "spec": spec}, "default")

        async def owned() -> bool:
            kinds = (REPLICASETS, PODS, CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, ENDPOINTSLICES, RESOURCECLAIMS)
            owners = [
                (found["resource"], owner["kind"])
                for found in [
                    {"resource": kind.resource, **each} for kind in kinds for each in await items(admin, kind)
                ]
                for owner in found["metadata"].get("ownerReferences") or ()
            ]
            return set(owners) >= {
                ("replicasets", "Deployment"),
                ("pods", "ReplicaSet"),
                ("pods", "ReplicationController"),
                ("pods", "DaemonSet"),
                ("pods", "StatefulSet"),
                ("pods", "Job"),
                ("controllerrevisions", "DaemonSet"),
                ("controllerrevisions", "StatefulSet"),
                ("persistentvolumeclaims", "StatefulSet"),
                ("persistentvolumeclaims", "Pod"),
                ("endpointslices", "Service"),
                ("endpointslices", "Endpoints"),
                ("resourceclaims", "Pod"),
            }

        await until(owned, 30, "all that owners make")
    assert not [entry for entry in house.tokens.log if entry[2] == 403]
