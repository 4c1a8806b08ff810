"""Who the cluster's processes are: certificates for each, and kubeconfigs that hold them."""

from __future__ import annotations

from pathlib import Path

from shirube.cluster import addons, certificates, kubeconfig, layout
from shirube.cluster.certificates import Pair, Pki
from shirube.cluster.layout import ClusterLayout, NodeLayout
from shirube.cluster.spec import ClusterSpec
from shirube.foundation.address_family import endpoint


def pki(cluster: ClusterLayout, spec: ClusterSpec) -> Pki:
    """The cluster's certificates, made where they are missing, renewed where they are old."""
    service = "kubernetes.default.svc"
    return certificates.ensure_pki(
        cluster.pki,
        cluster_name=cluster.name,
        api_names=[
            "localhost",
            "kubernetes",
            "kubernetes.default",
            service,
            f"{service}.{layout.CLUSTER_DOMAIN}",
            cluster.name,
        ],
        api_addresses=["127.0.0.1", *(a for one in spec.families for a in (one.control_plane, one.kubernetes))],
    )


def ensure(cluster: ClusterLayout, spec: ClusterSpec, nodes: list[NodeLayout]) -> None:
    """Write every kubeconfig: the administrator's (from the host and from inside) and each process's own."""
    authority = pki(cluster, spec)
    inside = f"https://{endpoint(spec.families[0].control_plane, layout.API_PORT)}"
    outside = f"https://{spec.publish_address}:{spec.api_port}"

    def config(path: Path, server: str, pair: Pair, user: str) -> None:
        kubeconfig.write(path, server, authority.ca.cert, pair.cert, pair.key, cluster.name, user=user)

    config(cluster.admin_kubeconfig, outside, authority.admin, "kubernetes-admin")
    config(cluster.internal_kubeconfig, inside, authority.admin, "kubernetes-admin")
    components = {
        "controllers": (authority.controller_manager, "system:kube-controller-manager"),
        "scheduler": (authority.scheduler, "system:kube-scheduler"),
        "gateway": (
            certificates.ensure_client(authority, "gateway", addons.GATEWAY_GROUP, [addons.GATEWAY_GROUP]),
            addons.GATEWAY_GROUP,
        ),
        "metrics": (
            certificates.ensure_client(authority, "metrics", addons.METRICS_USER, [addons.METRICS_GROUP]),
            addons.METRICS_USER,
        ),
    }
    for component, (pair, user) in components.items():
        config(cluster.component_kubeconfig(component), inside, pair, user)
    for node in nodes:
        node_pki = certificates.ensure_node(authority, node.name, node.addresses(spec.families))
        config(node.kubeconfig, inside, node_pki.client, f"system:node:{node.name}")
        user = f"{addons.NETWORK_GROUP}:{node.name}"
        network = certificates.ensure_client(authority, f"network-{node.name}", user, [addons.NETWORK_GROUP])
        config(node.lib / "network.kubeconfig", inside, network, user)
