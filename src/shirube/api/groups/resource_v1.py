"""resource.k8s.io/v1: dynamic resource allocation."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, STATUS, GroupTable, Row

TABLE = GroupTable(
    "resource.k8s.io",
    "v1",
    (
        Row("deviceclasses", "DeviceClass", CLUSTER),
        Row("resourceclaims", "ResourceClaim", sub=(STATUS,)),
        Row("resourceclaimtemplates", "ResourceClaimTemplate"),
        Row("resourceslices", "ResourceSlice", CLUSTER),
    ),
)
