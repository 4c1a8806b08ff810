"""admissionregistration.k8s.io/v1: webhooks and CEL policies that take part in admission."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, STATUS, GroupTable, Row

TABLE = GroupTable(
    "admissionregistration.k8s.io",
    "v1",
    (
        Row("mutatingadmissionpolicies", "MutatingAdmissionPolicy", CLUSTER, categories="api-extensions"),
        Row(
            "mutatingadmissionpolicybindings",
            "MutatingAdmissionPolicyBinding",
            CLUSTER,
            categories="api-extensions",
        ),
        Row(
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
            CLUSTER,
            categories="api-extensions",
        ),
        Row(
            "validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
            CLUSTER,
            categories="api-extensions",
            sub=(STATUS,),
        ),
        Row(
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            CLUSTER,
            categories="api-extensions",
        ),
        Row(
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            CLUSTER,
            categories="api-extensions",
        ),
    ),
)
