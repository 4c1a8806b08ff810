"""Group, version, resource: the name of a collection on the wire, and the URL path that it has.

A constant for every built-in resource, so that no component spells a path by hand: the plural name in
capitals. Where two group versions serve the same objects the bare name is the one that is stored
(autoscaling/v2, core events) and the other carries its version: `HORIZONTALPODAUTOSCALERS_V1`,
`EVENTS_V1` (events.k8s.io/v1).
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote


class GVR(NamedTuple):
    """A collection of the API. The core group is the empty string."""

    group: str
    version: str
    resource: str

    @property
    def group_version(self) -> str:
        """What `apiVersion` says: "v1", "apps/v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, of one object in it, or of a subresource of that object.

        The caller knows the scope: without a namespace the path is that of a cluster-scoped resource or of
        all namespaces. What follows a subresource ("proxy/metrics") keeps its slashes.
        """
        parts = ["/apis/", self.group, "/", self.version] if self.group else ["/api/", self.version]
        if namespace:
            parts += ["/namespaces/", quote(namespace, safe="")]
        parts += ["/", self.resource]
        if name:
            parts += ["/", quote(name, safe=":")]
            if subresource:
                parts += ["/", quote(subresource, safe="/:")]
        return "".join(parts)

    def __str__(self) -> str:
        return f"{self.resource}.{self.version}.{self.group}" if self.group else self.resource


# v1
BINDINGS = GVR("", "v1", "bindings")
COMPONENTSTATUSES = GVR("", "v1", "componentstatuses")
CONFIGMAPS = GVR("", "v1", "configmaps")
ENDPOINTS = GVR("", "v1", "endpoints")
EVENTS = GVR("", "v1", "events")
LIMITRANGES = GVR("", "v1", "limitranges")
NAMESPACES = GVR("", "v1", "namespaces")
NODES = GVR("", "v1", "nodes")
PERSISTENTVOLUMECLAIMS = GVR("", "v1", "persistentvolumeclaims")
PERSISTENTVOLUMES = GVR("", "v1", "persistentvolumes")
PODS = GVR("", "v1", "pods")
PODTEMPLATES = GVR("", "v1", "podtemplates")
REPLICATIONCONTROLLERS = GVR("", "v1", "replicationcontrollers")
RESOURCEQUOTAS = GVR("", "v1", "resourcequotas")
SECRETS = GVR("", "v1", "secrets")
SERVICEACCOUNTS = GVR("", "v1", "serviceaccounts")
SERVICES = GVR("", "v1", "services")

# apiregistration.k8s.io/v1
APISERVICES = GVR("apiregistration.k8s.io", "v1", "apiservices")

# apps/v1
CONTROLLERREVISIONS = GVR("apps", "v1", "controllerrevisions")
DAEMONSETS = GVR("apps", "v1", "daemonsets")
DEPLOYMENTS = GVR("apps", "v1", "deployments")
REPLICASETS = GVR("apps", "v1", "replicasets")
STATEFULSETS = GVR("apps", "v1", "statefulsets")

# events.k8s.io/v1
EVENTS_V1 = GVR("events.k8s.io", "v1", "events")

# authentication.k8s.io/v1
SELFSUBJECTREVIEWS = GVR("authentication.k8s.io", "v1", "selfsubjectreviews")
TOKENREVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews")

# authorization.k8s.io/v1
LOCALSUBJECTACCESSREVIEWS = GVR("authorization.k8s.io", "v1", "localsubjectaccessreviews")
SELFSUBJECTACCESSREVIEWS = GVR("authorization.k8s.io", "v1", "selfsubjectaccessreviews")
SELFSUBJECTRULESREVIEWS = GVR("authorization.k8s.io", "v1", "selfsubjectrulesreviews")
SUBJECTACCESSREVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews")

# autoscaling/v2
HORIZONTALPODAUTOSCALERS = GVR("autoscaling", "v2", "horizontalpodautoscalers")

# autoscaling/v1
HORIZONTALPODAUTOSCALERS_V1 = GVR("autoscaling", "v1", "horizontalpodautoscalers")

# batch/v1
CRONJOBS = GVR("batch", "v1", "cronjobs")
JOBS = GVR("batch", "v1", "jobs")

# certificates.k8s.io/v1
CERTIFICATESIGNINGREQUESTS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests")
CLUSTERTRUSTBUNDLES = GVR("certificates.k8s.io", "v1beta1", "clustertrustbundles")

# networking.k8s.io/v1
INGRESSCLASSES = GVR("networking.k8s.io", "v1", "ingressclasses")
INGRESSES = GVR("networking.k8s.io", "v1", "ingresses")
IPADDRESSES = GVR("networking.k8s.io", "v1", "ipaddresses")
NETWORKPOLICIES = GVR("networking.k8s.io", "v1", "networkpolicies")
SERVICECIDRS = GVR("networking.k8s.io", "v1", "servicecidrs")

# policy/v1
PODDISRUPTIONBUDGETS = GVR("policy", "v1", "poddisruptionbudgets")

# rbac.authorization.k8s.io/v1
CLUSTERROLEBINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
CLUSTERROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
ROLEBINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings")
ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles")

# storage.k8s.io/v1
CSIDRIVERS = GVR("storage.k8s.io", "v1", "csidrivers")
CSINODES = GVR("storage.k8s.io", "v1", "csinodes")
CSISTORAGECAPACITIES = GVR("storage.k8s.io", "v1", "csistoragecapacities")
STORAGECLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
VOLUMEATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments")
VOLUMEATTRIBUTESCLASSES = GVR("storage.k8s.io", "v1", "volumeattributesclasses")

# admissionregistration.k8s.io/v1
MUTATINGADMISSIONPOLICIES = GVR("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies")
MUTATINGADMISSIONPOLICYBINDINGS = GVR("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings")
MUTATINGWEBHOOKCONFIGURATIONS = GVR("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
VALIDATINGADMISSIONPOLICIES = GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
VALIDATINGADMISSIONPOLICYBINDINGS = GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings")
VALIDATINGWEBHOOKCONFIGURATIONS = GVR("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")

# apiextensions.k8s.io/v1
CUSTOMRESOURCEDEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")

# scheduling.k8s.io/v1
PRIORITYCLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")

# coordination.k8s.io/v1
LEASES = GVR("coordination.k8s.io", "v1", "leases")

# node.k8s.io/v1
RUNTIMECLASSES = GVR("node.k8s.io", "v1", "runtimeclasses")

# discovery.k8s.io/v1
ENDPOINTSLICES = GVR("discovery.k8s.io", "v1", "endpointslices")

# resource.k8s.io/v1
DEVICECLASSES = GVR("resource.k8s.io", "v1", "deviceclasses")
RESOURCECLAIMS = GVR("resource.k8s.io", "v1", "resourceclaims")
RESOURCECLAIMTEMPLATES = GVR("resource.k8s.io", "v1", "resourceclaimtemplates")
RESOURCESLICES = GVR("resource.k8s.io", "v1", "resourceslices")

# flowcontrol.apiserver.k8s.io/v1
FLOWSCHEMAS = GVR("flowcontrol.apiserver.k8s.io", "v1", "flowschemas")
PRIORITYLEVELCONFIGURATIONS = GVR("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations")
