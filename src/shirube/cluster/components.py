"""A cluster's processes: which there are, in which namespaces, with which options.

One table-like list in the order of starting. Each component's own module is imported in its own process, after the
fork; what all of them share is imported before it (`SHARED`), once.
"""

from __future__ import annotations

import functools
import importlib
import shutil
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from shirube.cluster import api_config, certificates, containerd, etcd, identities, layout
from shirube.cluster.layout import ClusterLayout, NodeLayout
from shirube.cluster.namespaces import network_namespace_path
from shirube.cluster.spec import ClusterSpec
from shirube.cluster.supervisor import ChildSpec
from shirube.foundation import address_family, process

SHARED = (
    "asyncio",
    "ssl",
    "aiohttp",
    "orjson",
    "uvloop",
    "shirube.foundation.process",
    "shirube.api.resources",
    "shirube.client.rest",
    "shirube.client.informer",
    "shirube.client.controller",
    "shirube.client.events",
    "shirube.client.leader_election",
)


def import_shared() -> None:
    for name in SHARED:
        importlib.import_module(name)
    process.settle_memory()


def children(cluster: ClusterLayout, spec: ClusterSpec, api_socket: socket.socket) -> list[ChildSpec]:
    """Every process of the cluster, in the order in which they are started."""
    pki = identities.pki(cluster, spec)
    nodes = [cluster.node(i) for i in spec.running()]
    found = [etcd.child(cluster)] if spec.datastore == "etcd" else []
    found.append(_api_server(cluster, spec, pki, api_socket))
    found += [_containerd(node) for node in nodes]
    found += [_kubelet(node, spec, pki) for node in nodes]
    found += [_controllers(cluster, spec, pki), _scheduler(cluster)]
    found += [_network(node, spec) for node in nodes]
    found.append(_gateway(cluster, spec))
    if (pasta := shutil.which("pasta")) is not None:
        found.append(_outbound(cluster, pasta))
    return found


def node_children(node: NodeLayout, spec: ClusterSpec) -> list[ChildSpec]:
    """A node's processes, for one that joins or comes back while the cluster runs."""
    return [_containerd(node), _kubelet(node, spec, identities.pki(node.cluster, spec)), _network(node, spec)]


def _component(
    name: str,
    module: str,
    options: Callable[[Any], Any],
    cluster: ClusterLayout,
    node: NodeLayout | None = None,
    **kw: Any,
) -> ChildSpec:
    """A component of ours: `module.run(options, stop)` in a fork. `options` is made there, from the module's class."""
    title = f"shirube-{name.removesuffix('@' + node.name) if node else name}"
    return ChildSpec(
        name=name,
        log=cluster.logs / f"{name}.log",
        cgroup=f"{node.cgroup}/system" if node else f"{cluster.cgroup}/control-plane",
        main=functools.partial(_run, module, options, title),
        network=network_namespace_path(node.netns if node else cluster.netns),
        mount=node.mount_namespace if node else None,
        uts=node.uts_namespace if node else None,
        **kw,
    )


def _run(module_name: str, options: Callable[[Any], Any], title: str) -> int:
    module = importlib.import_module(module_name)
    run: Callable[..., Awaitable[None]] = module.run
    return process.run(lambda stop: run(options(module.Options), stop), title)


def _api_server(
    cluster: ClusterLayout, spec: ClusterSpec, pki: certificates.Pki, api_socket: socket.socket
) -> ChildSpec:
    def options(kind: Any) -> Any:
        inside = [_listener(one.control_plane) for one in spec.families]
        return kind(
            data_dir=cluster.store,
            datastore=etcd.url(cluster) if spec.datastore == "etcd" else spec.datastore,
            sockets=[api_socket, *inside],
            advertise_host=spec.families[0].control_plane,
            advertise_port=layout.API_PORT,
            service_cidr=layout.joined(spec.families, "services"),
            tls_cert=pki.apiserver.cert,
            tls_key=pki.apiserver.key,
            client_ca=pki.ca.cert,
            service_account_key=pki.service_account_key,
            issuer=f"https://kubernetes.default.svc.{layout.CLUSTER_DOMAIN}",
            kubelet_client_cert=pki.apiserver_kubelet_client.cert,
            kubelet_client_key=pki.apiserver_kubelet_client.key,
            kubelet_ca=pki.ca.cert,
            front_proxy_ca=pki.front_proxy_ca.cert,
            front_proxy_cert=pki.front_proxy_client.cert,
            front_proxy_key=pki.front_proxy_client.key,
            runtime_config=spec.runtime_config,
            enable_admission_plugins=spec.enable_admission_plugins,
            disable_admission_plugins=spec.disable_admission_plugins,
            **(api_config.options(Path(spec.api_config), cluster.logs / "audit.log") if spec.api_config else {}),
        )

    return _component("apiserver", "shirube.apiserver.main", options, cluster, keep=(api_socket,))


def _listener(address: str) -> socket.socket:
    family = address_family.of(address).socket_family
    return socket.create_server((address, layout.API_PORT), family=family, backlog=1024)


def _controllers(cluster: ClusterLayout, spec: ClusterSpec, pki: certificates.Pki) -> ChildSpec:
    def options(kind: Any) -> Any:
        from shirube.cluster.control_loops import controllers, metrics_server

        loops = controllers.Options(
            kubeconfig=cluster.component_kubeconfig("controllers"),
            cluster_cidr=layout.joined(spec.families, "pods"),
            service_cidr=layout.joined(spec.families, "services"),
            node_monitor_grace=float(spec.node_grace),
            root_ca=pki.ca.cert,
            signing_cert=pki.ca.cert,
            signing_key=pki.ca.key,
            service_account_key=pki.service_account_key,
            local_path_directory=str(cluster.lib / "local-path"),
            identity=cluster.name,  # there is one, so a new one goes on with the old one's Lease at once
        )
        metrics = metrics_server.Options(
            kubeconfig=cluster.component_kubeconfig("metrics"),
            address=spec.families[0].control_plane,
            port=layout.METRICS_PORT,
            tls_cert=pki.metrics_server.cert,
            tls_key=pki.metrics_server.key,
            front_proxy_ca=pki.front_proxy_ca.cert,
        )
        return kind(controllers=loops, metrics=metrics)

    return _component("controllers", "shirube.cluster.control_loops", options, cluster)


def _scheduler(cluster: ClusterLayout) -> ChildSpec:
    return _component(
        "scheduler",
        "shirube.scheduler.main",
        lambda kind: kind(kubeconfig=cluster.component_kubeconfig("scheduler"), identity=cluster.name),
        cluster,
    )


def _kubelet(node: NodeLayout, spec: ClusterSpec, pki: certificates.Pki) -> ChildSpec:
    node_pki = certificates.ensure_node(pki, node.name, node.addresses(spec.families))

    def options(kind: Any) -> Any:
        return kind(
            kubeconfig=node.kubeconfig,
            node_name=node.name,
            node_ip=",".join(node.addresses(spec.families)),
            root_dir=node.lib / "kubelet",
            runtime_endpoint=node.containerd_socket,
            cgroup_root=f"{node.cgroup}/kubepods",
            cni_conf_dir=node.cni_conf,
            cni_bin_dir=Path(containerd.CNI_PLUGINS),
            tls_cert=node_pki.serving.cert,
            tls_key=node_pki.serving.key,
            client_ca=pki.ca.cert,
            cluster_dns=layout.joined(spec.families, "dns"),
            cluster_domain=layout.CLUSTER_DOMAIN,
            node_lease_duration=spec.node_grace,
            local_path_directory=node.cluster.lib / "local-path",
        )

    return _component(f"kubelet@{node.name}", "shirube.kubelet.main", options, node.cluster, node)


def _network(node: NodeLayout, spec: ClusterSpec) -> ChildSpec:
    def options(kind: Any) -> Any:
        return kind(
            kubeconfig=node.lib / "network.kubeconfig",
            node_name=node.name,
            node_ip=",".join(node.addresses(spec.families)),
            cluster_cidr=layout.joined(spec.families, "pods"),
            service_cidr=layout.joined(spec.families, "services"),
            cluster_dns=layout.joined(spec.families, "dns"),
            cluster_domain=layout.CLUSTER_DOMAIN,
            node_network=layout.joined(spec.families, "node_network"),
            cni_conf_dir=node.cni_conf,
            cni_bin_dir=containerd.CNI_PLUGINS,
        )

    return _component(f"network@{node.name}", "shirube.cluster.node_network", options, node.cluster, node)


def _gateway(cluster: ClusterLayout, spec: ClusterSpec) -> ChildSpec:
    def options(kind: Any) -> Any:
        return kind(
            kubeconfig=cluster.component_kubeconfig("gateway"),
            publish_address=spec.publish_address,
            control_socket=cluster.control_socket,
            cluster_cidr=layout.joined(spec.families, "pods"),
            service_cidr=layout.joined(spec.families, "services"),
            node_network=layout.joined(spec.families, "node_network"),
        )

    return _component("gateway", "shirube.network.gateway", options, cluster)


def _containerd(node: NodeLayout) -> ChildSpec:
    return ChildSpec(
        name=f"containerd@{node.name}",
        log=node.cluster.logs / f"containerd@{node.name}.log",
        cgroup=f"{node.cgroup}/system",
        argv=containerd.prepare(node),
        network=network_namespace_path(node.netns),
        mount=node.mount_namespace,
        uts=node.uts_namespace,
        environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(node.run)},
    )


def _outbound(cluster: ClusterLayout, pasta: str) -> ChildSpec:
    """The way out for pods: user-space forwarding, so that the host needs no interface, route or rule."""
    path = network_namespace_path(cluster.netns)
    return ChildSpec(
        name="outbound",
        log=cluster.logs / "outbound.log",
        cgroup=f"{cluster.cgroup}/control-plane",
        argv=[
            pasta,
            "--foreground",
            "--quiet",
            "--config-net",
            "--runas",
            "0:0",
            "--no-map-gw",
            "--tcp-ports",
            "none",
            "--udp-ports",
            "none",
            "--tcp-ns",
            "none",
            "--udp-ns",
            "none",
            "--netns",
            str(path),
        ],
    )


def required_directories(cluster: ClusterLayout, nodes: list[NodeLayout]) -> list[Path]:
    return [cluster.logs, cluster.store, cluster.run, *(n.lib for n in nodes), *(n.run for n in nodes)]
