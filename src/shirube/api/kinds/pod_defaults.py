"""Defaults of pods and pod templates, in place.

``default_pod_spec`` is what templates and pods share; ``default_pod`` adds what only pods get, where upstream
could not change the stored templates (requests from limits, host ports, service links). Quantities become
canonical here ("0.5" is stored as "500m"), as decoding does upstream.

Follows k8s.io/kubernetes ``pkg/apis/core/v1/defaults.go``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from shirube.api import quantity
from shirube.api.kinds.volume_defaults import default_volume, image_pull_policy

Obj = dict[str, Any]

# false and absent are one to upstream, and absent is what it keeps; an update compares the two
_FLAGS = ("hostNetwork", "hostPID", "hostIPC")


@lru_cache(maxsize=8192)
def canonical_text(value: str) -> str:
    """A quantity in the form that is stored; what is none is left for validation."""
    try:
        return quantity.canonical(value)
    except ValueError:
        return value


def canonical_resources(resources: Obj | None) -> None:
    """Write the quantities of a resource list in canonical form; amounts below a milli-unit are rounded up."""
    for name, value in (resources or {}).items():
        resources[name] = canonical_text(value if isinstance(value, str) else str(value))  # type: ignore[index]


def default_probe(probe: Obj) -> None:
    """Timings, and the handler's own defaults."""
    if not probe.get("timeoutSeconds"):
        probe["timeoutSeconds"] = 1
    if not probe.get("periodSeconds"):
        probe["periodSeconds"] = 10
    if not probe.get("successThreshold"):
        probe["successThreshold"] = 1
    if not probe.get("failureThreshold"):
        probe["failureThreshold"] = 3
    if (http := probe.get("httpGet")) is not None:
        _default_http_get(http)
    if (grpc := probe.get("grpc")) is not None:
        grpc.setdefault("service", "")


def _default_http_get(action: Obj) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def default_container(container: Obj) -> None:
    """One app, init or ephemeral container."""
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = image_pull_policy(container.get("image", ""))
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for env in container.get("env") or ():
        if (source := env.get("valueFrom")) is not None:
            _default_env_source(source)
    resources = container.get("resources")
    if resources is None:
        container["resources"] = {}
    elif resources:
        canonical_resources(resources.get("limits"))
        canonical_resources(resources.get("requests"))
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(field)) is not None:
            default_probe(probe)
    if (lifecycle := container.get("lifecycle")) is not None:
        for field in ("postStart", "preStop"):
            if http := (lifecycle.get(field) or {}).get("httpGet"):
                _default_http_get(http)
    if (security := container.get("securityContext")) and security.get("procMount") == "":
        del security["procMount"]


def _default_env_source(source: Obj) -> None:
    if (field := source.get("fieldRef")) is not None and not field.get("apiVersion"):
        field["apiVersion"] = "v1"
    if (resource := source.get("resourceFieldRef")) is not None:
        divisor = resource.get("divisor")
        resource["divisor"] = "0" if divisor is None else canonical_text(str(divisor))
    if (file := source.get("fileKeyRef")) is not None:
        file.setdefault("optional", False)


def default_pod_spec(spec: Obj) -> None:
    """What pods and the pods of templates have in common."""
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = 30
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    sync_service_account(spec)
    for field in _FLAGS:
        if spec.get(field) is False:
            del spec[field]
    for container in spec.get("containers") or ():
        default_container(container)
    for container in spec.get("initContainers") or ():
        default_container(container)
    for container in spec.get("ephemeralContainers") or ():
        default_container(container)
    for volume in spec.get("volumes") or ():
        default_volume(volume)
    if overhead := spec.get("overhead"):
        canonical_resources(overhead)
    if resources := spec.get("resources"):
        canonical_resources(resources.get("limits"))
        canonical_resources(resources.get("requests"))


def sync_service_account(spec: Obj) -> None:
    """``serviceAccount`` is the old name of ``serviceAccountName`` and always says the same."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def default_pod_template(template: Obj) -> None:
    """The template of a workload; its metadata is present even when empty."""
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def _requests_from_limits(container: Obj) -> None:
    limits = container["resources"].get("limits")
    if limits:
        requests = container["resources"].setdefault("requests", {})
        for name, value in limits.items():
            requests.setdefault(name, value)


def _host_ports(containers: list[Obj]) -> None:
    for container in containers:
        for port in container.get("ports") or ():
            if not port.get("hostPort"):
                port["hostPort"] = port.get("containerPort", 0)


def default_pod(pod: Obj) -> None:
    """A pod: the shared defaults, then those that only pods get."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    containers = spec.get("containers") or []
    init_containers = spec.get("initContainers") or []
    for container in containers:
        _requests_from_limits(container)
    for container in init_containers:
        _requests_from_limits(container)
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    if spec.get("hostNetwork"):
        _host_ports(containers)
        _host_ports(init_containers)
    if spec.get("resources"):
        _default_pod_level_resources(spec, containers, init_containers)


def _default_pod_level_resources(spec: Obj, containers: list[Obj], init_containers: list[Obj]) -> None:
    """Pod-level requests: from the containers where all of them ask, else from the pod's limits."""
    resources = spec["resources"]
    limits = resources.get("limits") or {}
    requests = dict(resources.get("requests") or {})
    for name in limits:
        if name in requests or not (name in ("cpu", "memory") or name.startswith("hugepages-")):
            continue
        asked = [c["resources"].get("requests") or {} for c in containers]
        if any(name in r for r in asked):
            total = quantity.parse("0")
            for r in asked:
                if name in r:
                    total = quantity.add(total, quantity.parse(r[name]))
            requests[name] = str(total)
        else:
            requests[name] = limits[name]
    if requests:
        resources["requests"] = requests
