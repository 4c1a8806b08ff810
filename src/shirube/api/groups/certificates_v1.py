"""certificates.k8s.io/v1: certificate signing requests."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, STATUS, GroupTable, Row, Sub

TABLE = GroupTable(
    "certificates.k8s.io",
    "v1",
    (
        Row(
            "certificatesigningrequests",
            "CertificateSigningRequest",
            CLUSTER,
            short="csr",
            sub=(Sub("approval"), STATUS),
        ),
    ),
)
