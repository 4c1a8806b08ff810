"""ConfigMaps, Secrets, namespaces, RBAC, quotas and the many small kinds."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def signed_request() -> str:
    """A certificate request as a node agent makes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


CORE = {n: ("", "v1", n) for n in (
    "configmaps", "secrets", "namespaces", "nodes", "persistentvolumes", "persistentvolumeclaims", "resourcequotas",
    "limitranges", "serviceaccounts", "events",
)}  # fmt: skip
RBAC = "rbac.authorization.k8s.io"
ROLES, CLUSTER_ROLES = (RBAC, "v1", "roles"), (RBAC, "v1", "clusterroles")
BINDINGS, CLUSTER_BINDINGS = (RBAC, "v1", "rolebindings"), (RBAC, "v1", "clusterrolebindings")
LEASES = ("coordination.k8s.io", "v1", "leases")
PDB = ("policy", "v1", "poddisruptionbudgets")
PRIORITY = ("scheduling.k8s.io", "v1", "priorityclasses")
HPA = ("autoscaling", "v2", "horizontalpodautoscalers")
INGRESS, POLICY = ("networking.k8s.io", "v1", "ingresses"), ("networking.k8s.io", "v1", "networkpolicies")
INGRESS_CLASS = ("networking.k8s.io", "v1", "ingressclasses")
IP, CIDR = ("networking.k8s.io", "v1", "ipaddresses"), ("networking.k8s.io", "v1", "servicecidrs")
STORAGE_CLASS = ("storage.k8s.io", "v1", "storageclasses")
RUNTIME = ("node.k8s.io", "v1", "runtimeclasses")
CSR = ("certificates.k8s.io", "v1", "certificatesigningrequests")
WEBHOOK = ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")
CRD = ("apiextensions.k8s.io", "v1", "customresourcedefinitions")
API_SERVICE = ("apiregistration.k8s.io", "v1", "apiservices")
FLOW = ("flowcontrol.apiserver.k8s.io", "v1", "flowschemas")
LEVEL = ("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations")
CLAIM = ("resource.k8s.io", "v1", "resourceclaims")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


PVC = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
PV = {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/data"}}}
BINDING = {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}
AUTOSCALER = {"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}}
SERVICE_BACKEND = {"service": {"name": "s", "port": {"number": 80}}}
HOOK = {
    "name": "a.b.example.com",
    "clientConfig": {"service": {"name": "s", "namespace": "n"}},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
}
DEFINITION = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}
REQUEST = {
    "spec": {
        "request": b64(signed_request()),
        "signerName": "example.com/s",
        "usages": ["client auth"],
    }
}


def default_cases():
    return [
        (CORE["secrets"], {"stringData": {"a": "x"}}, "data", {"a": b64("x")}),
        (CORE["secrets"], {"stringData": {"a": "x"}, "data": {"a": b64("old"), "b": b64("y")}}, "data", {"a": b64("x"), "b": b64("y")}),
        (CORE["secrets"], {}, "type", "Opaque"),
        (CORE["namespaces"], {"metadata": {"name": "n"}}, "spec", {"finalizers": ["kubernetes"]}),
        (CORE["namespaces"], {"metadata": {"name": "n"}}, "status", {"phase": "Active"}),
        (CORE["persistentvolumeclaims"], PVC, "status", {"phase": "Pending"}),
        (BINDINGS, BINDING, "roleRef", {"apiGroup": RBAC, "kind": "Role", "name": "r"}),
        (BINDINGS, BINDING, "subjects", [{"apiGroup": RBAC, "kind": "User", "name": "u"}]),
        (PRIORITY, {"value": 5}, "preemptionPolicy", "PreemptLowerPriority"),
        (PDB, {}, "status", {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}),
        (POLICY, {}, "spec", {"podSelector": {}, "policyTypes": ["Ingress"]}),
        (POLICY, {"spec": {"egress": [{}]}}, "spec", {"egress": [{}], "podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        (STORAGE_CLASS, {"provisioner": "example.com/p"}, "volumeBindingMode", "Immediate"),
        (STORAGE_CLASS, {"provisioner": "example.com/p"}, "reclaimPolicy", "Delete"),
        (FLOW, {"spec": {"priorityLevelConfiguration": {"name": "p"}}}, "spec", {"priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 1000}),
        (CORE["limitranges"], {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}, "spec", {"limits": [{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}]}),
        (CLAIM, {"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]}}}, "spec", {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}}]}}),
    ]  # fmt: skip


DEFAULTS = default_cases()


@pytest.mark.parametrize(
    ("resource", "obj", "field", "value"), DEFAULTS, ids=[f"{d[0][2]}-{i}" for i, d in enumerate(DEFAULTS)]
)
def test_defaults(rules, resource, obj, field, value):
    assert rules(*resource).stored(obj)[field] == value


BAD = [
    (CORE["configmaps"], {"data": {"a/b": "x"}}, "data[a/b]", "a valid config key must consist of"),
    (CORE["configmaps"], {"data": {"..": "x"}}, "data[..]", "must not be '..'"),
    (CORE["configmaps"], {"data": {"a": "x"}, "binaryData": {"a": "eA=="}}, "data[a]", "duplicate of key present in binaryData"),
    (CORE["configmaps"], {"data": {"a": "x" * (1024 * 1024 + 1)}}, "", "Too long: may not be more than 1048576 bytes"),
    (CORE["secrets"], {"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, "data[tls.key]", "Required value"),
    (CORE["secrets"], {"type": "kubernetes.io/basic-auth"}, "data[username]", "Required value"),
    (CORE["secrets"], {"type": "kubernetes.io/ssh-auth"}, "data[ssh-privatekey]", "Required value"),
    (CORE["secrets"], {"type": "kubernetes.io/service-account-token"}, "metadata.annotations[kubernetes.io/service-account.name]", "Required value"),
    (CORE["secrets"], {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": b64("{")}}, "data[.dockerconfigjson]", "<secret contents redacted>"),
    (CORE["namespaces"], {"metadata": {"name": "a.b"}}, "metadata.name", "must not contain dots"),
    (CORE["namespaces"], {"metadata": {"name": "a"}, "spec": {"finalizers": ["x"]}}, "spec.finalizers", "neither a standard finalizer name nor is it fully qualified"),
    (CORE["nodes"], {"spec": {"taints": [{"key": "a", "effect": "x"}]}}, "metadata.taints[0].effect", "Unsupported value"),
    (CORE["nodes"], {"spec": {"podCIDRs": ["x"]}}, "spec.podCIDRs[0]", "must be a valid CIDR value"),
    (CORE["persistentvolumeclaims"], {"spec": {}}, "spec.accessModes", "at least 1 access mode is required"),
    (CORE["persistentvolumeclaims"], {"spec": {}}, "spec.resources[storage]", "Required value"),
    (CORE["persistentvolumeclaims"], {"spec": {"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]}}, "spec.accessModes", "may not use ReadWriteOncePod with other access modes"),
    (CORE["persistentvolumes"], {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1"}}}, "spec", "must specify a volume type"),
    (CORE["persistentvolumes"], {"spec": {**PV["spec"], "nfs": {}}}, "spec.nfs", "may not specify more than 1 volume type"),
    (CORE["persistentvolumes"], {"spec": {**PV["spec"], "capacity": {}}}, "spec.capacity", "Required value"),
    (CORE["resourcequotas"], {"spec": {"hard": {"gold": "1"}}}, "spec.hard[gold]", "must be a standard resource type or fully qualified"),
    (CORE["resourcequotas"], {"spec": {"hard": {"pods": "1.5"}}}, "spec.hard[pods]", "must be an integer"),
    (CORE["resourcequotas"], {"spec": {"scopes": ["BestEffort", "NotBestEffort"]}}, "spec.scopes", "conflicting scopes"),
    (CORE["limitranges"], {"spec": {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}}, "spec.limits[0].min[cpu]", "min value 2 is greater than max value 1"),
    (CORE["limitranges"], {"spec": {"limits": [{"type": "Pod", "default": {"cpu": "1"}}]}}, "spec.limits[0].default", "may not be specified when `type` is 'Pod'"),
    (CORE["serviceaccounts"], {"metadata": {"name": "A"}}, "metadata.name", "a lowercase RFC 1123 subdomain"),
    (CORE["events"], {"involvedObject": {"namespace": "other"}}, "involvedObject.namespace", "does not match event.namespace"),
    (ROLES, {"rules": [{"apiGroups": [""], "resources": ["pods"]}]}, "rules[0].verbs", "verbs must contain at least one value"),
    (ROLES, {"rules": [{"verbs": ["get"], "resources": ["pods"]}]}, "rules[0].apiGroups", "resource rules must supply at least one api group"),
    (ROLES, {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}, "rules[0].nonResourceURLs", "namespaced rules cannot apply to non-resource URLs"),
    (CLUSTER_ROLES, {"aggregationRule": {}}, "aggregationRule.clusterRoleSelectors", "at least one clusterRoleSelector required"),
    (ROLES, {"metadata": {"name": "a/b"}}, "metadata.name", "may not contain '/'"),
    (BINDINGS, {"roleRef": {"kind": "x", "name": "r"}}, "roleRef.kind", "Unsupported value"),
    (BINDINGS, {"roleRef": {"kind": "Role"}}, "roleRef.name", "Required value"),
    (CLUSTER_BINDINGS, {"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "s"}]}, "subjects[0].namespace", "Required value"),
    (BINDINGS, {**BINDING, "subjects": [{"kind": "Robot", "name": "s"}]}, "subjects[0].kind", "Unsupported value"),
    (LEASES, {"spec": {"leaseDurationSeconds": 0}}, "spec.leaseDurationSeconds", "must be greater than 0"),
    (PDB, {"spec": {"minAvailable": 1, "maxUnavailable": 1}}, "spec", "minAvailable and maxUnavailable cannot be both set"),
    (PDB, {"spec": {"minAvailable": "150%"}}, "spec.minAvailable", "must not be greater than 100%"),
    (PRIORITY, {"value": 2_000_000_000}, "value", "maximum allowed value of a user defined priority is 1000000000"),
    (PRIORITY, {"metadata": {"name": "system-mine"}}, "metadata.name", "reserved for system use only"),
    (HPA, {"spec": {"maxReplicas": 0, "scaleTargetRef": {"kind": "D", "name": "d"}}}, "spec.maxReplicas", "must be greater than 0"),
    (HPA, {"spec": {"maxReplicas": 1, "minReplicas": 2, "scaleTargetRef": {}}}, "spec.maxReplicas", "must be greater than or equal to `minReplicas`"),
    (HPA, {"spec": {"maxReplicas": 1, "scaleTargetRef": {}}}, "spec.scaleTargetRef.kind", "Required value"),
    (INGRESS, {"spec": {}}, "spec", "either `defaultBackend` or `rules` must be specified"),
    (INGRESS, {"spec": {"rules": [{"host": "1.2.3.4"}]}}, "spec.rules[0].host", "must be a DNS name, not an IP address"),
    (INGRESS, {"spec": {"rules": [{"http": {"paths": [{"path": "x", "pathType": "Exact", "backend": SERVICE_BACKEND}]}}]}}, "spec.rules[0].http.paths[0].path", "must be an absolute path"),
    (INGRESS, {"spec": {"rules": [{"http": {"paths": [{"backend": SERVICE_BACKEND}]}}]}}, "spec.rules[0].http.paths[0].pathType", "pathType must be specified"),
    (INGRESS, {"spec": {"defaultBackend": {"service": {"name": "s"}}}}, "spec.defaultBackend", "port name or number is required"),
    (INGRESS_CLASS, {"spec": {"controller": "x"}}, "spec.controller", "must be a domain-prefixed path"),
    (POLICY, {"spec": {"ingress": [{"from": [{}]}]}}, "spec.ingress[0].from[0]", "must specify a peer"),
    (POLICY, {"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}]}}, "spec.ingress[0].from[0].ipBlock.except[0]", "must be a strict subset of `cidr`"),
    (POLICY, {"spec": {"ingress": [{"ports": [{"port": 5, "endPort": 4}]}]}}, "spec.ingress[0].ports[0].endPort", "must be greater than or equal to `port`"),
    (IP, {"metadata": {"name": "010.0.0.1"}, "spec": {"parentRef": {"resource": "services", "name": "s"}}}, "metadata.name", "must not have leading 0s"),
    (CIDR, {"spec": {"cidrs": ["10.0.0.1/8"]}}, "spec.cidrs[0]", "must not have bits set beyond the prefix length"),
    (STORAGE_CLASS, {}, "provisioner", "Required value"),
    (RUNTIME, {"handler": "A"}, "handler", "a lowercase RFC 1123 label"),
    (CSR, {"spec": {**REQUEST["spec"], "request": "eA=="}}, "spec.request", "PEM block type must be CERTIFICATE REQUEST"),
    (CSR, {"spec": {**REQUEST["spec"], "signerName": "x"}}, "spec.signerName", "must be a fully qualified domain and path"),
    (CSR, {"spec": {**REQUEST["spec"], "usages": ["x"]}}, "spec.usages[0]", "Unsupported value"),
    (CSR, {"spec": {**REQUEST["spec"], "expirationSeconds": 5}}, "spec.expirationSeconds", "may not specify a duration less than 600 seconds"),
    (WEBHOOK, {"webhooks": [{**HOOK, "name": "a"}]}, "webhooks[0].name", "should be a domain with at least three segments"),
    (WEBHOOK, {"webhooks": [{**HOOK, "clientConfig": {}}]}, "webhooks[0].clientConfig", "exactly one of url or service is required"),
    (WEBHOOK, {"webhooks": [{**HOOK, "clientConfig": {"url": "http://x"}}]}, "webhooks[0].clientConfig.url", "'https' is the only allowed URL scheme"),
    (WEBHOOK, {"webhooks": [{**HOOK, "timeoutSeconds": 31}]}, "webhooks[0].timeoutSeconds", "must be between 1 and 30 seconds"),
    (WEBHOOK, {"webhooks": [{**HOOK, "sideEffects": "Some"}]}, "webhooks[0].sideEffects", "Unsupported value"),
    (CRD, {**DEFINITION, "metadata": {"name": "x.example.com"}}, "metadata.name", 'must be spec.names.plural+"."+spec.group'),
    (CRD, {**DEFINITION, "spec": {**DEFINITION["spec"], "scope": "x"}}, "spec.scope", "Unsupported value"),
    (CRD, {**DEFINITION, "spec": {**DEFINITION["spec"], "versions": []}}, "spec.versions", "must have exactly one version marked as storage version"),
    (CRD, {**DEFINITION, "spec": {**DEFINITION["spec"], "versions": [{"name": "v1", "storage": True}]}}, "spec.versions[0].schema.openAPIV3Schema", "schemas are required"),
    (API_SERVICE, {"metadata": {"name": "x"}, "spec": {"group": "a.b", "version": "v1"}}, "metadata.name", "must be `spec.version"),
    (FLOW, {"spec": {"matchingPrecedence": 10001}}, "spec.matchingPrecedence", "must not be greater than 10000"),
    (LEVEL, {"spec": {"type": "Limited"}}, "spec.limited", "must not be empty when type is Limited"),
    (CLAIM, {"spec": {"devices": {"requests": [{"name": "a"}]}}}, "spec.devices.requests[0]", "exactly one of `exactly` or `firstAvailable` is required"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("resource", "obj", "field", "message"), BAD, ids=[f"{b[0][2]}-{i}" for i, b in enumerate(BAD)]
)
def test_what_is_refused(rules, assert_cause, resource, obj, field, message):
    assert_cause(rules(*resource).create(obj)[1], field, message)


GOOD = [
    (CORE["configmaps"], {"data": {"a.b-c_D": "x"}, "binaryData": {"b": "eA=="}}),
    (CORE["persistentvolumes"], PV),
    (CORE["resourcequotas"], {"spec": {"hard": {"pods": "5", "requests.cpu": "1", "count/deployments.apps": "2"}}}),
    (CLUSTER_ROLES, {"metadata": {"name": "system:x"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]}),
    (HPA, AUTOSCALER),
    (INGRESS, {"spec": {"defaultBackend": SERVICE_BACKEND}}),
    (INGRESS, {"spec": {"rules": [{"host": "*.example.com"}]}}),
    (IP, {"metadata": {"name": "10.96.0.1"}, "spec": {"parentRef": {"resource": "services", "name": "s"}}}),
    (CSR, REQUEST),
    (WEBHOOK, {"webhooks": [HOOK]}),
    (CRD, DEFINITION),
    (API_SERVICE, {"metadata": {"name": "v1.a.b"}, "spec": {"group": "a.b", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}}),
    (CORE["nodes"], {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}, "status": {"capacity": {"cpu": "4"}}}),
    (LEASES, {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}}),
    (CORE["events"], {"involvedObject": {"kind": "Node", "name": "n"}, "reason": "x", "message": "y"}),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "obj"), GOOD, ids=[f"{g[0][2]}-{i}" for i, g in enumerate(GOOD)])
def test_what_is_accepted(rules, resource, obj):
    assert [str(c) for c in rules(*resource).create(obj)[1]] == []


FROZEN = "field is immutable when `immutable` is set"
IMMUTABLE = [
    (CORE["configmaps"], {"data": {"a": "1"}, "immutable": True}, "data/a", "2", "data", FROZEN),
    (CORE["configmaps"], {"data": {"a": "1"}, "immutable": True}, "immutable", False, "immutable", FROZEN),
    (CORE["secrets"], {"data": {"a": "MQ=="}, "immutable": True}, "data/a", "Mg==", "data", FROZEN),
    (CORE["secrets"], {}, "type", "other", "type", "field is immutable"),
    (BINDINGS, BINDING, "roleRef/name", "other", "roleRef", "cannot change roleRef"),
    (PRIORITY, {"value": 1}, "value", 2, "value", "may not be changed in an update."),
    (STORAGE_CLASS, {"provisioner": "a.b/c"}, "provisioner", "d.e/f", "provisioner", "updates to provisioner are forbidden."),
    (STORAGE_CLASS, {"provisioner": "a.b/c"}, "volumeBindingMode", "WaitForFirstConsumer", "volumeBindingMode", "field is immutable"),
    (RUNTIME, {"handler": "runc"}, "handler", "gvisor", "handler", "field is immutable"),
    (INGRESS_CLASS, {"spec": {"controller": "a.b/c"}}, "spec/controller", "d.e/f", "spec.controller", "field is immutable"),
    (CIDR, {"spec": {"cidrs": ["10.0.0.0/8"]}}, "spec/cidrs", ["11.0.0.0/8"], "spec.cidrs", "field is immutable"),
    (CORE["persistentvolumeclaims"], PVC, "spec/accessModes", ["ReadWriteMany"], "spec", "spec is immutable after creation except"),
    (CORE["persistentvolumeclaims"], PVC, "spec/resources/requests/storage", "2Gi", "spec", "spec is immutable after creation except"),
    (CORE["persistentvolumes"], PV, "spec/hostPath/path", "/other", "spec.persistentvolumesource", "is immutable after creation"),
    (CLAIM, {"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]}}}, "spec/devices/requests/0/exactly/count", 2, "spec", "field is immutable"),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "obj", "path", "value", "field", "message"), IMMUTABLE)
def test_what_may_not_change(rules, altered, assert_cause, resource, obj, path, value, field, message):
    strategy = rules(*resource)
    old = strategy.stored(obj)
    assert_cause(strategy.update(altered(old, path, value), old)[1], field, message)


def test_a_bound_claim_may_grow(rules, altered, assert_cause):
    strategy = rules(*CORE["persistentvolumeclaims"])
    old = strategy.stored(PVC)
    old["status"] = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    size = "spec/resources/requests/storage"
    assert strategy.update(altered(old, size, "2Gi"), old)[1] == []
    smaller = strategy.update(altered(old, size, "512Mi"), old)[1]
    assert_cause(smaller, "spec.resources.requests.storage", "can not be less than status.capacity")
    assert strategy.update(altered(old, "spec/volumeName", "pv-1"), old)[1] == []


def test_a_namespace_is_found_by_its_name_and_finalized_apart(rules, altered):
    strategy = rules(*CORE["namespaces"])
    old = strategy.stored({"metadata": {"name": "n"}})
    assert old["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
    new, causes = strategy.update(altered(old, "spec/finalizers", []), old)
    assert (new["spec"]["finalizers"], causes) == (["kubernetes"], [])
    finalized = altered(old, "spec/finalizers", [])
    strategy.strategy.prepare_for_finalize(finalized, old)
    assert finalized["spec"]["finalizers"] == []
    assert strategy.strategy.validate_finalize(finalized, old) == []


def test_a_decision_about_a_certificate_stands(rules, altered, assert_cause):
    strategy = rules(*CSR)
    old = strategy.stored(REQUEST)
    approved = altered(old, "status/conditions", [{"type": "Approved", "status": "True"}])
    issued, causes = strategy.update(approved, old, "status_")
    assert (issued["status"].get("conditions"), causes) == (None, [])
    strategy.strategy.prepare_for_approval(approved, old)
    assert strategy.strategy.validate_approval(approved, old) == []
    both = altered(approved, "status/conditions/1", {"type": "Denied", "status": "True"})
    assert_cause(strategy.strategy.validate_approval(both, approved), "status.conditions", "mutually exclusive")
    none = altered(approved, "status/conditions", [])
    assert_cause(strategy.strategy.validate_approval(none, approved), "status.conditions", "may not remove a condition")


def test_fields_that_events_are_selected_by(rules):
    fields = rules(*CORE["events"]).strategy.selectable_fields(
        {
            "metadata": {},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n", "uid": "u"},
            "reason": "Started",
            "type": "Normal",
            "source": {"component": "kubelet"},
        }
    )
    assert fields["involvedObject.name"] == "p"
    assert fields["reason"] == "Started"
    assert fields["source"] == "kubelet"
    assert fields["type"] == "Normal"
