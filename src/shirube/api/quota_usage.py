"""What an object costs of a quota, and which quotas are about it. Pure functions over plain objects.

Names are upstream's: `pods`, `requests.cpu` (also plain `cpu`), `limits.memory`, `services.nodeports`,
`requests.storage`, `CLASS.storageclass.storage.k8s.io/…`, and `count/RESOURCE.GROUP` for everything.
See "Resource Quotas" in the upstream documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shirube.api import quantity
from shirube.api.quantity import Quantity
from shirube.api.resources import Resource

Json = dict[str, Any]
Usage = dict[str, Quantity]

_ONE = quantity.parse("1")
# Core resources that are also counted under their plain names.
_PLAIN = frozenset(("configmaps", "replicationcontrollers", "resourcequotas", "secrets"))
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
# What every container must say when a quota is about it.
_MUST_SPECIFY = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))


def of(resource: Resource, obj: Json) -> Usage:
    """What the object uses."""
    usage: Usage = {f"count/{resource.group_resource}": _ONE}
    if resource.group:
        return usage
    if resource.name == "pods":
        return _pod(obj)
    if resource.name == "services":
        usage |= _service(obj)
    elif resource.name == "persistentvolumeclaims":
        usage |= _claim(obj)
    elif resource.name in _PLAIN:
        usage[resource.name] = _ONE
    return usage


def _pod(pod: Json) -> Usage:
    usage: Usage = {"count/pods": _ONE}
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return usage
    usage["pods"] = _ONE
    for name, amount in pod_total(pod, "requests").items():
        usage[f"requests.{name}"] = amount
        if name in _COMPUTE or name.startswith("hugepages-"):
            usage[name] = amount
    for name, amount in pod_total(pod, "limits").items():
        if name in _COMPUTE:
            usage[f"limits.{name}"] = amount
    return usage


def pod_total(pod: Json, key: str) -> Usage:
    """Requests or limits of a pod: containers and sidecars together, or one init container if it is more."""
    spec = pod.get("spec") or {}
    total: Usage = {}
    for container in spec.get("containers") or ():
        _add(total, _resources(container, key))
    peak: Usage = {}
    sidecars: Usage = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            _add(total, _resources(container, key))
            _add(sidecars, _resources(container, key))
            _raise(peak, sidecars)
        else:
            now = dict(sidecars)
            _add(now, _resources(container, key))
            _raise(peak, now)
    _raise(total, peak)
    total.update({n: quantity.parse(a) for n, a in _resources(spec, key).items()})
    if key == "requests" or total:
        _add(total, {n: a for n, a in (spec.get("overhead") or {}).items() if key == "requests" or n in total})
    return total


def _resources(holder: Json, key: str) -> Json:
    return (holder.get("resources") or {}).get(key) or {}


def _add(total: Usage, more: Any) -> None:
    for name, amount in more.items():
        total[name] = quantity.add(total.get(name, "0"), amount)


def _raise(total: Usage, least: Usage) -> None:
    for name, amount in least.items():
        if quantity.cmp(amount, total.get(name, "0")) > 0:
            total[name] = amount


def _service(service: Json) -> Usage:
    spec = service.get("spec") or {}
    usage: Usage = {"services": _ONE}
    ports = quantity.parse(str(len(spec.get("ports") or ())))
    if spec.get("type") == "NodePort":
        usage["services.nodeports"] = ports
    elif spec.get("type") == "LoadBalancer":
        usage["services.loadbalancers"] = _ONE
        if spec.get("allocateLoadBalancerNodePorts") is not False:
            usage["services.nodeports"] = ports
    return usage


def _claim(claim: Json) -> Usage:
    spec = claim.get("spec") or {}
    size = quantity.parse(_resources(spec, "requests").get("storage", "0"))
    usage: Usage = {"persistentvolumeclaims": _ONE, "requests.storage": size}
    if name := spec.get("storageClassName"):
        prefix = f"{name}.storageclass.storage.k8s.io/"
        usage[prefix + "persistentvolumeclaims"] = _ONE
        usage[prefix + "requests.storage"] = size
    return usage


def matches(quota: Json, resource: Resource, obj: Json) -> bool:
    """Whether the scopes of the quota include the object."""
    spec = quota.get("spec") or {}
    scopes: list[Json] = [{"scopeName": s, "operator": "Exists"} for s in spec.get("scopes") or ()]
    scopes += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    if not scopes:
        return True
    if (resource.group, resource.name) != ("", "pods"):
        return False
    return all(_in_scope(scope, obj) for scope in scopes)


def _in_scope(scope: Json, pod: Json) -> bool:
    spec, name = pod.get("spec") or {}, scope.get("scopeName")
    if name == "Terminating":
        return spec.get("activeDeadlineSeconds") is not None
    if name == "NotTerminating":
        return spec.get("activeDeadlineSeconds") is None
    if name in ("BestEffort", "NotBestEffort"):
        return bool(_best_effort(spec) == (name == "BestEffort"))
    if name == "PriorityClass":
        return _selected(scope, spec.get("priorityClassName") or "")
    if name == "CrossNamespacePodAffinity":
        return _crosses_namespaces(spec)
    return False


def _selected(scope: Json, value: str) -> bool:
    operator, values = scope.get("operator"), scope.get("values") or ()
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    return bool(value) == (operator == "Exists")


def _best_effort(spec: Json) -> bool:
    every = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ()), spec]
    return not any(
        name in ("cpu", "memory") and quantity.parse(amount)
        for holder in every
        for key in ("requests", "limits")
        for name, amount in _resources(holder, key).items()
    )


def _crosses_namespaces(spec: Json) -> bool:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        every = list(terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        every += [
            t.get("podAffinityTerm") or {} for t in terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ]
        if any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in every):
            return True
    return False


def unspecified(pod: Json, hard: Iterable[str]) -> str:
    """What containers leave out that a quota counts: "cpu for: a,b; memory for: a"; "" when nothing."""
    spec = pod.get("spec") or {}
    missing: dict[str, list[str]] = {}
    for name in sorted(_MUST_SPECIFY & set(hard)):
        key, _, plain = name.rpartition(".")
        key = key or "requests"
        if plain in _resources(spec, key):
            continue
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            if plain not in _resources(container, key):
                missing.setdefault(name, []).append(container.get("name", ""))
    return "; ".join(f"{name} for: {','.join(sorted(who))}" for name, who in missing.items())


def shown(usage: dict[str, Any]) -> str:
    """`cpu=1,memory=2Gi`, as upstream's messages print it."""
    return ",".join(f"{name}={usage[name]}" for name in sorted(usage))
