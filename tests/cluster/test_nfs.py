"""The NFS provisioner end to end: a real server, claims that pods share, and what becomes of their directories.

It runs on the one cluster of this folder, because all of it is about what no other test has: an NFS server beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.conftest import NAME, Cluster
from tests.cluster.nfs.server import Export, nfs_server
from tests.waiting import eventually

from shirube.cluster.spec import ClusterSpec

pytestmark = pytest.mark.cluster
NODE = f"{NAME}-1"


@pytest.fixture(scope="module")
def export(cluster: Cluster) -> Iterator[Export]:
    node = cluster.layout.node(1)
    with nfs_server(node, node.addresses(ClusterSpec().families)[0]) as made:
        yield made


def storage_class(name: str, export: Export, **parameters: str) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "shirube.dev/nfs",
        "parameters": {"server": export.server, "share": export.share, **parameters},
        "mountOptions": ["nfsvers=4.1"],
        "allowVolumeExpansion": True,
    }


def claim(name: str, class_name: str) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": class_name,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def pod(name: str, script: str, *claims: str) -> dict[str, Any]:
    container = {
        "name": "c",
        "image": "localhost/hello:1",
        "command": ["/bin/busybox", "sh", "-c", script],
        "env": [{"name": "B", "value": "/bin/busybox"}],
        "volumeMounts": [{"name": c, "mountPath": f"/{c}"} for c in claims],
    }
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    spec = {
        "nodeName": NODE,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": volumes,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def classes(cluster: Cluster, export: Export, namespace: str) -> Iterator[str]:
    """Of each kind one; the prefix of their names."""
    pattern = "${pvc.metadata.namespace}/${pvc.metadata.name}"
    made = [
        storage_class(f"nfs-{what}", export, onDelete=what, subDir=pattern) for what in ("delete", "archive", "retain")
    ]
    made.append(storage_class("nfs-bad", export, subDir="../${pvc.metadata.name}"))
    made.append(storage_class("nfs-nowhere", export, share=f"{export.share}/nowhere"))
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
    yield "nfs"
    names = [f"storageclass/{one['metadata']['name']}" for one in made]
    cluster.kubectl("delete", *names)


def create(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), "-n", namespace)


def test_pods_share_files_and_each_class_ends_its_directories_its_way(
    cluster: Cluster, export: Export, namespace: str, classes: str
):
    ends = ("delete", "archive", "retain")
    create(cluster, namespace, *(claim(what, f"nfs-{what}") for what in ends), claim("bad", "nfs-bad"))
    write = "; ".join(f"echo from the writer > /{what}/file" for what in ends) + "; $B sleep 1000"
    answer = "until $B grep -q writer /delete/file; do $B sleep 0.1; done; echo and the reader >> /delete/file"
    create(cluster, namespace, pod("writer", write, *ends), pod("reader", f"{answer}; $B sleep 1000", "delete"))
    there = export.directory / namespace

    def shared() -> bool:
        files = [there / what / "file" for what in ends]
        return all(f.exists() for f in files) and files[0].read_text() == "from the writer\nand the reader\n"

    eventually(shared, "both pods have written to the server's directory")
    assert (there / "delete").stat().st_mode & 0o7777 == 0o777, "whatever user a container runs as"
    bound = {one["metadata"]["name"]: one for one in cluster.get("pvc", "-n", namespace)["items"]}
    assert [bound[what]["status"]["phase"] for what in (*ends, "bad")] == ["Bound"] * 3 + ["Pending"]
    assert bound["delete"]["status"]["accessModes"] == ["ReadWriteMany"]
    volumes = {what: bound[what]["spec"]["volumeName"] for what in ends}
    (made,) = [v for v in cluster.get("pv")["items"] if v["metadata"]["name"] == volumes["delete"]]
    assert made["spec"]["nfs"] == {"server": export.server, "path": f"{export.share}/{namespace}/delete"}
    assert made["spec"]["mountOptions"] == ["nfsvers=4.1"]

    for name, text in (
        ("delete", f"Successfully provisioned volume {volumes['delete']}"),
        ("bad", 'with StorageClass "nfs-bad": parameter subDir is "../${pvc.metadata.name}"'),
    ):
        eventually(lambda n=name, t=text: t in cluster.kubectl("describe", "pvc", "-n", namespace, n), text)

    cluster.kubectl("delete", "pod", "-n", namespace, "writer", "reader", "--now")
    cluster.kubectl("delete", "pvc", "-n", namespace, "--all")
    eventually(
        lambda: not any(cluster.run("get", "pv", name).returncode == 0 for name in volumes.values()),
        "the volumes are gone",
    )
    assert sorted(p.name for p in there.iterdir()) == [f"archived-archive-{volumes['archive']}", "retain"]
    assert all((p / "file").read_text() == "from the writer\n" for p in there.iterdir())
    assert sorted(p.name for p in export.directory.iterdir()) == [namespace], "nothing is set aside any more"
    asked = cluster.get("node", NODE)["metadata"]["annotations"]
    assert "shirube.dev/nfs-directories" not in asked


def test_a_share_that_is_not_there_is_told_at_the_pod(cluster: Cluster, export: Export, namespace: str, classes: str):
    create(cluster, namespace, claim("data", "nfs-nowhere"), pod("waits", "true", "data"))

    def told() -> bool:
        said = cluster.kubectl("describe", "pod", "-n", namespace, "waits")
        return "FailedMount" in said and f"of {export.server}:{export.share}/nowhere: mount failed" in said

    eventually(told, "FailedMount says why")
    cluster.kubectl("delete", "pod", "-n", namespace, "waits", "--now")
    # Nobody can remove a directory there: the volume goes because it need not be removed any more.
    volume = cluster.get("pvc", "-n", namespace, "data")["spec"]["volumeName"]
    cluster.kubectl("patch", "pv", volume, "-p", '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}')
    cluster.kubectl("delete", "pvc", "-n", namespace, "data")
    cluster.kubectl("delete", "pv", volume)
