"""Cluster roles that every cluster has, except those of controllers: upstream's default roles for v1.36.

A rule is written `on(groups, resources, verbs, names)`: words separated by spaces, groups by "|" ("" is the
core group). See "Default roles and role bindings" in the upstream documentation.
"""

from __future__ import annotations

from shirube.api.gvr import CLUSTERTRUSTBUNDLES
from shirube.apiserver.bootstrap.rules import on, urls

_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_ALL = "create delete deletecollection get list patch update watch"
_EVENTS = on("|events.k8s.io", "events", "create patch update")

CLUSTER_ROLES = {
    "cluster-admin": (
        on("*", "*", "*"),
        urls("*", "*"),
    ),
    "system:aggregate-to-admin": (
        on("authorization.k8s.io", "localsubjectaccessreviews", "create"),
        on("rbac.authorization.k8s.io", "rolebindings roles", _ALL),
    ),
    "system:aggregate-to-edit": (
        on("", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", _READ),
        on("", "serviceaccounts", "impersonate"),
        on("", "pods pods/attach pods/exec pods/portforward pods/proxy", _WRITE),
        on("", "pods/eviction", "create"),
        on(
            "",
            "configmaps persistentvolumeclaims replicationcontrollers "
            "replicationcontrollers/scale secrets serviceaccounts services "
            "services/proxy",
            _WRITE,
        ),
        on("", "serviceaccounts/token", "create"),
        on("|events.k8s.io", "events", _WRITE),
        on(
            "apps",
            "daemonsets deployments deployments/rollback deployments/scale "
            "replicasets replicasets/scale statefulsets statefulsets/scale",
            _WRITE,
        ),
        on("autoscaling", "horizontalpodautoscalers", _WRITE),
        on("batch", "cronjobs jobs", _WRITE),
        on(
            "extensions",
            "daemonsets deployments deployments/rollback deployments/scale "
            "ingresses networkpolicies replicasets replicasets/scale "
            "replicationcontrollers/scale",
            _WRITE,
        ),
        on("policy", "poddisruptionbudgets", _WRITE),
        on("networking.k8s.io", "ingresses networkpolicies", _WRITE),
        on("coordination.k8s.io", "leases", _ALL),
        on("resource.k8s.io", "resourceclaims resourceclaimtemplates", _WRITE),
    ),
    "system:aggregate-to-view": (
        on(
            "",
            "configmaps endpoints persistentvolumeclaims "
            "persistentvolumeclaims/status pods replicationcontrollers "
            "replicationcontrollers/scale serviceaccounts services services/status",
            _READ,
        ),
        on(
            "",
            "bindings limitranges namespaces/status pods/log pods/status "
            "replicationcontrollers/status resourcequotas resourcequotas/status",
            _READ,
        ),
        on("", "namespaces", _READ),
        on("|events.k8s.io", "events", _READ),
        on("discovery.k8s.io", "endpointslices", _READ),
        on(
            "apps",
            "controllerrevisions daemonsets daemonsets/status deployments "
            "deployments/scale deployments/status replicasets replicasets/scale "
            "replicasets/status statefulsets statefulsets/scale statefulsets/status",
            _READ,
        ),
        on("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", _READ),
        on("batch", "cronjobs cronjobs/status jobs jobs/status", _READ),
        on(
            "extensions",
            "daemonsets daemonsets/status deployments deployments/scale "
            "deployments/status ingresses ingresses/status networkpolicies "
            "replicasets replicasets/scale replicasets/status "
            "replicationcontrollers/scale",
            _READ,
        ),
        on("policy", "poddisruptionbudgets poddisruptionbudgets/status", _READ),
        on("networking.k8s.io", "ingresses ingresses/status networkpolicies", _READ),
        on("resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates", _READ),
    ),
    "system:auth-delegator": (
        on("authentication.k8s.io", "tokenreviews", "create"),
        on("authorization.k8s.io", "subjectaccessreviews", "create"),
    ),
    "system:basic-user": (
        on("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
        on("authentication.k8s.io", "selfsubjectreviews", "create"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        on("certificates.k8s.io", "certificatesigningrequests/nodeclient", "create"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        on("certificates.k8s.io", "certificatesigningrequests/selfnodeclient", "create"),
    ),
    "system:certificates.k8s.io:kube-apiserver-client-approver": (
        on("certificates.k8s.io", "signers", "approve", "kubernetes.io/kube-apiserver-client"),
    ),
    "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": (
        on("certificates.k8s.io", "signers", "approve", "kubernetes.io/kube-apiserver-client-kubelet"),
    ),
    "system:certificates.k8s.io:kubelet-serving-approver": (
        on("certificates.k8s.io", "signers", "approve", "kubernetes.io/kubelet-serving"),
    ),
    "system:certificates.k8s.io:legacy-unknown-approver": (
        on("certificates.k8s.io", "signers", "approve", "kubernetes.io/legacy-unknown"),
    ),
    "system:discovery": (
        urls("/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/", "get"),
    ),
    "system:heapster": (
        on("", "events namespaces nodes pods", _READ),
        on("extensions", "deployments", _READ),
    ),
    "system:kube-aggregator": (on("", "endpoints services", _READ),),
    "system:kube-controller-manager": (
        _EVENTS,
        on("coordination.k8s.io", "leases", "create"),
        on("coordination.k8s.io", "leases", "get update", "kube-controller-manager"),
        on("", "secrets serviceaccounts", "create"),
        on("", "secrets", "delete"),
        on("", "configmaps namespaces secrets serviceaccounts", "get"),
        on("", "secrets serviceaccounts", "update"),
        on("authentication.k8s.io", "tokenreviews", "create"),
        on("authorization.k8s.io", "subjectaccessreviews", "create"),
        on("*", "*", "list watch"),
        on("", "serviceaccounts/token", "create"),
    ),
    "system:kube-dns": (on("", "endpoints services", "list watch"),),
    "system:kube-scheduler": (
        _EVENTS,
        on("coordination.k8s.io", "leases", "create"),
        on("coordination.k8s.io", "leases", "get list update watch", "kube-scheduler"),
        on("coordination.k8s.io", "leasecandidates", _ALL),
        on("", "nodes", _READ),
        on("", "pods", "delete get list watch"),
        on("", "bindings pods/binding", "create"),
        on("", "pods/status", "patch update"),
        on("", "replicationcontrollers services", _READ),
        on("apps|extensions", "replicasets", _READ),
        on("apps", "statefulsets", _READ),
        on("policy", "poddisruptionbudgets", _READ),
        on("", "persistentvolumeclaims persistentvolumes", _READ),
        on("authentication.k8s.io", "tokenreviews", "create"),
        on("authorization.k8s.io", "subjectaccessreviews", "create"),
        on("storage.k8s.io", "csinodes", _READ),
        on("storage.k8s.io", "volumeattachments", _READ),
        on("", "namespaces", _READ),
        on("storage.k8s.io", "csidrivers", _READ),
        on("storage.k8s.io", "csistoragecapacities", _READ),
        on("resource.k8s.io", "deviceclasses", _READ),
        on("resource.k8s.io", "resourceclaims", "get list patch update watch"),
        on("resource.k8s.io", "resourceclaims/status", "get list patch update watch"),
        on("", "pods/finalizers", "update"),
        on("resource.k8s.io", "resourceslices", _READ),
        on("resource.k8s.io", "resourceclaims", "create delete"),
        on("resource.k8s.io", "resourceclaims/binding", "patch update"),
    ),
    "system:kubelet-api-admin": (
        on("", "nodes", _READ),
        on("", "nodes", "proxy"),
        on("", "nodes/log nodes/metrics nodes/proxy nodes/stats", "*"),
        on("", "nodes/configz nodes/healthz nodes/pods", "*"),
    ),
    "system:monitoring": (
        urls("/flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz", "get"),
        on("", "nodes/metrics", "get"),
    ),
    "system:node": (
        on("authentication.k8s.io", "tokenreviews", "create"),
        on("authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews", "create"),
        on("", "services", _READ),
        on("", "nodes", "create get list watch"),
        on("", "nodes/status", "patch update"),
        on("", "nodes", "patch update"),
        _EVENTS,
        on("", "pods", _READ),
        on("", "pods", "create delete"),
        on("", "pods/status", "patch update"),
        on("", "pods/eviction", "create"),
        on("", "configmaps secrets", _READ),
        on("", "persistentvolumeclaims persistentvolumes", "get"),
        on("", "endpoints", "get"),
        on("certificates.k8s.io", "certificatesigningrequests", "create get list watch"),
        on("coordination.k8s.io", "leases", "create delete get patch update"),
        on("storage.k8s.io", "volumeattachments", "get"),
        on("", "serviceaccounts/token", "create"),
        on("", "persistentvolumeclaims/status", "get patch update"),
        on("storage.k8s.io", "csidrivers", _READ),
        on("storage.k8s.io", "csinodes", "create delete get patch update"),
        on("node.k8s.io", "runtimeclasses", _READ),
        on("resource.k8s.io", "resourceclaims", "get"),
        on("resource.k8s.io", "resourceslices", "deletecollection"),
        on("", "serviceaccounts", "get"),
    ),
    "system:node-bootstrapper": (on("certificates.k8s.io", "certificatesigningrequests", "create get list watch"),),
    "system:node-problem-detector": (
        on("", "nodes", "get"),
        on("", "nodes/status", "patch"),
        _EVENTS,
    ),
    "system:node-proxier": (
        on("", "endpoints services", "list watch"),
        on("", "nodes", _READ),
        _EVENTS,
        on("networking.k8s.io", "servicecidrs", "list watch"),
        on("discovery.k8s.io", "endpointslices", "list watch"),
    ),
    "system:persistent-volume-provisioner": (
        on("", "persistentvolumes", "create delete get list watch"),
        on("", "persistentvolumeclaims", "get list update watch"),
        on("storage.k8s.io", "storageclasses", _READ),
        on("", "events", "watch"),
        _EVENTS,
    ),
    "system:public-info-viewer": (urls("/healthz /livez /readyz /version /version/", "get"),),
    "system:service-account-issuer-discovery": (
        urls(
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
            "get",
        ),
    ),
    "system:volume-scheduler": (
        on("", "persistentvolumes", "get list patch update watch"),
        on("storage.k8s.io", "storageclasses", _READ),
        on("", "persistentvolumeclaims", "get list patch update watch"),
    ),
}

# Roles that gather the rules of others by label. The ones that they gather carry that label.
AGGREGATED = {"admin": "aggregate-to-admin", "edit": "aggregate-to-edit", "view": "aggregate-to-view"}
AGGREGATE_LABELS = {
    "system:aggregate-to-admin": "aggregate-to-admin",
    "edit": "aggregate-to-admin",
    "system:aggregate-to-edit": "aggregate-to-edit",
    "view": "aggregate-to-edit",
    "system:aggregate-to-view": "aggregate-to-view",
}

# Roles that go with what is served on request, and who is bound to them: resource -> (role, rules, subjects).
ON_REQUEST = {
    CLUSTERTRUSTBUNDLES: (
        "system:cluster-trust-bundle-discovery",
        (on("certificates.k8s.io", "clustertrustbundles", _READ),),
        ("Group system:serviceaccounts",),
    ),
}
