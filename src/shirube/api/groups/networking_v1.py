"""networking.k8s.io/v1: ingresses, network policies and service addresses."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, STATUS, GroupTable, Row

TABLE = GroupTable(
    "networking.k8s.io",
    "v1",
    (
        Row("ingressclasses", "IngressClass", CLUSTER),
        Row("ingresses", "Ingress", short="ing", sub=(STATUS,)),
        Row("ipaddresses", "IPAddress", CLUSTER, short="ip"),
        Row("networkpolicies", "NetworkPolicy", short="netpol"),
        Row("servicecidrs", "ServiceCIDR", CLUSTER, sub=(STATUS,)),
    ),
)
