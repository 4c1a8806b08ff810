"""The objects that a cluster has from its first second, built from the tables: plain dicts, no I/O.

`everything(options)` yields (GVR, object). Names, labels and annotations are upstream's, so that tools that
look for `kubernetes.io/bootstrapping` or `autoupdate` find what they expect.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from shirube.api import gvr as g
from shirube.api.gvr import GVR
from shirube.apiserver.bootstrap.api_services import API_SERVICES
from shirube.apiserver.bootstrap.bindings import CLUSTER_BINDINGS, ROLE_BINDINGS, ROLES, SHIRUBE_NETWORK
from shirube.apiserver.bootstrap.cluster_roles import AGGREGATE_LABELS, AGGREGATED, CLUSTER_ROLES
from shirube.apiserver.bootstrap.cluster_roles import ON_REQUEST as ROLES_ON_REQUEST
from shirube.apiserver.bootstrap.controller_roles import CONTROLLER_ROLES
from shirube.apiserver.bootstrap.controller_roles import ON_REQUEST as CONTROLLERS_ON_REQUEST
from shirube.apiserver.bootstrap.flow_control import FLOW_SCHEMAS, PRIORITY_LEVELS

Json = dict[str, Any]
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
AUTOUPDATE_SPEC = "apf.kubernetes.io/autoupdate-spec"
_RBAC = "rbac.authorization.k8s.io"
_PRIORITY_CLASSES = (
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
)


def _object(gvr: GVR, kind: str, name: str, namespace: str = "", **more: Any) -> Json:
    meta: Json = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    for key in ("labels", "annotations"):
        if more.get(key):
            meta[key] = more.pop(key)
        else:
            more.pop(key, None)
    return {"apiVersion": gvr.group_version, "kind": kind, "metadata": meta, **more}


def namespaces() -> Iterator[tuple[GVR, Json]]:
    for name in NAMESPACES:
        yield (
            g.NAMESPACES,
            _object(
                g.NAMESPACES,
                "Namespace",
                name,
                labels={"kubernetes.io/metadata.name": name},
                spec={"finalizers": ["kubernetes"]},
                status={"phase": "Active"},
            ),
        )


def _rbac(gvr: GVR, kind: str, name: str, namespace: str = "", labels: Json | None = None, **more: Any) -> Json:
    marks = {"kubernetes.io/bootstrapping": "rbac-defaults", **(labels or {})}
    return _object(gvr, kind, name, namespace, labels=marks, annotations={AUTOUPDATE: "true"}, **more)


def cluster_roles() -> Iterator[tuple[GVR, Json]]:
    rules: dict[str, Any] = {**CLUSTER_ROLES, "shirube:network": SHIRUBE_NETWORK}
    rules |= {f"system:controller:{name}": r for name, r in CONTROLLER_ROLES.items()}
    together: list[Json] = []
    for name in CONTROLLER_ROLES:
        together += [rule for rule in CONTROLLER_ROLES[name] if rule not in together]
    rules["shirube:controllers"] = together
    # What the aggregation controller would put in: a server without controllers has working roles, too.
    for name in ("view", "edit", "admin"):
        mark = AGGREGATED[name]
        members = sorted(n for n, label in AGGREGATE_LABELS.items() if label == mark)
        rules[name] = _gathered([rules[member] for member in members])
    for name, role_rules in rules.items():
        labels = {f"{_RBAC}/{AGGREGATE_LABELS[name]}": "true"} if name in AGGREGATE_LABELS else None
        more: Json = {}
        if name in AGGREGATED:
            selector = {"matchLabels": {f"{_RBAC}/{AGGREGATED[name]}": "true"}}
            more["aggregationRule"] = {"clusterRoleSelectors": [selector]}
        role = _rbac(g.CLUSTERROLES, "ClusterRole", name, labels=labels, rules=list(role_rules), **more)
        yield g.CLUSTERROLES, role


def _gathered(sources: list[Any]) -> list[Json]:
    rules: list[Json] = []
    for source in sources:
        rules += [rule for rule in source if rule not in rules]
    return rules


def _subjects(texts: tuple[str, ...]) -> list[Json]:
    subjects: list[Json] = []
    for text in texts:
        kind, _, name = text.partition(" ")
        if kind == "ServiceAccount":
            namespace, _, name = name.partition("/")
            subjects.append({"kind": kind, "name": name, "namespace": namespace})
        else:
            subjects.append({"apiGroup": _RBAC, "kind": kind, "name": name})
    return subjects


def _binding(gvr: GVR, kind: str, name: str, namespace: str, role: str, subjects: tuple[str, ...]) -> Json:
    ref = {"apiGroup": _RBAC, "kind": "Role" if namespace else "ClusterRole", "name": role}
    more: Json = {"roleRef": ref}
    if subjects:
        more["subjects"] = _subjects(subjects)
    return _rbac(gvr, kind, name, namespace, **more)


def on_request(gvr: GVR) -> Iterator[tuple[GVR, Json]]:
    """Roles and bindings that there are only where a resource is served on request."""
    roles: list[tuple[str, tuple[Json, ...], tuple[str, ...]]] = (
        [ROLES_ON_REQUEST[gvr]] if gvr in ROLES_ON_REQUEST else []
    )
    if gvr in CONTROLLERS_ON_REQUEST:
        account, rules = CONTROLLERS_ON_REQUEST[gvr]
        roles.append((f"system:controller:{account}", rules, (f"ServiceAccount kube-system/{account}",)))
    for name, role_rules, subjects in roles:
        yield g.CLUSTERROLES, _rbac(g.CLUSTERROLES, "ClusterRole", name, rules=list(role_rules))
        binding = _binding(g.CLUSTERROLEBINDINGS, "ClusterRoleBinding", name, "", name, subjects)
        yield g.CLUSTERROLEBINDINGS, binding


def bindings() -> Iterator[tuple[GVR, Json]]:
    for role, subjects in CLUSTER_BINDINGS.items():
        yield (
            g.CLUSTERROLEBINDINGS,
            _binding(g.CLUSTERROLEBINDINGS, "ClusterRoleBinding", role, "", role, subjects),
        )
    for name in CONTROLLER_ROLES:
        role, subjects = f"system:controller:{name}", (f"ServiceAccount kube-system/{name}",)
        yield (
            g.CLUSTERROLEBINDINGS,
            _binding(g.CLUSTERROLEBINDINGS, "ClusterRoleBinding", role, "", role, subjects),
        )
    for (namespace, name), rules in ROLES.items():
        yield g.ROLES, _rbac(g.ROLES, "Role", name, namespace, rules=list(rules))
    for (namespace, name), (role, subjects) in ROLE_BINDINGS.items():
        yield (
            g.ROLEBINDINGS,
            _binding(g.ROLEBINDINGS, "RoleBinding", name, namespace, role, subjects),
        )


def flow_control(now: str) -> Iterator[tuple[GVR, Json]]:
    marks = {AUTOUPDATE_SPEC: "true"}
    for name, spec in PRIORITY_LEVELS.items():
        gvr = g.PRIORITYLEVELCONFIGURATIONS
        yield gvr, _object(gvr, "PriorityLevelConfiguration", name, annotations=dict(marks), spec=spec, status={})
    for name, spec in FLOW_SCHEMAS.items():
        level = spec["priorityLevelConfiguration"]["name"]
        condition = {
            "type": "Dangling",
            "status": "False",
            "lastTransitionTime": now,
            "reason": "Found",
            "message": "This FlowSchema references the PriorityLevelConfiguration object named "
            f'"{level}" and it exists',
        }
        yield (
            g.FLOWSCHEMAS,
            _object(
                g.FLOWSCHEMAS,
                "FlowSchema",
                name,
                annotations=dict(marks),
                spec=spec,
                status={"conditions": [condition]},
            ),
        )


def priority_classes() -> Iterator[tuple[GVR, Json]]:
    for name, value, description in _PRIORITY_CLASSES:
        yield (
            g.PRIORITYCLASSES,
            _object(
                g.PRIORITYCLASSES,
                "PriorityClass",
                name,
                value=value,
                description=description,
                preemptionPolicy="PreemptLowerPriority",
            ),
        )


def api_services(now: str) -> Iterator[tuple[GVR, Json]]:
    condition = {
        "type": "Available",
        "status": "True",
        "lastTransitionTime": now,
        "reason": "Local",
        "message": "Local APIServices are always available",
    }
    for group, version, group_priority, version_priority in API_SERVICES:
        spec: Json = {"group": group} if group else {}
        spec |= {
            "groupPriorityMinimum": group_priority,
            "version": version,
            "versionPriority": version_priority,
        }
        yield (
            g.APISERVICES,
            _object(
                g.APISERVICES,
                "APIService",
                f"{version}.{group}",
                labels={"kube-aggregator.kubernetes.io/automanaged": "onstart"},
                spec=spec,
                status={"conditions": [condition]},
            ),
        )


def service_address(service_cidr: str) -> str:
    """The first address of the (first) service range: where `kubernetes.default` is."""
    return str(ipaddress.ip_network(service_cidr.split(",")[0].strip())[1])


def service_network(service_cidr: str, target_port: int, now: str) -> Iterator[tuple[GVR, Json]]:
    """The service range, its first address, and the `kubernetes` Service that has it."""
    address = service_address(service_cidr)
    family = "IPv6" if ":" in address else "IPv4"
    cidrs = [cidr.strip() for cidr in service_cidr.split(",")]
    ready = default_range_ready(now)
    yield (
        g.SERVICECIDRS,
        _object(g.SERVICECIDRS, "ServiceCIDR", "kubernetes", spec={"cidrs": cidrs}, status={"conditions": [ready]}),
    )
    yield g.IPADDRESSES, ip_address(address, "default", "kubernetes")
    yield (
        g.SERVICES,
        _object(
            g.SERVICES,
            "Service",
            "kubernetes",
            "default",
            labels={"component": "apiserver", "provider": "kubernetes"},
            spec={
                "clusterIP": address,
                "clusterIPs": [address],
                "internalTrafficPolicy": "Cluster",
                "ipFamilies": [family],
                "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": target_port}],
                "sessionAffinity": "None",
                "type": "ClusterIP",
            },
            status={"loadBalancer": {}},
        ),
    )


def default_range_ready(now: str) -> Json:
    """The condition that says that addresses may be taken from the server's own range."""
    return {
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": now,
    }


def ip_address(address: str, namespace: str, service: str) -> Json:
    """The object that says that a service has an address."""
    return _object(
        g.IPADDRESSES,
        "IPAddress",
        address,
        labels={
            "ipaddress.kubernetes.io/ip-family": "IPv6" if ":" in address else "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        },
        spec={"parentRef": {"name": service, "namespace": namespace, "resource": "services"}},
    )


def authentication_config(client_ca: str, front_proxy_ca: str = "") -> tuple[GVR, Json]:
    """What servers behind ours need to know to authenticate whom we pass on. PEM texts."""
    data = {"client-ca-file": client_ca} if client_ca else {}
    if front_proxy_ca:
        data |= {
            "requestheader-allowed-names": '["front-proxy-client"]',
            "requestheader-client-ca-file": front_proxy_ca,
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-uid-headers": '["X-Remote-Uid"]',
            "requestheader-username-headers": '["X-Remote-User"]',
        }
    return g.CONFIGMAPS, _object(
        g.CONFIGMAPS, "ConfigMap", "extension-apiserver-authentication", "kube-system", data=data
    )


def token_tracking(now: str) -> Json:
    """Since when uses of legacy tokens are noted."""
    name = "kube-apiserver-legacy-service-account-token-tracking"
    return _object(g.CONFIGMAPS, "ConfigMap", name, "kube-system", data={"since": now.partition("T")[0]})


def endpoint_slice(addresses: list[str], port: int) -> Json:
    """The slice of `kubernetes`. All servers are of one family, as upstream's must be."""
    family = "IPv6" if addresses and ":" in addresses[0] else "IPv4"
    return _object(
        g.ENDPOINTSLICES,
        "EndpointSlice",
        "kubernetes",
        "default",
        labels={"kubernetes.io/service-name": "kubernetes"},
        addressType=family,
        endpoints=[{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        ports=[{"name": "https", "port": port, "protocol": "TCP"}],
    )


def endpoints(addresses: list[str], port: int) -> Json:
    return _object(
        g.ENDPOINTS,
        "Endpoints",
        "kubernetes",
        "default",
        labels={"endpointslice.kubernetes.io/skip-mirror": "true"},
        subsets=[
            {
                "addresses": [{"ip": address} for address in addresses],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }
        ],
    )
