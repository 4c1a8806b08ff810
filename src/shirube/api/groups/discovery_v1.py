"""discovery.k8s.io/v1: endpoint slices."""

from __future__ import annotations

from shirube.api.groups.row import GroupTable, Row

TABLE = GroupTable("discovery.k8s.io", "v1", (Row("endpointslices", "EndpointSlice"),))
