"""flowcontrol.apiserver.k8s.io/v1: priority and fairness of requests."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, STATUS, GroupTable, Row

TABLE = GroupTable(
    "flowcontrol.apiserver.k8s.io",
    "v1",
    (
        Row("flowschemas", "FlowSchema", CLUSTER, sub=(STATUS,)),
        Row("prioritylevelconfigurations", "PriorityLevelConfiguration", CLUSTER, sub=(STATUS,)),
    ),
)
