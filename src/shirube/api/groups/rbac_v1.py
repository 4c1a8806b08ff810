"""rbac.authorization.k8s.io/v1: roles and who holds them."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, GroupTable, Row

TABLE = GroupTable(
    "rbac.authorization.k8s.io",
    "v1",
    (
        Row("clusterrolebindings", "ClusterRoleBinding", CLUSTER),
        Row("clusterroles", "ClusterRole", CLUSTER),
        Row("rolebindings", "RoleBinding"),
        Row("roles", "Role"),
    ),
)
