"""apiextensions.k8s.io/v1: custom resource definitions."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, STATUS, GroupTable, Row

TABLE = GroupTable(
    "apiextensions.k8s.io",
    "v1",
    (
        Row(
            "customresourcedefinitions",
            "CustomResourceDefinition",
            CLUSTER,
            short="crd crds",
            categories="api-extensions",
            sub=(STATUS,),
        ),
    ),
)
