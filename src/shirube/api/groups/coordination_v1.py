"""coordination.k8s.io/v1: leases: leader election and node heartbeats."""

from __future__ import annotations

from shirube.api.groups.row import GroupTable, Row

TABLE = GroupTable("coordination.k8s.io", "v1", (Row("leases", "Lease"),))
