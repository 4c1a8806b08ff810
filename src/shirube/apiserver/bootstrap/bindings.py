"""Who is bound to the default roles, and the few roles that live in a namespace."""

from __future__ import annotations

from shirube.apiserver.bootstrap.rules import on

_READ = "get list watch"
_EVENTS = on("|events.k8s.io", "events", "create patch update")
_ELECTION = (
    on("coordination.k8s.io", "leases", "create get list update watch"),
    on("coordination.k8s.io", "leasecandidates", "create get list update watch"),
)

# Cluster role -> subjects, as "User NAME", "Group NAME" or "ServiceAccount NAMESPACE/NAME".
# The binding is named like the role.
CLUSTER_BINDINGS: dict[str, tuple[str, ...]] = {
    "cluster-admin": ("Group system:masters",),
    "system:basic-user": ("Group system:authenticated",),
    "system:discovery": ("Group system:authenticated",),
    "system:kube-controller-manager": ("User system:kube-controller-manager",),
    "system:kube-dns": ("ServiceAccount kube-system/kube-dns",),
    "system:kube-scheduler": ("User system:kube-scheduler",),
    "system:monitoring": ("Group system:monitoring",),
    "system:node": (),
    "system:node-proxier": ("User system:kube-proxy",),
    "system:public-info-viewer": ("Group system:authenticated", "Group system:unauthenticated"),
    "system:service-account-issuer-discovery": ("Group system:serviceaccounts",),
    "system:volume-scheduler": ("User system:kube-scheduler",),
    # Ours: see `controller_roles` and `SHIRUBE_NETWORK`.
    "shirube:controllers": ("User system:kube-controller-manager",),
    "shirube:network": ("User system:kube-proxy",),
}

# One process is proxy, policy, pod network and DNS; it reads more than upstream's proxy does.
SHIRUBE_NETWORK = (
    on("", "endpoints namespaces nodes pods services", _READ),
    on("discovery.k8s.io", "endpointslices", _READ),
    on("networking.k8s.io", "networkpolicies servicecidrs", _READ),
    on("", "nodes/status", "patch"),
    _EVENTS,
)

# (namespace, role) -> rules
ROLES = {
    ("kube-public", "system:controller:bootstrap-signer"): (
        on("", "configmaps", _READ),
        on("", "configmaps", "update", "cluster-info"),
        _EVENTS,
    ),
    ("kube-system", "extension-apiserver-authentication-reader"): (
        on("", "configmaps", _READ, "extension-apiserver-authentication"),
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): _ELECTION,
    ("kube-system", "system::leader-locking-kube-scheduler"): _ELECTION,
    ("kube-system", "system:controller:bootstrap-signer"): (on("", "secrets", _READ),),
    ("kube-system", "system:controller:cloud-provider"): (on("", "configmaps", "create get list watch"),),
    ("kube-system", "system:controller:token-cleaner"): (
        on("", "secrets", "delete get list watch"),
        _EVENTS,
    ),
}

# (namespace, binding) -> (role, subjects)
ROLE_BINDINGS: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("kube-public", "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        ("ServiceAccount kube-system/bootstrap-signer",),
    ),
    ("kube-system", "system::extension-apiserver-authentication-reader"): (
        "extension-apiserver-authentication-reader",
        ("User system:kube-controller-manager", "User system:kube-scheduler"),
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): (
        "system::leader-locking-kube-controller-manager",
        (
            "User system:kube-controller-manager",
            "ServiceAccount kube-system/kube-controller-manager",
            "ServiceAccount kube-system/leader-election-controller",
        ),
    ),
    ("kube-system", "system::leader-locking-kube-scheduler"): (
        "system::leader-locking-kube-scheduler",
        ("User system:kube-scheduler", "ServiceAccount kube-system/kube-scheduler"),
    ),
    ("kube-system", "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        ("ServiceAccount kube-system/bootstrap-signer",),
    ),
    ("kube-system", "system:controller:cloud-provider"): (
        "system:controller:cloud-provider",
        ("ServiceAccount kube-system/cloud-provider",),
    ),
    ("kube-system", "system:controller:token-cleaner"): (
        "system:controller:token-cleaner",
        ("ServiceAccount kube-system/token-cleaner",),
    ),
}
