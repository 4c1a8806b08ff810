"""scheduling.k8s.io/v1: priority classes."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, GroupTable, Row

TABLE = GroupTable("scheduling.k8s.io", "v1", (Row("priorityclasses", "PriorityClass", CLUSTER, short="pc"),))
