"""`shirube node add|stop|start|rm`: change the nodes of a running cluster.

A node that is stopped is like a machine that is switched off: its processes end, its containers with them, its
namespaces go, its Node object and its data stay; the cluster notices by itself, as it notices any failure. `start`
switches it on again. `rm` also deletes the Node object and the data; its name is free for the next `add` when it was
the last one.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace

from shirube.cluster import cgroups, components, control, identities, namespaces
from shirube.cluster.api import Api
from shirube.cluster.layout import ClusterLayout, NodeLayout
from shirube.cluster.progress import Progress
from shirube.cluster.spec import ClusterSpec
from shirube.cluster.up import (
    UpError,
    create_node,
    ensure_pause_image,
    import_images,
    is_running,
    locked,
    wait_for_node,
)
from shirube.foundation.clock import SYSTEM
from shirube.network.main import dns_slice_names

_MOST_NODES = 100
_STOP_SECONDS = 40.0
_CONTAINER_GRACE_SECONDS = 2.0
_DNS_SLICES = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"


def add(cluster: ClusterLayout, progress: Progress) -> str:
    """One node more; its name, when it is Ready."""
    with locked(cluster, progress):
        spec = _spec(cluster)
        if len(spec.indexes()) >= _MOST_NODES:
            raise UpError(f"cannot add a node to {cluster.name}: it has {_MOST_NODES}, the most there can be")
        spec = replace(spec, nodes=spec.nodes + 1)
        node = cluster.node(spec.nodes)
        spec.save(cluster.spec)
        _start(node, spec, progress)
        return node.name


def stop(cluster: ClusterLayout, name: str, progress: Progress) -> None:
    """Switch a node off; nothing happens when it is off."""
    with locked(cluster, progress):
        spec = _spec(cluster)
        index = _index(cluster, spec, name)
        if index not in spec.stopped:
            replace(spec, stopped=tuple(sorted({*spec.stopped, index}))).save(cluster.spec)
        _end(cluster.node(index), progress)


def start(cluster: ClusterLayout, name: str, progress: Progress) -> None:
    """Switch a node on and wait until it is Ready; nothing happens when it is on."""
    with locked(cluster, progress):
        spec = _spec(cluster)
        index = _index(cluster, spec, name)
        if index not in spec.stopped:
            progress.say(f"  ✓ node {name} is running")
            return
        spec = replace(spec, stopped=tuple(i for i in spec.stopped if i != index))
        spec.save(cluster.spec)
        _start(cluster.node(index), spec, progress)


def remove(cluster: ClusterLayout, name: str, progress: Progress) -> None:
    """Switch a node off for good: the cluster forgets it, its data goes."""
    with locked(cluster, progress):
        spec = _spec(cluster)
        index = _index(cluster, spec, name)
        node = cluster.node(index)
        _end(node, progress)
        with progress.step(f"forgetting node {name}"):
            api = Api(cluster.admin_kubeconfig)
            api.delete(f"/api/v1/nodes/{name}")
            for piece in dns_slice_names(name):
                api.delete(f"{_DNS_SLICES}/{piece}")
            shutil.rmtree(node.lib, ignore_errors=True)
            without(spec, index).save(cluster.spec)


def without(spec: ClusterSpec, index: int) -> ClusterSpec:
    """The spec without a node; numbers at the end are given back."""
    removed = {*spec.removed, index}
    nodes = spec.nodes
    while nodes in removed:
        removed.discard(nodes)
        nodes -= 1
    stopped = tuple(i for i in spec.stopped if i != index)
    return replace(spec, nodes=nodes, removed=tuple(sorted(removed)), stopped=stopped)


def _spec(cluster: ClusterLayout) -> ClusterSpec:
    if os.geteuid() != 0:
        raise UpError("cannot change a cluster: root is needed for namespaces, mounts and cgroups; run it with sudo")
    spec = ClusterSpec.load(cluster.spec)
    if spec is None or not is_running(cluster):
        raise UpError(
            f"cannot change the nodes of {cluster.name}: it is not running; `shirube up --name {cluster.name}` first"
        )
    return spec


def _index(cluster: ClusterLayout, spec: ClusterSpec, name: str) -> int:
    for index in spec.indexes():
        if cluster.node(index).name == name:
            return index
    names = ", ".join(cluster.node(i).name for i in spec.indexes()) or "none"
    raise UpError(f"cannot find node {name} in cluster {cluster.name}; its nodes are: {names}")


def _start(node: NodeLayout, spec: ClusterSpec, progress: Progress) -> None:
    cluster = node.cluster
    started = SYSTEM.now()
    with progress.step("certificates and namespaces"):
        for directory in components.required_directories(cluster, [node]):
            directory.mkdir(parents=True, exist_ok=True)
        identities.ensure(cluster, spec, [node])
        create_node(node, spec)
    with progress.step("processes"):
        control.ask(cluster.control_socket, "add_node", node=node.index)
    with progress.step("images"):
        ensure_pause_image(cluster)
        import_images(node)
    wait_for_node(node, Api(cluster.admin_kubeconfig), progress, started)


def _end(node: NodeLayout, progress: Progress) -> None:
    cluster = node.cluster
    with progress.step(f"stopping node {node.name}"):
        control.ask(cluster.control_socket, "remove_node", node=node.index)
        deadline = time.monotonic() + _STOP_SECONDS
        while _runs(node):
            if time.monotonic() > deadline:
                raise UpError(f"cannot stop node {node.name}: its processes do not end; see {cluster.logs}")
            time.sleep(0.05)
        cgroups.end_processes(node.cgroup, _CONTAINER_GRACE_SECONDS)
        namespaces.remove_node(node)
        cgroups.remove(node.cgroup)
        if node.run.exists():
            shutil.rmtree(node.run)


def _runs(node: NodeLayout) -> bool:
    children = control.ask(node.cluster.control_socket, "status")["children"]
    return any(c["name"].endswith(f"@{node.name}") for c in children)
