"""Nothing that the API serves is left without the controller that upstream's controller manager runs for it.

Two tables: who writes the status of each kind that has one, and which of upstream's controllers have no row of ours,
and why. A kind that is served anew, or a role that upstream adds, must be entered here: by whom is its status written?
"""

from __future__ import annotations

import pytest

from shirube.api.resources import BUILTIN, OPTIONAL
from shirube.apiserver.bootstrap.controller_roles import CONTROLLER_ROLES
from shirube.controllers.table import CONTROLLERS

# Writers that are rows of the table; of what is in parentheses, other components.
WRITERS: dict[str, tuple[str, ...]] = {
    "namespaces": ("namespace-controller",),
    "nodes": ("node-lifecycle-controller", "persistentvolume-attach-detach-controller", "(node agent)"),
    "persistentvolumeclaims": (
        "persistentvolume-binder-controller",
        "persistentvolume-expander-controller",
        "(node agent)",
    ),
    "persistentvolumes": ("persistentvolume-binder-controller",),
    "pods": (
        "node-lifecycle-controller",  # not ready when its node has fallen silent
        "pod-garbage-collector-controller",  # failed before it is deleted
        "taint-eviction-controller",  # DisruptionTarget
        "device-taint-eviction-controller",
        "disruption-controller",  # DisruptionTarget taken back
        "resourceclaim-controller",  # resourceClaimStatuses
        "(node agent)",
        "(scheduler)",
    ),
    "replicationcontrollers": ("replicationcontroller-controller",),
    "resourcequotas": ("resourcequota-controller", "(API server)"),
    "services": ("(gateway)",),  # of a bare-metal cluster's own; upstream's is the cloud's
    "apiservices.apiregistration.k8s.io": ("(API server)",),
    "customresourcedefinitions.apiextensions.k8s.io": ("(API server)",),
    "flowschemas.flowcontrol.apiserver.k8s.io": ("(API server)",),
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": ("(API server)",),
    "daemonsets.apps": ("daemonset-controller",),
    "deployments.apps": ("deployment-controller",),
    "replicasets.apps": ("replicaset-controller",),
    "statefulsets.apps": ("statefulset-controller",),
    "horizontalpodautoscalers.autoscaling": ("horizontal-pod-autoscaler-controller",),
    "cronjobs.batch": ("cronjob-controller",),
    "jobs.batch": ("job-controller",),
    "certificatesigningrequests.certificates.k8s.io": (
        "certificatesigningrequest-approving-controller",
        "certificatesigningrequest-signing-controller",
    ),
    "ingresses.networking.k8s.io": ("(whoever serves its class)",),
    "servicecidrs.networking.k8s.io": ("service-cidr-controller",),
    "poddisruptionbudgets.policy": ("disruption-controller", "(API server)"),
    "resourceclaims.resource.k8s.io": ("resourceclaim-controller", "(scheduler)", "(drivers)"),
    "volumeattachments.storage.k8s.io": ("(the driver's attacher)",),
    "validatingadmissionpolicies.admissionregistration.k8s.io": ("validatingadmissionpolicy-status-controller",),
}

# Roles of upstream's controllers that no row acts as.
WITHOUT_A_ROW = {
    "route-controller": "a cloud's; routes between nodes are made by their own agents",
    "service-controller": "a cloud's; on bare metal the gateway does its work",
    "selinux-warning-controller": "off by default in v1.36 (`--controllers=*,selinux-warning-controller`)",
    "service-ca-cert-publisher": "a role that upstream makes for a controller that it does not have",
}


def test_every_kind_with_a_status_has_somebody_who_writes_it():
    rows = {row.name for row in CONTROLLERS}
    served = {
        f"{one.name}.{one.group}".rstrip(".")
        for table in (BUILTIN, OPTIONAL)
        for one in table
        if "status" in one.subresources
    }
    assert served == WRITERS.keys()
    for kind, writers in WRITERS.items():
        unknown = {name for name in writers if not name.startswith("(")} - rows
        assert not unknown, f"{kind}: no such controllers: {unknown}"


@pytest.mark.parametrize("account", sorted(CONTROLLER_ROLES))
def test_every_role_of_upstreams_controllers_is_acted_in(account: str):
    acting = [row.name for row in CONTROLLERS if account in row.accounts]
    assert bool(acting) != (account in WITHOUT_A_ROW), WITHOUT_A_ROW.get(account, "nobody acts as this account")
