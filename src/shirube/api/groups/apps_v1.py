"""apps/v1: workloads that keep pods running."""

from __future__ import annotations

from shirube.api.groups.row import SCALE, STATUS, GroupTable, Row

TABLE = GroupTable(
    "apps",
    "v1",
    (
        Row("controllerrevisions", "ControllerRevision"),
        Row("daemonsets", "DaemonSet", short="ds", categories="all", sub=(STATUS,)),
        Row("deployments", "Deployment", short="deploy", categories="all", sub=(SCALE, STATUS)),
        Row("replicasets", "ReplicaSet", short="rs", categories="all", sub=(SCALE, STATUS)),
        Row("statefulsets", "StatefulSet", short="sts", categories="all", sub=(SCALE, STATUS)),
    ),
)
