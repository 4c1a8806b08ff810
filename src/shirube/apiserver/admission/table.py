"""The plugins, in upstream's order (`pkg/kubeapiserver/options/plugins.go`), and which of them are on by default.

`selection` says which ones a server has that was asked for others.
"""

from __future__ import annotations

from shirube.apiserver.admission.always import AlwaysAdmit, AlwaysDeny
from shirube.apiserver.admission.always_pull_images import AlwaysPullImages
from shirube.apiserver.admission.certificate_requests import (
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
    ClusterTrustBundleAttest,
)
from shirube.apiserver.admission.default_ingress_class import DefaultIngressClass
from shirube.apiserver.admission.default_storage_class import DefaultStorageClass
from shirube.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from shirube.apiserver.admission.deny_service_external_ips import DenyServiceExternalIPs
from shirube.apiserver.admission.device_admin_access import DeviceAdminAccess
from shirube.apiserver.admission.event_rate_limit import EventRateLimit
from shirube.apiserver.admission.extended_resource_toleration import ExtendedResourceToleration
from shirube.apiserver.admission.image_policy_webhook import ImagePolicyWebhook
from shirube.apiserver.admission.limit_pod_hard_anti_affinity_topology import LimitPodHardAntiAffinityTopology
from shirube.apiserver.admission.limit_ranger import LimitRanger
from shirube.apiserver.admission.namespace_auto_provision import NamespaceAutoProvision
from shirube.apiserver.admission.namespace_exists import NamespaceExists
from shirube.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from shirube.apiserver.admission.node_restriction import NodeRestriction
from shirube.apiserver.admission.owner_references import OwnerReferences
from shirube.apiserver.admission.owner_references_permission_enforcement import OwnerReferencesPermissionEnforcement
from shirube.apiserver.admission.persistent_volume_claim_resize import PersistentVolumeClaimResize
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.pod_node_selector import PodNodeSelector
from shirube.apiserver.admission.pod_resize import NodeDeclaredFeatureValidator, PodResizeValidator
from shirube.apiserver.admission.pod_security import PodSecurity
from shirube.apiserver.admission.pod_toleration_restriction import PodTolerationRestriction
from shirube.apiserver.admission.pod_topology_labels import PodTopologyLabels
from shirube.apiserver.admission.priority import Priority
from shirube.apiserver.admission.quota import ResourceQuota
from shirube.apiserver.admission.rbac_escalation import RbacEscalation
from shirube.apiserver.admission.resource_claim_status import ResourceClaimStatus
from shirube.apiserver.admission.runtime_class import RuntimeClass
from shirube.apiserver.admission.service_account import ServiceAccount
from shirube.apiserver.admission.storage_object_in_use_protection import StorageObjectInUseProtection
from shirube.apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from shirube.apiserver.policies.expressions import AdmissionExpressions
from shirube.apiserver.policies.mutating import MutatingAdmissionPolicy
from shirube.apiserver.policies.validating import ValidatingAdmissionPolicy
from shirube.apiserver.webhooks.mutating import MutatingAdmissionWebhook
from shirube.apiserver.webhooks.validating import ValidatingAdmissionWebhook

EVERY: tuple[type[Plugin], ...] = (
    AlwaysAdmit,
    OwnerReferences,
    NamespaceAutoProvision,
    NamespaceLifecycle,
    NamespaceExists,
    LimitPodHardAntiAffinityTopology,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    TaintNodesByCondition,
    AlwaysPullImages,
    ImagePolicyWebhook,
    PodSecurity,
    PodNodeSelector,
    Priority,
    DefaultTolerationSeconds,
    PodTolerationRestriction,
    EventRateLimit,
    ExtendedResourceToleration,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    OwnerReferencesPermissionEnforcement,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    CertificateSigning,
    ClusterTrustBundleAttest,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    DenyServiceExternalIPs,
    PodTopologyLabels,
    NodeDeclaredFeatureValidator,
    PodResizeValidator,
    RbacEscalation,
    DeviceAdminAccess,
    ResourceClaimStatus,
    AdmissionExpressions,
    MutatingAdmissionPolicy,
    MutatingAdmissionWebhook,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionWebhook,
    # Last of those that let anything pass: what it takes is taken, so everybody else must have agreed.
    ResourceQuota,
    AlwaysDeny,
)

OFF_BY_DEFAULT = frozenset(
    (
        "AlwaysAdmit",
        "AlwaysDeny",
        "AlwaysPullImages",
        "DenyServiceExternalIPs",
        "EventRateLimit",
        "ExtendedResourceToleration",
        "ImagePolicyWebhook",
        "LimitPodHardAntiAffinityTopology",
        "NamespaceAutoProvision",
        "NamespaceExists",
        "OwnerReferencesPermissionEnforcement",
        "PodNodeSelector",
        "PodTolerationRestriction",
    )
)

PLUGINS: tuple[type[Plugin], ...] = tuple(plugin for plugin in EVERY if plugin.name not in OFF_BY_DEFAULT)
