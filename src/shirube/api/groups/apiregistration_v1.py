"""apiregistration.k8s.io/v1: aggregated API servers."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, STATUS, GroupTable, Row

TABLE = GroupTable(
    "apiregistration.k8s.io",
    "v1",
    (Row("apiservices", "APIService", CLUSTER, categories="api-extensions", sub=(STATUS,)),),
)
