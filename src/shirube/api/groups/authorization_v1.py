"""authorization.k8s.io/v1: may they (reviews, never stored)."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, CREATE_ONLY, GroupTable, Row

TABLE = GroupTable(
    "authorization.k8s.io",
    "v1",
    (
        Row("localsubjectaccessreviews", "LocalSubjectAccessReview", verbs=CREATE_ONLY),
        Row("selfsubjectaccessreviews", "SelfSubjectAccessReview", CLUSTER, verbs=CREATE_ONLY),
        Row("selfsubjectrulesreviews", "SelfSubjectRulesReview", CLUSTER, verbs=CREATE_ONLY),
        Row("subjectaccessreviews", "SubjectAccessReview", CLUSTER, verbs=CREATE_ONLY),
    ),
)
