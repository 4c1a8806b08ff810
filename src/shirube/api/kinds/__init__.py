"""Which rules hold for which resource: one table, from (group, plural) to the strategy's class.

Modules are imported when the first object of their kind arrives: an API server that serves only a few kinds
starts without paying for the rest. Resources that are not in the table are custom resources, or virtual ones
of which nothing is stored.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from shirube.api.kinds.custom_resource import CustomResourceStrategy
from shirube.api.strategy import Strategy

if TYPE_CHECKING:
    from shirube.api.resources import Resource

_ADMISSION = "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"
_NET = "networking.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
_DRA = "resource.k8s.io"
_STORAGE = "storage.k8s.io"

# (group, plural) -> "module:Class" below shirube.api.kinds
KINDS: dict[tuple[str, str], str] = {
    ("", "configmaps"): "config_map:ConfigMapStrategy",
    ("", "endpoints"): "endpoints:EndpointsStrategy",
    ("", "events"): "event:CoreEventStrategy",
    ("", "limitranges"): "limit_range:LimitRangeStrategy",
    ("", "namespaces"): "namespace:NamespaceStrategy",
    ("", "nodes"): "node:NodeStrategy",
    ("", "persistentvolumeclaims"): "persistent_volume_claim:PersistentVolumeClaimStrategy",
    ("", "persistentvolumes"): "persistent_volume:PersistentVolumeStrategy",
    ("", "pods"): "pod:PodStrategy",
    ("", "podtemplates"): "pod_template:PodTemplateStrategy",
    ("", "replicationcontrollers"): "replica_set:ReplicationControllerStrategy",
    ("", "resourcequotas"): "resource_quota:ResourceQuotaStrategy",
    ("", "secrets"): "secret:SecretStrategy",
    ("", "serviceaccounts"): "service_account:ServiceAccountStrategy",
    ("", "services"): "service:ServiceStrategy",
    (_ADMISSION, "mutatingadmissionpolicies"): "admission_policy:MutatingAdmissionPolicyStrategy",
    (
        _ADMISSION,
        "mutatingadmissionpolicybindings",
    ): "admission_policy:MutatingAdmissionPolicyBindingStrategy",
    (_ADMISSION, "mutatingwebhookconfigurations"): "webhook:MutatingWebhookConfigurationStrategy",
    (_ADMISSION, "validatingadmissionpolicies"): "admission_policy:ValidatingAdmissionPolicyStrategy",
    (
        _ADMISSION,
        "validatingadmissionpolicybindings",
    ): "admission_policy:ValidatingAdmissionPolicyBindingStrategy",
    (_ADMISSION, "validatingwebhookconfigurations"): "webhook:ValidatingWebhookConfigurationStrategy",
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
    ): "custom_resource_definition:CustomResourceDefinitionStrategy",
    ("apiregistration.k8s.io", "apiservices"): "api_service:APIServiceStrategy",
    ("apps", "controllerrevisions"): "controller_revision:ControllerRevisionStrategy",
    ("apps", "daemonsets"): "daemon_set:DaemonSetStrategy",
    ("apps", "deployments"): "deployment:DeploymentStrategy",
    ("apps", "replicasets"): "replica_set:ReplicaSetStrategy",
    ("apps", "statefulsets"): "stateful_set:StatefulSetStrategy",
    (
        "autoscaling",
        "horizontalpodautoscalers",
    ): "horizontal_pod_autoscaler:HorizontalPodAutoscalerStrategy",
    ("batch", "cronjobs"): "cron_job:CronJobStrategy",
    ("batch", "jobs"): "job:JobStrategy",
    (
        "certificates.k8s.io",
        "certificatesigningrequests",
    ): "certificate_signing_request:CertificateSigningRequestStrategy",
    ("certificates.k8s.io", "clustertrustbundles"): "cluster_trust_bundle:ClusterTrustBundleStrategy",
    ("coordination.k8s.io", "leases"): "lease:LeaseStrategy",
    ("discovery.k8s.io", "endpointslices"): "endpoint_slice:EndpointSliceStrategy",
    ("events.k8s.io", "events"): "event:EventStrategy",
    (_FLOW, "flowschemas"): "flow_control:FlowSchemaStrategy",
    (_FLOW, "prioritylevelconfigurations"): "flow_control:PriorityLevelConfigurationStrategy",
    (_NET, "ingressclasses"): "ingress:IngressClassStrategy",
    (_NET, "ingresses"): "ingress:IngressStrategy",
    (_NET, "ipaddresses"): "service_cidr:IPAddressStrategy",
    (_NET, "networkpolicies"): "network_policy:NetworkPolicyStrategy",
    (_NET, "servicecidrs"): "service_cidr:ServiceCIDRStrategy",
    ("node.k8s.io", "runtimeclasses"): "runtime_class:RuntimeClassStrategy",
    ("policy", "poddisruptionbudgets"): "pod_disruption_budget:PodDisruptionBudgetStrategy",
    (_RBAC, "clusterrolebindings"): "rbac:ClusterRoleBindingStrategy",
    (_RBAC, "clusterroles"): "rbac:ClusterRoleStrategy",
    (_RBAC, "rolebindings"): "rbac:RoleBindingStrategy",
    (_RBAC, "roles"): "rbac:RoleStrategy",
    (_DRA, "deviceclasses"): "resource_claim:DeviceClassStrategy",
    (_DRA, "resourceclaims"): "resource_claim:ResourceClaimStrategy",
    (_DRA, "resourceclaimtemplates"): "resource_claim:ResourceClaimTemplateStrategy",
    (_DRA, "resourceslices"): "resource_claim:ResourceSliceStrategy",
    ("scheduling.k8s.io", "priorityclasses"): "priority_class:PriorityClassStrategy",
    (_STORAGE, "csidrivers"): "csi:CSIDriverStrategy",
    (_STORAGE, "csinodes"): "csi:CSINodeStrategy",
    (_STORAGE, "csistoragecapacities"): "csi:CSIStorageCapacityStrategy",
    (_STORAGE, "storageclasses"): "storage_class:StorageClassStrategy",
    (_STORAGE, "volumeattachments"): "csi:VolumeAttachmentStrategy",
    (_STORAGE, "volumeattributesclasses"): "storage_class:VolumeAttributesClassStrategy",
}

_loaded: dict[tuple[str, str, bool, bool], Strategy] = {}


def strategy_of(resource: Resource) -> Strategy:
    """The rules of a resource. Strategies hold no state: every caller gets the same one."""
    if resource.definition is not None:
        rules: Strategy = resource.definition.strategy
        return rules
    has_status = "status" in resource.subresources
    at = (resource.group, resource.name, resource.namespaced, has_status)
    strategy = _loaded.get(at)
    if strategy is None:
        strategy = _loaded[at] = _load(resource, has_status)
    return strategy


def _load(resource: Resource, has_status: bool) -> Strategy:
    target = KINDS.get((resource.group, resource.name))
    if target is None:
        rules = Strategy if resource.virtual else CustomResourceStrategy
        return rules(namespaced=resource.namespaced, has_status=has_status)
    module, _, name = target.partition(":")
    strategy: Strategy = getattr(importlib.import_module(f"shirube.api.kinds.{module}"), name)(
        namespaced=resource.namespaced, has_status=has_status
    )
    return strategy
