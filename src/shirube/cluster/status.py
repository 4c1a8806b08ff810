"""`shirube status`: what runs, where things are, and what is wrong, in words."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from typing import Any

import shirube
from shirube.cluster import control, layout, namespaces
from shirube.cluster.api import Api, ApiUnavailable
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec
from shirube.foundation.address_family import endpoint

_MANY_RESTARTS = 3


@dataclass(slots=True)
class Status:
    """A cluster as it is. `problems` are sentences for people; empty when all is well."""

    name: str
    running: bool
    spec: ClusterSpec | None
    components: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(cluster: ClusterLayout) -> Status:
    spec = ClusterSpec.load(cluster.spec)
    status = Status(cluster.name, running=False, spec=spec)
    if spec is None:
        status.problems.append(
            f"there is no cluster {cluster.name} here; make one with `shirube up --name {cluster.name}`"
        )
        return status
    try:
        status.components = control.ask(cluster.control_socket, "status")["children"]
    except control.NotRunning:
        status.problems.append(f"it is not running; start it with `shirube up --name {cluster.name}`")
        if left := namespaces.left_over(cluster):
            status.problems.append(
                f"its supervisor died without cleaning up ({len(left)} namespaces and mounts are left); "
                f"`shirube up` carries on from there, `shirube down --name {cluster.name}` cleans up"
            )
        return status
    status.running = True
    for child in status.components:
        status.problems += _component_problems(child)
    _read_nodes(cluster, spec, status)
    return status


def _component_problems(child: dict[str, Any]) -> list[str]:
    if not child["pid"]:
        return [f"{child['name']} is not running ({child['last_exit']}); it is being restarted; see {child['log']}"]
    if child["restarts"] >= _MANY_RESTARTS:
        return [f"{child['name']} was restarted {child['restarts']} times ({child['last_exit']}); see {child['log']}"]
    return []


def _read_nodes(cluster: ClusterLayout, spec: ClusterSpec, status: Status) -> None:
    try:
        api = Api(cluster.admin_kubeconfig, timeout=5)
        found = {n["metadata"]["name"]: n for n in (api.get("/api/v1/nodes") or {}).get("items", [])}
    except ApiUnavailable as error:
        status.problems.append(f"the API does not answer: {error}; see {cluster.logs}/apiserver.log")
        return
    for index in spec.indexes():
        node = cluster.node(index)
        obj = found.get(node.name)
        if index in spec.stopped:
            status.stopped.append(node.name)
            continue
        if obj is None:
            status.problems.append(f"node {node.name} has not registered; see {cluster.logs}/kubelet@{node.name}.log")
            continue
        conditions = {c["type"]: c for c in obj["status"].get("conditions", [])}
        ready = conditions.get("Ready", {})
        info = obj["status"].get("nodeInfo", {})
        status.nodes.append(
            {
                "name": node.name,
                "ready": ready.get("status") == "True",
                "address": ", ".join(node.addresses(spec.families)),
                "runtime": info.get("containerRuntimeVersion", ""),
                "podCIDR": obj["spec"].get("podCIDR", ""),
                "unschedulable": bool(obj["spec"].get("unschedulable")),
            }
        )
        if ready.get("status") != "True":
            status.problems.append(f"node {node.name} is not ready: {ready.get('message', 'no condition reported')}")
        status.problems += [
            f"node {node.name} reports {name}: {c.get('message', '')}"
            for name, c in conditions.items()
            if name != "Ready" and c.get("status") == "True"
        ]


def lines(cluster: ClusterLayout, status: Status) -> list[str]:
    """The status as text."""
    out = [f"cluster {cluster.name}: {'running' if status.running else 'not running'}"]
    out.append(
        f"  shirube {shirube.VERSION}, Kubernetes {shirube.KUBERNETES_VERSION}, Python {platform.python_version()}, "
        f"Linux {os.uname().release}"
    )
    if status.spec is not None:
        out.append(
            f"  API         https://{status.spec.publish_address}:{status.spec.api_port} "
            f"(inside: https://{endpoint(status.spec.families[0].control_plane, layout.API_PORT)})"
        )
        out.append(f"  kubeconfig  {cluster.admin_kubeconfig}")
        out.append(f"  data        {cluster.lib}")
        out.append(f"  store       {store_of(cluster, status.spec)}")
        out.append(f"  logs        {cluster.logs}")
    for child in status.components:
        state = f"pid {child['pid']}, {_duration(child['seconds'])}" if child["pid"] else "down"
        again = f", restarted {child['restarts']}x ({child['last_exit']})" if child["restarts"] else ""
        out.append(f"  process     {child['name']:<24} {state}{again}")
    for node in status.nodes:
        cordoned = ", cordoned" if node["unschedulable"] else ""
        out.append(
            f"  node        {node['name']:<24} {'Ready' if node['ready'] else 'NotReady'}{cordoned}, "
            f"{node['address']}, pods {node['podCIDR'] or 'no CIDR yet'}, {node['runtime']}"
        )
    out += [f"  node        {name:<24} stopped; `shirube node start {name}` starts it" for name in status.stopped]
    out += [f"  problem     {p}" for p in status.problems]
    if not status.problems:
        out.append("  all is well")
    return out


def store_of(cluster: ClusterLayout, spec: ClusterSpec) -> str:
    """Where the objects are, for people; without the query of a URL, which names files of keys."""
    if spec.datastore == "etcd":
        return f"etcd in {cluster.etcd}"
    return spec.datastore.partition("?")[0] or f"SQLite in {cluster.store}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
