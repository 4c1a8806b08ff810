"""authentication.k8s.io/v1: who is asking (reviews, never stored)."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, CREATE_ONLY, GroupTable, Row

TABLE = GroupTable(
    "authentication.k8s.io",
    "v1",
    (
        Row("selfsubjectreviews", "SelfSubjectReview", CLUSTER, verbs=CREATE_ONLY),
        Row("tokenreviews", "TokenReview", CLUSTER, verbs=CREATE_ONLY),
    ),
)
