"""Groups whose objects are only kept, not acted on here: every verb of their API."""

from __future__ import annotations

import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.cluster.conformance.api import MERGE
from tests.cluster.conformance.lifecycle import every_verb, is_discovered, status_verbs
from tests.cluster.conformance.objects import condition

FLOW = "flowcontrol.apiserver.k8s.io/v1"
ADMISSION = "admissionregistration.k8s.io/v1"


def stamped(kind: str, status: str, reason: str):
    time = "2026-01-02T03:04:05Z"
    return {"type": kind, "status": status, "reason": reason, "message": "by a test", "lastTransitionTime": time}


@pytest.mark.conformance(
    "[sig-api-machinery] API priority and fairness should support FlowSchema API operations [Conformance]"
)
def test_flow_schema(api):
    is_discovered(api, FLOW, "flowschemas", "flowschemas/status")
    schemas = api.at(FLOW, "flowschemas")

    def schema(name: str):
        rule = {"verbs": ["list"], "apiGroups": ["testing.fs.api.priority.k8s.io"], "resources": ["foos"]}
        subject = {"kind": "User", "user": {"name": "example-e2e-non-existent-user"}}
        return {
            "apiVersion": FLOW,
            "kind": "FlowSchema",
            "metadata": {"name": name},
            "spec": {
                "matchingPrecedence": 10000,
                "priorityLevelConfiguration": {"name": "global-default"},
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{"subjects": [subject], "resourceRules": [{**rule, "clusterScope": True}]}],
            },
        }

    every_verb(
        schemas,
        schema,
        lambda o: o["spec"].update(matchingPrecedence=9997),
        lambda o: o["spec"]["matchingPrecedence"] == 9997,
    )
    schemas.create(schema("with-status"))
    after = status_verbs(
        schemas,
        "with-status",
        {"conditions": [stamped("PatchStatusFailed", "False", "Patched")]},
        lambda s: s["conditions"].append(stamped("StatusUpdateFailed", "False", "Updated")),
    )
    assert condition(after, "StatusUpdateFailed")["reason"] == "Updated"
    schemas.delete("with-status")


@pytest.mark.conformance(
    "[sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations "
    "[Conformance]"
)
def test_priority_level(api):
    is_discovered(api, FLOW, "prioritylevelconfigurations", "prioritylevelconfigurations/status")
    levels = api.at(FLOW, "prioritylevelconfigurations")

    def level(name: str):
        limited = {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}
        return {
            "apiVersion": FLOW,
            "kind": "PriorityLevelConfiguration",
            "metadata": {"name": name},
            "spec": {"type": "Limited", "limited": limited},
        }

    every_verb(
        levels,
        level,
        lambda o: o["spec"]["limited"].update(nominalConcurrencyShares=6),
        lambda o: o["spec"]["limited"]["nominalConcurrencyShares"] == 6,
    )
    levels.create(level("with-status"))
    after = status_verbs(
        levels,
        "with-status",
        {"conditions": [stamped("PatchStatusFailed", "False", "Patched")]},
        lambda s: s["conditions"].append(stamped("StatusUpdateFailed", "False", "Updated")),
    )
    assert condition(after, "StatusUpdateFailed")["reason"] == "Updated"
    levels.delete("with-status")


RULES = [
    {
        "operations": ["CREATE"],
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "resources": ["deployments"],
    }
]
# Policies of these tests select a namespace label that nothing has, so they touch nothing that runs beside them.
CONSTRAINTS = {"resourceRules": RULES, "namespaceSelector": {"matchLabels": {"conformance": "nowhere"}}}


def validating_policy(name: str):
    return {
        "apiVersion": ADMISSION,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": CONSTRAINTS,
            "validations": [{"expression": "object.spec.replicas <= 100"}],
        },
    }


@pytest.mark.conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicy "
    "API operations [Conformance]"
)
def test_validating_policy(api):
    is_discovered(api, ADMISSION, "validatingadmissionpolicies", "validatingadmissionpolicies/status")
    policies = api.at(ADMISSION, "validatingadmissionpolicies")
    every_verb(
        policies,
        validating_policy,
        lambda o: o["spec"]["validations"][0].update(expression="object.spec.replicas <= 200"),
        lambda o: o["spec"]["validations"][0]["expression"].endswith("200") and o["metadata"]["generation"] == 2,
    )
    policies.create(validating_policy("with-status"))
    after = status_verbs(
        policies,
        "with-status",
        {"conditions": [stamped("PatchStatusFailed", "False", "Patched")]},
        lambda s: s["conditions"].append(stamped("StatusUpdateFailed", "False", "Updated")),
    )
    assert condition(after, "StatusUpdateFailed")["reason"] == "Updated"
    policies.delete("with-status")


@pytest.mark.conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support "
    "ValidatingAdmissionPolicyBinding API operations [Conformance]"
)
def test_validating_binding(api):
    is_discovered(api, ADMISSION, "validatingadmissionpolicybindings")

    def binding(name: str):
        return {
            "apiVersion": ADMISSION,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": "absent", "validationActions": ["Deny"]},
        }

    every_verb(
        api.at(ADMISSION, "validatingadmissionpolicybindings"),
        binding,
        lambda o: o["spec"].update(validationActions=["Warn"]),
        lambda o: o["spec"]["validationActions"] == ["Warn"],
    )


@pytest.mark.conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicy API "
    "operations [Conformance]"
)
def test_mutating_policy(api):
    is_discovered(api, ADMISSION, "mutatingadmissionpolicies")

    def policy(name: str):
        expression = "Object{spec: Object.spec{replicas: 2}}"
        return {
            "apiVersion": ADMISSION,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": CONSTRAINTS,
                "mutations": [
                    {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}},
                ],
                "reinvocationPolicy": "Never",
            },
        }

    every_verb(
        api.at(ADMISSION, "mutatingadmissionpolicies"),
        policy,
        lambda o: o["spec"].update(reinvocationPolicy="IfNeeded"),
        lambda o: o["spec"]["reinvocationPolicy"] == "IfNeeded",
    )


@pytest.mark.conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support "
    "MutatingAdmissionPolicyBinding API operations [Conformance]"
)
def test_mutating_binding(api):
    is_discovered(api, ADMISSION, "mutatingadmissionpolicybindings")

    def binding(name: str):
        return {
            "apiVersion": ADMISSION,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": "absent"},
        }

    every_verb(
        api.at(ADMISSION, "mutatingadmissionpolicybindings"),
        binding,
        lambda o: o["spec"].update(policyName="another"),
        lambda o: o["spec"]["policyName"] == "another",
    )


def signing_request(name: str):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "e2e.example.com")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM)
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(pem).decode(),
            "signerName": "example.com/e2e-conformance",
            "expirationSeconds": 3600,
            "usages": ["digital signature", "key encipherment", "server auth"],
        },
    }


@pytest.mark.conformance(
    "[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations [Conformance]"
)
def test_certificate_signing_request(api):
    version, name = "certificates.k8s.io/v1", "with-status"
    plural = "certificatesigningrequests"
    is_discovered(api, version, plural, f"{plural}/approval", f"{plural}/status")
    requests = api.at(version, plural)
    every_verb(requests, signing_request, lambda o: None, lambda o: True)
    forged = signing_request(name)
    forged["spec"]["username"] = "system:node:somebody-else"
    made = requests.create(forged)
    assert made["spec"]["username"] == "kubernetes-admin" and "system:masters" in made["spec"]["groups"]
    # Approval: get, patch, update.
    assert requests.get(name, "approval")["metadata"]["name"] == name
    patched = requests.patch(
        name,
        {
            "metadata": {"annotations": {"patchedapproval": "true"}},
            "status": {"conditions": [{"type": "ApprovalPatch", "status": "True", "reason": "e2e"}]},
        },
        MERGE,
        "approval",
    )
    assert patched["metadata"]["annotations"]["patchedapproval"] == "true"
    assert condition(patched, "ApprovalPatch")["status"] == "True"
    approved = {"type": "Approved", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}
    updated = requests.edit(name, lambda o: o["status"]["conditions"].append(approved), "approval")
    assert condition(updated, "Approved")["reason"] == "E2E"
    # Status: get, patch, update.
    certificate = base64.b64encode(SELF_SIGNED.encode()).decode()
    patched = requests.patch(
        name,
        {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"certificate": certificate}},
        MERGE,
        "status",
    )
    assert patched["status"]["certificate"] == certificate
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}
    updated = requests.edit(name, lambda o: o["status"]["conditions"].append(more), "status")
    assert len(updated["status"]["conditions"]) == 3
    assert updated["status"]["certificate"] == certificate
    requests.delete(name)


def _self_signed() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "e2e.example.com")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


SELF_SIGNED = _self_signed()
