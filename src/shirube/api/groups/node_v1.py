"""node.k8s.io/v1: runtime classes."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, GroupTable, Row

TABLE = GroupTable("node.k8s.io", "v1", (Row("runtimeclasses", "RuntimeClass", CLUSTER),))
