"""What each controller may do: the cluster roles `system:controller:NAME` of upstream v1.36.

Each is bound to the service account NAME in kube-system. Our controllers share one process and one user
(`system:kube-controller-manager`), which holds all of them through the role `shirube:controllers`.
"""

from __future__ import annotations

from shirube.api.gvr import CLUSTERTRUSTBUNDLES
from shirube.apiserver.bootstrap.rules import on

_READ = "get list watch"
_EVENTS = on("|events.k8s.io", "events", "create patch update")

CONTROLLER_ROLES = {
    "attachdetach-controller": (
        on("", "persistentvolumeclaims persistentvolumes", "list watch"),
        on("", "nodes", _READ),
        on("", "nodes/status", "patch update"),
        on("", "pods", "list watch"),
        _EVENTS,
        on("storage.k8s.io", "volumeattachments", "create delete get list watch"),
        on("storage.k8s.io", "csidrivers", _READ),
        on("storage.k8s.io", "csinodes", _READ),
    ),
    "certificate-controller": (
        on("certificates.k8s.io", "certificatesigningrequests", "delete get list watch"),
        on("certificates.k8s.io", "certificatesigningrequests/approval certificatesigningrequests/status", "update"),
        on("certificates.k8s.io", "signers", "approve", "kubernetes.io/kube-apiserver-client-kubelet"),
        on(
            "certificates.k8s.io",
            "signers",
            "sign",
            "kubernetes.io/kube-apiserver-client "
            "kubernetes.io/kube-apiserver-client-kubelet "
            "kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
        ),
        on("authorization.k8s.io", "subjectaccessreviews", "create"),
        _EVENTS,
    ),
    "clusterrole-aggregation-controller": (
        on("rbac.authorization.k8s.io", "clusterroles", "escalate get list patch update watch"),
    ),
    "cronjob-controller": (
        on("batch", "cronjobs", "get list update watch"),
        on("batch", "jobs", "create delete get list patch update watch"),
        on("batch", "cronjobs/status", "update"),
        on("batch", "cronjobs/finalizers", "update"),
        on("", "pods", "delete list watch"),
        _EVENTS,
    ),
    "daemon-set-controller": (
        on("apps|extensions", "daemonsets", _READ),
        on("apps|extensions", "daemonsets/status", "update"),
        on("apps|extensions", "daemonsets/finalizers", "update"),
        on("", "nodes", "list watch"),
        on("", "pods", "create delete list patch watch"),
        on("", "pods/binding", "create"),
        on("apps", "controllerrevisions", "create delete get list patch update watch"),
        _EVENTS,
    ),
    "deployment-controller": (
        on("apps|extensions", "deployments", "get list update watch"),
        on("apps|extensions", "deployments/status", "update"),
        on("apps|extensions", "deployments/finalizers", "update"),
        on("apps|extensions", "replicasets", "create delete get list patch update watch"),
        on("", "pods", "get list update watch"),
        _EVENTS,
    ),
    "device-taint-eviction-controller": (
        on("", "pods", "delete get list watch"),
        on("", "pods/status", "patch update"),
        on("resource.k8s.io", "resourceclaims", _READ),
        on("resource.k8s.io", "resourceslices", _READ),
        on("resource.k8s.io", "deviceclasses", _READ),
        _EVENTS,
    ),
    "disruption-controller": (
        on("apps|extensions", "deployments", _READ),
        on("apps|extensions", "replicasets", _READ),
        on("", "replicationcontrollers", _READ),
        on("policy", "poddisruptionbudgets", _READ),
        on("apps", "statefulsets", _READ),
        on("policy", "poddisruptionbudgets/status", "update"),
        on("", "pods/status", "patch update"),
        on("*", "*/scale", "get"),
        _EVENTS,
    ),
    "endpoint-controller": (
        on("", "pods services", _READ),
        on("", "endpoints", "create delete get list update watch"),
        on("", "endpoints/restricted", "create"),
        _EVENTS,
    ),
    "endpointslice-controller": (
        on("", "nodes pods services", _READ),
        on("", "services/finalizers", "update"),
        on("discovery.k8s.io", "endpointslices", "create delete get list update watch"),
        on("discovery.k8s.io", "endpointslices/restricted", "create"),
        _EVENTS,
    ),
    "endpointslicemirroring-controller": (
        on("", "endpoints services", _READ),
        on("", "services/finalizers", "update"),
        on("", "endpoints/finalizers", "update"),
        on("discovery.k8s.io", "endpointslices", "create delete get list update watch"),
        on("discovery.k8s.io", "endpointslices/restricted", "create"),
        _EVENTS,
    ),
    "ephemeral-volume-controller": (
        on("", "pods", _READ),
        on("", "pods/finalizers", "update"),
        on("", "persistentvolumeclaims", "create get list watch"),
        _EVENTS,
    ),
    "expand-controller": (
        on("", "persistentvolumes", "get list patch update watch"),
        on("", "persistentvolumeclaims/status", "patch update"),
        on("", "persistentvolumeclaims", _READ),
        _EVENTS,
    ),
    "generic-garbage-collector": (
        on("*", "*", "delete get list patch update watch"),
        _EVENTS,
    ),
    "horizontal-pod-autoscaler": (
        on("autoscaling", "horizontalpodautoscalers", _READ),
        on("autoscaling", "horizontalpodautoscalers/status", "update"),
        on("*", "*/scale", "get update"),
        on("", "pods", "list watch"),
        on("metrics.k8s.io", "pods", "list watch"),
        on("custom.metrics.k8s.io", "*", _READ),
        on("external.metrics.k8s.io", "*", _READ),
        _EVENTS,
    ),
    "job-controller": (
        on("batch", "jobs", "get list patch update watch"),
        on("batch", "jobs/status", "update"),
        on("batch", "jobs/finalizers", "update"),
        on("", "pods", "create delete list patch watch"),
        _EVENTS,
    ),
    "legacy-service-account-token-cleaner": (
        on("", "configmaps", "get", "kube-apiserver-legacy-service-account-token-tracking"),
        on("", "secrets", "delete patch"),
    ),
    "namespace-controller": (
        on("", "namespaces", "delete get list watch"),
        on("", "namespaces/finalize namespaces/status", "update"),
        on("*", "*", "delete deletecollection get list watch"),
    ),
    "node-controller": (
        on("", "nodes", "delete get list patch update watch"),
        on("", "nodes/status", "patch update"),
        on("", "pods/status", "patch update"),
        on("", "pods", "delete get list watch"),
        _EVENTS,
    ),
    "persistent-volume-binder": (
        on("", "persistentvolumes", "create delete get list update watch"),
        on("", "persistentvolumes/status", "update"),
        on("", "persistentvolumeclaims", "get list update watch"),
        on("", "persistentvolumeclaims/status", "update"),
        on("", "pods", "create delete get list watch"),
        on("storage.k8s.io", "storageclasses", _READ),
        on("", "nodes", "list watch"),
        _EVENTS,
        on("", "events", "watch"),
    ),
    "pod-garbage-collector": (
        on("", "pods", "delete list watch"),
        on("", "nodes", _READ),
        on("", "pods/status", "patch"),
    ),
    "pv-protection-controller": (
        on("", "persistentvolumes", "get list update watch"),
        _EVENTS,
    ),
    "pvc-protection-controller": (
        on("", "persistentvolumeclaims", "get list update watch"),
        on("", "persistentvolumeclaims/status", "update"),
        on("", "pods", _READ),
        _EVENTS,
    ),
    "replicaset-controller": (
        on("apps|extensions", "replicasets", "get list update watch"),
        on("apps|extensions", "replicasets/status", "update"),
        on("apps|extensions", "replicasets/finalizers", "update"),
        on("", "pods", "create delete list patch watch"),
        _EVENTS,
    ),
    "replication-controller": (
        on("", "replicationcontrollers", "get list update watch"),
        on("", "replicationcontrollers/status", "update"),
        on("", "replicationcontrollers/finalizers", "update"),
        on("", "pods", "create delete list patch watch"),
        _EVENTS,
    ),
    "resource-claim-controller": (
        on("", "pods", _READ),
        on("", "pods/finalizers", "update"),
        on("resource.k8s.io", "resourceclaims", "create delete get list watch"),
        on("resource.k8s.io", "resourceclaims resourceclaims/status", "patch update"),
        on("", "pods/status", "patch update"),
        _EVENTS,
        on("resource.k8s.io", "resourceclaims/binding", "patch update"),
    ),
    "resourcequota-controller": (
        on("*", "*", "list watch"),
        on("", "resourcequotas/status", "update"),
        _EVENTS,
    ),
    "root-ca-cert-publisher": (
        on("", "configmaps", "create update"),
        _EVENTS,
    ),
    "route-controller": (
        on("", "nodes", "list watch"),
        on("", "nodes/status", "patch"),
        _EVENTS,
    ),
    "selinux-warning-controller": (
        _EVENTS,
        on("", "persistentvolumes", _READ),
        on("", "persistentvolumeclaims", _READ),
        on("", "pods", _READ),
        on("storage.k8s.io", "csidrivers", _READ),
    ),
    "service-account-controller": (
        on("", "serviceaccounts", "create"),
        _EVENTS,
    ),
    "service-ca-cert-publisher": (
        on("", "configmaps", "create update"),
        _EVENTS,
    ),
    "service-cidrs-controller": (
        on("networking.k8s.io", "servicecidrs", "get list patch update watch"),
        on("networking.k8s.io", "servicecidrs/finalizers", "patch update"),
        on("networking.k8s.io", "servicecidrs/status", "patch update"),
        on("networking.k8s.io", "ipaddresses", _READ),
        _EVENTS,
    ),
    "service-controller": (
        on("", "services", _READ),
        on("", "services/status", "patch update"),
        on("", "nodes", "list watch"),
        _EVENTS,
    ),
    "statefulset-controller": (
        on("", "pods", "list watch"),
        on("apps", "statefulsets", _READ),
        on("apps", "statefulsets/status", "update"),
        on("apps", "statefulsets/finalizers", "update"),
        on("", "pods", "create delete get patch update"),
        on("apps", "controllerrevisions", "create delete get list patch update watch"),
        on("", "persistentvolumeclaims", "create get list watch"),
        on("", "persistentvolumeclaims", "delete update"),
        on("", "pods/finalizers", "update"),
        _EVENTS,
    ),
    "ttl-after-finished-controller": (
        on("batch", "jobs", "delete get list watch"),
        _EVENTS,
    ),
    "ttl-controller": (
        on("", "nodes", "list patch update watch"),
        _EVENTS,
    ),
    "validatingadmissionpolicy-status-controller": (
        on("admissionregistration.k8s.io", "validatingadmissionpolicies", _READ),
        on("admissionregistration.k8s.io", "validatingadmissionpolicies/status", "get patch update"),
        _EVENTS,
    ),
    "volumeattributesclass-protection-controller": (
        on("", "persistentvolumeclaims", _READ),
        on("", "persistentvolumes", _READ),
        on("storage.k8s.io", "volumeattributesclasses", "get list update watch"),
        _EVENTS,
    ),
}

# Of controllers whose API is served on request: resource -> (account, rules).
ON_REQUEST = {
    CLUSTERTRUSTBUNDLES: (
        "kube-apiserver-serving-clustertrustbundle-publisher",
        (
            on("certificates.k8s.io", "signers", "attest", "kubernetes.io/kube-apiserver-serving"),
            on("certificates.k8s.io", "clustertrustbundles", "create delete list update watch"),
            _EVENTS,
        ),
    ),
}
