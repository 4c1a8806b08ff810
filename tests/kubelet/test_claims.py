"""PersistentVolumeClaims in pods: waiting for the binding, local and hostPath volumes, who may use them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from node import NODE, pod, running_node, shell

pytestmark = pytest.mark.cluster
MOUNT = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}


@pytest.fixture
async def node(containerd):
    async with running_node(containerd) as node:
        yield node


def claim(node, name, volume="", **more):
    body = {
        "metadata": {"name": name, "uid": f"claim-{name}", **more.pop("metadata", {})},
        "spec": {"accessModes": ["ReadWriteOnce"], **({"volumeName": volume} if volume else {}), **more},
        "status": {"phase": "Bound" if volume else "Pending"},
    }
    node.api.put(f"/api/v1/namespaces/default/persistentvolumeclaims/{name}", body)


def volume(node, name, claim_name, provisioner="", **spec):
    body = {
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": provisioner}},
        "spec": {"claimRef": {"name": claim_name, "uid": f"claim-{claim_name}"}, **spec},
    }
    node.api.put(f"/api/v1/persistentvolumes/{name}", body)


def using(claim_name, **source):
    return [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name, **source}}]


def affinity(host):
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}
    return {"required": {"nodeSelectorTerms": [term]}}


async def failed(node, text):
    await node.until(lambda: any(text in e["message"] for e in node.api.events("FailedMount")))


async def test_a_pod_waits_for_its_claim_and_then_writes_to_the_local_volume(node):
    disk = node.containerd.dir / "disk"
    disk.mkdir()
    (disk / "old").write_text("")
    claim(node, "waits")
    script = "cat /proc/mounts | grep -q ' /data '; id -G > /data/new; stat -c %g /data/old; sleep 1000"
    wanted = pod("wants", shell(script, **MOUNT), volumes=using("waits"), securityContext={"fsGroup": 4321})
    name = node.run(wanted)
    await failed(node, "error processing PVC default/waits: PVC is not bound")
    assert "sandbox" not in str(node.status(name).get("phase"))
    volume(node, "local-1", "waits", local={"path": str(disk)}, nodeAffinity=affinity(NODE))
    claim(node, "waits", "local-1")
    await node.ready(name)
    await node.log_with(name, "4321\n")
    assert (disk / "new").read_text().split()[-1] == "4321"
    assert os.stat(disk / "old").st_gid == 4321
    uid = node.api.pod(name)["metadata"]["uid"]
    at = node.agent.paths.pod(uid) / "volumes/kubernetes.io~local-volume/local-1"
    assert (at / "old").exists()
    await node.remove(name)
    await node.until(lambda: not at.parent.parent.parent.exists())
    assert sorted(p.name for p in disk.iterdir()) == ["new", "old"], "what is in the volume outlives the pod"


async def test_a_read_only_claim_of_a_host_path_volume(node):
    directory = node.containerd.dir / "shared-claim"
    volume(node, "host-1", "shared", hostPath={"path": str(directory), "type": "DirectoryOrCreate"})
    claim(node, "shared", "host-1")
    script = "touch /data/x 2>&1 || echo refused; sleep 1000"
    name = node.run(pod("reads", shell(script, **MOUNT), volumes=using("shared", readOnly=True)))
    await node.ready(name)
    await node.log_with(name, "refused")
    assert not list(directory.iterdir())


async def test_any_user_writes_to_a_volume_of_the_local_path_provisioner(node):
    directory = node.containerd.dir / "local-path" / "pvc-1_default_local"
    source = {"path": str(directory), "type": "DirectoryOrCreate"}
    volume(node, "pvc-1", "local", "shirube.dev/local-path", hostPath=source)
    claim(node, "local", "pvc-1")
    user = {"securityContext": {"runAsUser": 1000}}
    name = node.run(
        pod("user", shell("echo mine > /data/x && echo done; sleep 1000", **MOUNT, **user), volumes=using("local"))
    )
    await node.ready(name)
    await node.log_with(name, "done")
    assert (directory / "x").stat().st_uid == 1000
    assert os.stat(directory.parent).st_mode & 0o777 == 0o700, "nobody else on the machine gets at it"
    assert [p.name for p in directory.parent.iterdir()] == [directory.name]


async def test_what_cannot_be_mounted_says_why(node):
    volume(node, "far", "far", local={"path": "/"}, nodeAffinity=affinity("elsewhere"))
    claim(node, "far", "far")
    volume(node, "gone", "gone", local={"path": "/no/such/disk"})
    claim(node, "gone", "gone")
    volume(node, "net", "net", nfs={"server": "10.9.9.9", "path": "/x"})
    claim(node, "net", "net")
    volume(node, "taken", "somebody", hostPath={"path": "/tmp"})
    claim(node, "late", "taken")
    claim(node, "ending", "host-1", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    for name in ("far", "gone", "net", "late", "ending", "missing"):
        node.run(pod(f"use-{name}", shell("sleep 1000", **MOUNT), volumes=using(name)))
    await failed(node, 'MountVolume.NodeAffinity check failed for volume "far" : no matching NodeSelectorTerms')
    await failed(node, 'MountVolume.SetUp failed for volume "gone" : path "/no/such/disk" does not exist')
    await failed(node, 'PV "taken" is bound to another claim (somebody)')
    await failed(node, "can't start pod because PVC is being deleted")
    await failed(node, "error processing PVC default/missing: failed to fetch PVC from API server")
    if "nfs" not in Path("/proc/filesystems").read_text():
        await failed(node, "the kernel of this node has no NFS client")


async def test_an_ephemeral_volume_uses_the_claim_that_was_made_for_the_pod(node):
    directory = node.containerd.dir / "own"
    directory.mkdir()
    wanted = pod("owner", shell("echo mine > /data/x; sleep 1000", **MOUNT))
    wanted["spec"]["volumes"] = [{"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]
    volume(node, "eph", "owner-data", hostPath={"path": str(directory)})
    claim(node, "owner-data", "eph")
    name = node.run(wanted)
    await failed(node, "PVC default/owner-data was not created for pod default/owner (pod is not owner)")
    owner = {"kind": "Pod", "name": name, "uid": wanted["metadata"]["uid"], "controller": True}
    claim(node, "owner-data", "eph", metadata={"ownerReferences": [owner]})
    await node.ready(name)
    await node.until(lambda: (directory / "x").exists())


async def test_one_pod_alone_uses_a_read_write_once_pod_claim(node):
    directory = node.containerd.dir / "alone"
    directory.mkdir()
    volume(node, "alone", "alone", hostPath={"path": str(directory)})
    claim(node, "alone", "alone", accessModes=["ReadWriteOncePod"])
    first = node.run(pod("first", shell("sleep 1000", **MOUNT), volumes=using("alone")))
    await node.ready(first)
    second = node.run(pod("second", shell("sleep 1000", **MOUNT), volumes=using("alone")))
    await failed(node, "volume uses the ReadWriteOncePod access mode and is already in use by another pod")
    await node.remove(first)
    await node.ready(second)
