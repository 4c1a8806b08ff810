"""Services: a name and an address for pods.

Addresses and node ports are allocated by the server between ``prepare_*`` and ``validate``; here an update
keeps what was allocated where the manifest leaves it out, and drops what its new type does not have.
Follows k8s.io/kubernetes ``pkg/registry/core/service`` and core's ``ValidateService``.
"""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.object_meta import name_is_dns_label
from shirube.api.validation.service_spec import (
    validate_load_balancer_status,
    validate_service,
    validate_service_annotations,
    validate_service_update,
)

_ADDRESSED = ("", "ClusterIP", "NodePort", "LoadBalancer")
_PORTED = ("NodePort", "LoadBalancer")
_AFFINITY_SECONDS = 10800


class ServiceStrategy(Strategy):
    allow_create_on_update = True
    # KEP-5311: RFC 1123 labels since v1.36, RFC 1035 before
    name_rule = staticmethod(name_is_dns_label)

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("sessionAffinity"):
            spec["sessionAffinity"] = "None"
        if spec["sessionAffinity"] == "None":
            spec.pop("sessionAffinityConfig", None)
        elif spec["sessionAffinity"] == "ClientIP":
            client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
            client.setdefault("timeoutSeconds", _AFFINITY_SECONDS)
        if not spec.get("type"):
            spec["type"] = "ClusterIP"
        for port in spec.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"
            if port.get("targetPort") in (None, 0, ""):
                port["targetPort"] = port.get("port", 0)
        kind = spec["type"]
        if _reachable_from_outside(spec) and not spec.get("externalTrafficPolicy"):
            spec["externalTrafficPolicy"] = "Cluster"
        if kind in _ADDRESSED and not spec.get("internalTrafficPolicy"):
            spec["internalTrafficPolicy"] = "Cluster"
        if kind == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
            for entry in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
                if entry.get("ip"):
                    entry.setdefault("ipMode", "VIP")

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {"loadBalancer": {}}
        _drop_inner_policy(obj["spec"])
        normalize_cluster_ips(obj["spec"], None)

    def prepare_for_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(obj, old)
        spec, old_spec = obj["spec"], old.get("spec") or {}
        _keep_allocated(spec, old_spec)
        normalize_cluster_ips(spec, old_spec)
        _drop_unneeded(spec, old_spec)
        _drop_inner_policy(spec)

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        validate_service_annotations(causes, obj["metadata"].get("annotations") or {}, obj["spec"])
        validate_service(causes, obj["spec"])
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        validate_service_update(causes, obj["spec"], old.get("spec") or {})
        validate_service_annotations(causes, obj["metadata"].get("annotations") or {}, obj["spec"])
        validate_service(causes, obj["spec"])
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        status = (obj.get("status") or {}).get("loadBalancer") or {}
        validate_load_balancer_status(causes, status, obj.get("spec") or {}, "status.loadBalancer")
        return causes

    def warnings(self, obj: Obj, old: Obj | None = None) -> list[str]:
        out = []
        spec = obj["spec"]
        if spec.get("externalIPs") and spec.get("type") == "ExternalName":
            out.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
        if spec.get("type") != "ExternalName" and spec.get("externalName"):
            out.append('spec.externalName is ignored when spec.type is not "ExternalName"')
        if spec.get("type") != "ExternalName" and spec.get("clusterIP") == "None":
            if spec.get("loadBalancerIP"):
                out.append("spec.loadBalancerIP is ignored for headless services")
            if spec.get("externalIPs"):
                out.append("spec.externalIPs is ignored for headless services")
            if spec.get("sessionAffinity") not in (None, "", "None"):
                out.append("spec.SessionAffinity is ignored for headless services")
        if spec.get("trafficDistribution") == "PreferClose":
            out.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
        return out

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        spec = obj.get("spec") or {}
        return {"spec.clusterIP": spec.get("clusterIP", ""), "spec.type": spec.get("type", "")}


def _reachable_from_outside(spec: Obj) -> bool:
    kind = spec.get("type", "")
    return kind in _PORTED or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def _needs_health_port(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def normalize_cluster_ips(spec: Obj, old: Obj | None) -> None:
    """``clusterIP`` and ``clusterIPs[0]`` say the same: whichever was changed decides."""
    address, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if old is None:
        if address and not addresses:
            spec["clusterIPs"] = [address]
        elif addresses and not address:
            # a create that lists addresses without the first one named is left for validation to refuse
            spec["clusterIPs"] = addresses
        return
    before, before_all = old.get("clusterIP", ""), old.get("clusterIPs") or []
    if address == before and addresses == before_all:
        return
    if not address and before and addresses == before_all:
        spec.pop("clusterIPs", None)
    elif address != before and addresses == before_all:
        spec["clusterIPs"] = [address, *addresses[1:]] if address else []
    elif address == before and not addresses and before_all:
        spec.pop("clusterIP", None)


def _keep_allocated(spec: Obj, old: Obj) -> None:
    if spec.get("type", "") in _ADDRESSED and old.get("type", "") in _ADDRESSED:
        if not spec.get("clusterIP") and old.get("clusterIP"):
            spec["clusterIP"] = old["clusterIP"]
        if not spec.get("clusterIPs") and spec.get("clusterIP") == old.get("clusterIP") and old.get("clusterIPs"):
            spec["clusterIPs"] = old["clusterIPs"]
        # an update that does not speak of families keeps them
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if spec.get(field) is None and old.get(field) is not None:
                spec[field] = old[field]
    unwanted = spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False
    if spec.get("type") in _PORTED and old.get("type") in _PORTED and not unwanted:
        _keep_node_ports(spec, old)
    health = old.get("healthCheckNodePort")
    if health and _needs_health_port(spec) and _needs_health_port(old) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = health


def _node_ports(spec: Obj) -> set[int]:
    return {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}


def _keep_node_ports(spec: Obj, old: Obj) -> None:
    used = _node_ports(old) & _node_ports(spec)
    by_name = {p.get("name", ""): p.get("nodePort", 0) for p in old.get("ports") or ()}
    for port in spec.get("ports") or ():
        before = by_name.get(port.get("name", ""), 0)
        if not port.get("nodePort") and before and before not in used:
            port["nodePort"] = before
            used.add(before)


def _drop_inner_policy(spec: Obj) -> None:
    """An alias routes nothing: what older versions set by default there is taken, and not kept."""
    if spec.get("type") == "ExternalName":
        spec.pop("internalTrafficPolicy", None)


def _drop_unneeded(spec: Obj, old: Obj) -> None:
    now_external = spec.get("type") == "ExternalName" and old.get("type") != "ExternalName"
    if now_external and spec.get("clusterIP", "") in ("", old.get("clusterIP", "")):
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            spec.pop(field, None)
    if old.get("type") in _PORTED and spec.get("type") not in _PORTED and _node_ports(spec) == _node_ports(old):
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    if _needs_health_port(old) and not _needs_health_port(spec):
        spec.pop("healthCheckNodePort", None)
    if old.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) == old.get(field):
                spec.pop(field, None)
    if not _reachable_from_outside(spec) and spec.get("externalTrafficPolicy") == old.get("externalTrafficPolicy"):
        spec.pop("externalTrafficPolicy", None)
