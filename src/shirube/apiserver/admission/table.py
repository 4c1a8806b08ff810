"""The plugins that are on, in upstream's order (`pkg/kubeapiserver/options/plugins.go`)."""

from __future__ import annotations

from shirube.apiserver.admission.certificate_requests import (
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
    ClusterTrustBundleAttest,
)
from shirube.apiserver.admission.default_ingress_class import DefaultIngressClass
from shirube.apiserver.admission.default_storage_class import DefaultStorageClass
from shirube.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from shirube.apiserver.admission.device_admin_access import DeviceAdminAccess
from shirube.apiserver.admission.limit_ranger import LimitRanger
from shirube.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from shirube.apiserver.admission.node_restriction import NodeRestriction
from shirube.apiserver.admission.owner_references import OwnerReferences
from shirube.apiserver.admission.persistent_volume_claim_resize import PersistentVolumeClaimResize
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.pod_resize import NodeDeclaredFeatureValidator, PodResizeValidator
from shirube.apiserver.admission.pod_security import PodSecurity
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

PLUGINS: tuple[type[Plugin], ...] = (
    OwnerReferences,
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    TaintNodesByCondition,
    PodSecurity,
    Priority,
    DefaultTolerationSeconds,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    CertificateSigning,
    ClusterTrustBundleAttest,
    CertificateSubjectRestriction,
    DefaultIngressClass,
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
    # Last: what it takes is taken, so everybody else must have agreed.
    ResourceQuota,
)
