"""certificates.k8s.io/v1beta1: bundles of certificates that are trusted. Off unless asked for, as upstream."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, GroupTable, Row

TABLE = GroupTable(
    "certificates.k8s.io",
    "v1beta1",
    (Row("clustertrustbundles", "ClusterTrustBundle", CLUSTER),),
)
