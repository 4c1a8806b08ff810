"""Validation of a pod's spec, and of the template that workloads make pods from.

Errors are appended to one list, paths are built only where something is nested or wrong: a pod of a few
containers is checked in tens of microseconds. Follows core's ``ValidatePodSpec``,
``ValidatePodTemplateSpec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.containers import (
    PodFacts,
    validate_app_containers,
    validate_ephemeral_containers,
    validate_init_containers,
)
from shirube.api.validation.field import Cause, duplicate, forbidden, invalid, not_supported, required, too_long
from shirube.api.validation.object_meta import validate_annotations, validate_finalizers, validate_labels
from shirube.api.validation.pod_annotations import validate_pod_annotations
from shirube.api.validation.pod_dns import validate_dns
from shirube.api.validation.pod_os import validate_host_process, validate_os
from shirube.api.validation.resource_requirements import parse_any, validate_requirements
from shirube.api.validation.scheduling import (
    validate_affinity,
    validate_scheduling_gates,
    validate_tolerations,
    validate_topology_spread,
)
from shirube.api.validation.security import validate_host_namespaces, validate_pod_context
from shirube.api.validation.volumes import validate_volumes

Obj = Mapping[str, Any]

RESTART_POLICIES = ["Always", "OnFailure", "Never"]
MAX_INT32 = 2**31 - 1


def validate_pod_spec(out: list[Cause], spec: Obj, path: str, pod_name: str = "") -> None:
    """The whole spec, already defaulted. The pod's name is known for pods, not for templates."""
    get = spec.get
    volumes = validate_volumes(out, get("volumes") or [], f"{path}.volumes", pod_name)
    claims = _validate_resource_claims(out, get("resourceClaims") or [], f"{path}.resourceClaims")
    pod = PodFacts(
        volumes=volumes,
        claim_names=claims,
        restart_policy=get("restartPolicy", ""),
        grace=get("terminationGracePeriodSeconds", 30),
        os=(get("os") or {}).get("name", ""),
        host_users=get("hostUsers", True),
    )
    app_names = validate_app_containers(out, get("containers") or [], f"{path}.containers", pod)
    all_names = app_names
    if init := get("initContainers"):
        all_names = validate_init_containers(out, init, f"{path}.initContainers", pod, app_names)
    if ephemeral := get("ephemeralContainers"):
        validate_ephemeral_containers(out, ephemeral, f"{path}.ephemeralContainers", pod, app_names, all_names)
    policy = pod.restart_policy
    if policy not in RESTART_POLICIES:
        at = f"{path}.restartPolicy"
        out.append(not_supported(at, policy, RESTART_POLICIES) if policy else required(at))
    validate_dns(out, spec, path)
    if selector := get("nodeSelector"):
        out.extend(validate_labels(selector, f"{path}.nodeSelector"))
    if context := get("securityContext"):
        validate_pod_context(out, context, spec, f"{path}.securityContext")
    if any("windowsOptions" in (c.get("securityContext") or ()) for c in (spec, *(get("containers") or ()))):
        validate_host_process(out, spec, path)
    if get("hostNetwork"):
        _validate_host_network(out, spec, path)
    if get("hostPID") or get("hostUsers") is False:
        validate_host_namespaces(out, spec, path)
    if affinity := get("affinity"):
        validate_affinity(out, affinity, f"{path}.affinity")
    if constraints := get("topologySpreadConstraints"):
        validate_topology_spread(out, constraints, f"{path}.topologySpreadConstraints")
    if tolerations := get("tolerations"):
        validate_tolerations(out, tolerations, f"{path}.tolerations")
    if gates := get("schedulingGates"):
        validate_scheduling_gates(out, gates, f"{path}.schedulingGates")
    _validate_names(out, spec, path)
    _validate_rest(out, spec, path)
    if resources := get("resources"):
        _validate_pod_resources(out, spec, resources, f"{path}.resources")


def _validate_resource_claims(out: list[Cause], claims: list[Obj], path: str) -> frozenset[str]:
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        at, name = f"{path}[{i}]", claim.get("name", "")
        if not name:
            out.append(required(f"{at}.name"))
        elif name in seen:
            out.append(duplicate(f"{at}.name", name))
        else:
            out.extend(invalid(f"{at}.name", name, m) for m in names.is_dns1123_label(name))
            seen.add(name)
        direct, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        which = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
        if direct is not None and template is not None:
            detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            out.append(invalid(at, dict(claim), detail))
        elif direct is None and template is None:
            out.append(invalid(at, dict(claim), which))
        for field, value in (("resourceClaimName", direct), ("resourceClaimTemplateName", template)):
            if value is not None:
                out.extend(invalid(f"{at}.{field}", value, m) for m in names.is_dns1123_subdomain(value))
    return frozenset(seen)


def _validate_host_network(out: list[Cause], spec: Obj, path: str) -> None:
    for i, container in enumerate(spec.get("containers") or ()):
        for j, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort", 0)
            if host and host != port.get("containerPort"):
                at = f"{path}.containers[{i}].ports[{j}].hostPort"
                out.append(invalid(at, host, "must match `containerPort` when `hostNetwork` is true"))


# field -> rule for its value
_NAME_FIELDS = (
    ("serviceAccountName", names.is_dns1123_subdomain),
    ("nodeName", names.is_dns1123_subdomain),
    ("hostname", names.is_dns1123_label),
    ("subdomain", names.is_dns1123_label),
    ("priorityClassName", names.is_dns1123_subdomain),
    ("runtimeClassName", names.is_dns1123_subdomain),
)


def _validate_names(out: list[Cause], spec: Obj, path: str) -> None:
    for field, rule in _NAME_FIELDS:
        value = spec.get(field)
        if value and (messages := rule(value)):
            out.extend(invalid(f"{path}.{field}", value, m) for m in messages)
    override = spec.get("hostnameOverride")
    if override is not None:
        at = f"{path}.hostnameOverride"
        if len(override) > 64:
            out.append(too_long(at, 64))
        out.extend(invalid(at, override, m) for m in names.is_dns1123_subdomain(override))
        if spec.get("hostNetwork"):
            out.append(forbidden(at, "may not be specified when `hostNetwork` is true"))
        if spec.get("setHostnameAsFQDN"):
            out.append(forbidden(at, "may not be specified when `setHostnameAsFQDN` is true"))


def _validate_rest(out: list[Cause], spec: Obj, path: str) -> None:
    for i, gate in enumerate(spec.get("readinessGates") or ()):
        condition = gate.get("conditionType", "")
        at = f"{path}.readinessGates[{i}].conditionType"
        out.extend(invalid(at, condition, m) for m in names.is_qualified_name(condition))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= MAX_INT32:
        out.append(invalid(f"{path}.activeDeadlineSeconds", deadline, names.between(1, MAX_INT32)))
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        address = alias.get("ip", "")
        out.extend(invalid(f"{path}.hostAliases[{i}].ip", address, m) for m in names.is_ip(address))
        for j, name in enumerate(alias.get("hostnames") or ()):
            at = f"{path}.hostAliases[{i}].hostnames[{j}]"
            out.extend(invalid(at, name, m) for m in names.is_dns1123_subdomain(name))
    policy = spec.get("preemptionPolicy")
    if policy == "":
        out.append(required(f"{path}.preemptionPolicy"))
    elif policy is not None and policy not in ("Never", "PreemptLowerPriority"):
        out.append(not_supported(f"{path}.preemptionPolicy", policy, ["PreemptLowerPriority", "Never"]))
    if overhead := spec.get("overhead"):
        validate_requirements(out, {"limits": overhead}, f"{path}.overhead")
    if spec.get("os") is not None:
        validate_os(out, spec, path)


def _validate_pod_resources(out: list[Cause], spec: Obj, resources: Obj, path: str) -> None:
    """Resources of the pod as a whole: cpu, memory, huge pages; not less than its containers ask for."""
    if resources.get("claims"):
        out.append(forbidden(f"{path}.claims", "claims may not be set for Resources at pod-level"))
    for field in ("requests", "limits"):
        for name in resources.get(field) or ():
            if name not in ("cpu", "memory") and not name.startswith("hugepages-"):
                supported = ["cpu", "hugepages-", "memory"]
                out.append(not_supported(f"{path}.{field}[{name}]", name, supported))
    validate_requirements(out, resources, path)
    for name, value in (resources.get("requests") or {}).items():
        most = parse_any(value)
        total = 0
        for container in spec.get("containers") or ():
            asked = ((container.get("resources") or {}).get("requests") or {}).get(name)
            amount = parse_any(asked) if asked is not None else None
            total += amount.nanos if amount is not None else 0
        if most is not None and total > most.nanos:
            detail = "must be greater than or equal to aggregate container requests of " + str(
                type(most)(total, most.format)
            )
            out.append(invalid(f"{path}.requests[{name}]", str(value), detail))


def validate_pod_template(out: list[Cause], template: Obj, path: str) -> None:
    """The pod template of a workload."""
    metadata = template.get("metadata") or {}
    if labels := metadata.get("labels"):
        out.extend(validate_labels(labels, f"{path}.labels"))
    if annotations := metadata.get("annotations"):
        out.extend(validate_annotations(annotations, f"{path}.annotations"))
        validate_pod_annotations(out, annotations, template.get("spec") or {}, f"{path}.annotations")
    if finalizers := metadata.get("finalizers"):
        out.extend(validate_finalizers(finalizers, f"{path}.finalizers"))
    spec = template.get("spec") or {}
    validate_pod_spec(out, spec, f"{path}.spec")
    if spec.get("ephemeralContainers"):
        out.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
