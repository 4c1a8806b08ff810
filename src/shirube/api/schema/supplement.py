"""What the published definitions do not say.

The definitions of `kubernetes-validate` are upstream's OpenAPI v2: they have list types, merge keys and GVKs, but
no defaults, and they flatten the types whose Go code reads JSON in its own way. These tables hold the rest, as far
as server-side apply (defaults of list-map keys), field validation, pruning and OpenAPI v3 need it. Defaults of
whole objects are not here: they depend on other fields and are code, in the strategies of `shirube.api.kinds`.
"""

from __future__ import annotations

from typing import Any, Final

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
CORE: Final = "io.k8s.api.core.v1."
APIEXTENSIONS: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."

QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
TIME: Final = META + "Time"
MICRO_TIME: Final = META + "MicroTime"

ANY: Final = frozenset(
    {
        META + "FieldsV1",
        META + "Patch",
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        APIEXTENSIONS + "JSON",
        APIEXTENSIONS + "JSONSchemaPropsOrArray",
        APIEXTENSIONS + "JSONSchemaPropsOrBool",
        APIEXTENSIONS + "JSONSchemaPropsOrStringArray",
    }
)
"""Definitions whose value is kept as it came. The JSONSchemaPropsOr… unions read what they hold leniently in
upstream too: nothing below them is pruned with a warning or refused."""

DEFAULTS: Final[dict[tuple[str, str], Any]] = {
    (CORE + "ContainerPort", "protocol"): "TCP",
    (CORE + "ServicePort", "protocol"): "TCP",
    (CORE + "EndpointPort", "protocol"): "TCP",
    (CORE + "LocalObjectReference", "name"): "",
    (CORE + "ConfigMapKeySelector", "name"): "",
    (CORE + "SecretKeySelector", "name"): "",
    (CORE + "ConfigMapEnvSource", "name"): "",
    (CORE + "SecretEnvSource", "name"): "",
    (CORE + "ConfigMapProjection", "name"): "",
    (CORE + "SecretProjection", "name"): "",
    (CORE + "ConfigMapVolumeSource", "name"): "",
    (CORE + "PersistentVolumeSpec", "persistentVolumeReclaimPolicy"): "Retain",
    (CORE + "ISCSIVolumeSource", "iscsiInterface"): "default",
    (CORE + "ISCSIPersistentVolumeSource", "iscsiInterface"): "default",
    (CORE + "RBDVolumeSource", "pool"): "rbd",
    (CORE + "RBDVolumeSource", "user"): "admin",
    (CORE + "RBDVolumeSource", "keyring"): "/etc/ceph/keyring",
    (CORE + "RBDPersistentVolumeSource", "pool"): "rbd",
    (CORE + "RBDPersistentVolumeSource", "user"): "admin",
    (CORE + "RBDPersistentVolumeSource", "keyring"): "/etc/ceph/keyring",
    (CORE + "AzureDiskVolumeSource", "cachingMode"): "ReadWrite",
    (CORE + "AzureDiskVolumeSource", "fsType"): "ext4",
    (CORE + "AzureDiskVolumeSource", "kind"): "Shared",
    (CORE + "AzureDiskVolumeSource", "readOnly"): False,
    (CORE + "ScaleIOVolumeSource", "storageMode"): "ThinProvisioned",
    (CORE + "ScaleIOVolumeSource", "fsType"): "xfs",
    (CORE + "ScaleIOPersistentVolumeSource", "storageMode"): "ThinProvisioned",
    (CORE + "ScaleIOPersistentVolumeSource", "fsType"): "xfs",
    (CORE + "GRPCAction", "service"): "",
}
"""(definition, field) to the default that upstream's schema declares (`+default`), beyond the zero values."""

_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_TRAFFIC: Final = ("Cluster", "Local")

ENUMS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    (CORE + "Container", "imagePullPolicy"): _PULL_POLICIES,
    (CORE + "Container", "terminationMessagePolicy"): ("FallbackToLogsOnError", "File"),
    (CORE + "ContainerPort", "protocol"): _PROTOCOLS,
    (CORE + "EphemeralContainer", "imagePullPolicy"): _PULL_POLICIES,
    (CORE + "EphemeralContainer", "terminationMessagePolicy"): ("FallbackToLogsOnError", "File"),
    (CORE + "NodeSelectorRequirement", "operator"): ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"),
    (CORE + "PersistentVolumeSpec", "persistentVolumeReclaimPolicy"): ("Delete", "Recycle", "Retain"),
    (CORE + "PersistentVolumeSpec", "volumeMode"): ("Block", "Filesystem"),
    (CORE + "PersistentVolumeClaimSpec", "volumeMode"): ("Block", "Filesystem"),
    (CORE + "PodSpec", "dnsPolicy"): ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    (CORE + "PodSpec", "preemptionPolicy"): ("Never", "PreemptLowerPriority"),
    (CORE + "PodSpec", "restartPolicy"): ("Always", "Never", "OnFailure"),
    (CORE + "PodStatus", "phase"): ("Failed", "Pending", "Running", "Succeeded", "Unknown"),
    (CORE + "PodStatus", "qosClass"): ("BestEffort", "Burstable", "Guaranteed"),
    (CORE + "SeccompProfile", "type"): ("Localhost", "RuntimeDefault", "Unconfined"),
    (CORE + "ServicePort", "protocol"): _PROTOCOLS,
    (CORE + "ServiceSpec", "externalTrafficPolicy"): _TRAFFIC,
    (CORE + "ServiceSpec", "internalTrafficPolicy"): _TRAFFIC,
    (CORE + "ServiceSpec", "ipFamilyPolicy"): ("PreferDualStack", "RequireDualStack", "SingleStack"),
    (CORE + "ServiceSpec", "sessionAffinity"): ("ClientIP", "None"),
    (CORE + "ServiceSpec", "type"): ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"),
    (CORE + "Taint", "effect"): ("NoExecute", "NoSchedule", "PreferNoSchedule"),
    (CORE + "Toleration", "effect"): ("NoExecute", "NoSchedule", "PreferNoSchedule"),
    (CORE + "Toleration", "operator"): ("Equal", "Exists", "Gt", "Lt"),
    (CORE + "TopologySpreadConstraint", "whenUnsatisfiable"): ("DoNotSchedule", "ScheduleAnyway"),
    ("io.k8s.api.apps.v1.DaemonSetUpdateStrategy", "type"): ("OnDelete", "RollingUpdate"),
    ("io.k8s.api.apps.v1.DeploymentStrategy", "type"): ("Recreate", "RollingUpdate"),
    ("io.k8s.api.apps.v1.StatefulSetSpec", "podManagementPolicy"): ("OrderedReady", "Parallel"),
    ("io.k8s.api.apps.v1.StatefulSetUpdateStrategy", "type"): ("OnDelete", "RollingUpdate"),
    ("io.k8s.api.batch.v1.CronJobSpec", "concurrencyPolicy"): ("Allow", "Forbid", "Replace"),
    ("io.k8s.api.batch.v1.JobSpec", "completionMode"): ("Indexed", "NonIndexed"),
    ("io.k8s.api.networking.v1.HTTPIngressPath", "pathType"): ("Exact", "ImplementationSpecific", "Prefix"),
    ("io.k8s.api.networking.v1.NetworkPolicyPort", "protocol"): _PROTOCOLS,
}
"""Closed sets that upstream's OpenAPI v3 lists; `kubectl explain` prints them. Validation is elsewhere."""

MESSAGES: Final[tuple[str, ...]] = (
    META + "APIGroup",
    META + "APIGroupList",
    META + "APIResourceList",
    META + "APIVersions",
    META + "DeleteOptions",
    META + "Patch",
    META + "Status",
    META + "WatchEvent",
    "io.k8s.apimachinery.pkg.version.Info",
)
"""Definitions that are no resources but travel as bodies and answers."""
