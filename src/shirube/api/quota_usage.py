"""What an object costs of a quota, and which quotas are about it. Pure functions over plain objects.

Names are upstream's: `pods`, `requests.cpu` (also plain `cpu`), `limits.memory`, `services.nodeports`,
`requests.storage`, `CLASS.storageclass.storage.k8s.io/…`, `CLASS.deviceclass.resource.k8s.io/devices`, and
`count/RESOURCE.GROUP` for everything. See "Resource Quotas" in the upstream documentation and its evaluators
(`pkg/quota/v1/evaluator/core`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from shirube.api import quantity
from shirube.api.quantity import Quantity
from shirube.api.resources import Resource
from shirube.foundation.clock import parse_rfc3339

Json = dict[str, Any]
Usage = dict[str, Quantity]

_ONE = quantity.parse("1")
# Core resources that are also counted under their plain names.
_PLAIN = frozenset(("configmaps", "replicationcontrollers", "resourcequotas", "secrets"))
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_DEVICES = "{}.deviceclass.resource.k8s.io/devices"
_IMPLICIT = "requests.deviceclass.resource.kubernetes.io/{}"
_EXTENDED = "resource.kubernetes.io/extended-resource-claim"
_MOST_DEVICES = 32  # in one claim, whatever it asks for
# What every container must say when a quota is about it.
_MUST_SPECIFY = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))


class Surroundings(NamedTuple):
    """What the use of a ResourceClaim depends on besides itself."""

    extended: Callable[[str], str]  # the extended resource that stands for a device class; "" for none
    pod: Callable[[str, str], Json | None]  # by namespace and name
    claims: Callable[[str], Iterable[Json]]  # of a namespace


def of(resource: Resource, obj: Json, now: float | None = None, around: Surroundings | None = None) -> Usage:
    """What the object uses. `now` (seconds since the epoch): pods that should have gone by then use nothing."""
    usage: Usage = {f"count/{resource.group_resource}": _ONE}
    if (resource.group, resource.name) == ("resource.k8s.io", "resourceclaims"):
        return usage | _devices(obj, now, around)
    if resource.group:
        return usage
    if resource.name == "pods":
        return _pod(obj, now)
    if resource.name == "services":
        usage |= _service(obj)
    elif resource.name == "persistentvolumeclaims":
        usage |= _claim(obj)
    elif resource.name in _PLAIN:
        usage[resource.name] = _ONE
    return usage


def gone_at(pod: Json) -> float | None:
    """When a pod that is being deleted counts as gone, though its node does not say so: its namespace could not
    replace it otherwise. None for others."""
    metadata = pod["metadata"]
    deleted, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    return parse_rfc3339(deleted) + grace if deleted and grace is not None else None


def _pod(pod: Json, now: float | None) -> Usage:
    usage: Usage = {"count/pods": _ONE}
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return usage
    if now is not None and (gone := gone_at(pod)) is not None and now > gone:
        return usage
    usage["pods"] = _ONE
    for name, amount in pod_total(pod, "requests", held=True).items():
        usage[f"requests.{name}"] = amount
        if name in _COMPUTE or name.startswith("hugepages-"):
            usage[name] = amount
    for name, amount in pod_total(pod, "limits", held=True).items():
        if name in _COMPUTE:
            usage[f"limits.{name}"] = amount
    return usage


def pod_total(pod: Json, key: str, held: bool = False) -> Usage:
    """Requests or limits of a pod: containers and sidecars together, or one init container if it is more.

    `held`: with what its containers still have, or have been promised, while they are being resized.
    """
    spec = pod.get("spec") or {}
    kept = _held(pod, key) if held else {}
    total: Usage = {}
    for container in spec.get("containers") or ():
        _add(total, _most(container, key, kept))
    peak: Usage = {}
    sidecars: Usage = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            wanted = _most(container, key, kept)
            _add(total, wanted)
            _add(sidecars, wanted)
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


def _held(pod: Json, key: str) -> dict[str, tuple[Usage, bool]]:
    """Of containers whose status tells: what they have, and whether that alone counts (their resize cannot be)."""
    status = pod.get("status") or {}
    found: dict[str, tuple[Usage, bool]] = {}
    for field in ("containerStatuses", "initContainerStatuses"):
        for one in status.get(field) or ():
            if one.get("resources") is None:
                continue
            has: Usage = {n: quantity.parse(a) for n, a in _resources(one, key).items()}
            if key == "requests":
                _raise(has, {n: quantity.parse(a) for n, a in (one.get("allocatedResources") or {}).items()})
            found[one["name"]] = has, False
    if found and any(
        c.get("type") == "PodResizePending" and c.get("reason") == "Infeasible" for c in status.get("conditions") or ()
    ):
        return {name: (has, True) for name, (has, _) in found.items()}
    return found


def _most(container: Json, key: str, kept: dict[str, tuple[Usage, bool]]) -> Usage:
    wanted: Usage = {n: quantity.parse(a) for n, a in _resources(container, key).items()}
    has, alone = kept.get(container.get("name", ""), ({}, False))
    if alone:
        return dict(has)
    _raise(wanted, has)
    return wanted


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
    ports = spec.get("ports") or ()
    if spec.get("type") == "NodePort":
        usage["services.nodeports"] = quantity.parse(str(len(ports)))
    elif spec.get("type") == "LoadBalancer":
        usage["services.loadbalancers"] = _ONE
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [port for port in ports if port.get("nodePort")]  # those that were asked for by number
        usage["services.nodeports"] = quantity.parse(str(len(ports)))
    return usage


def _claim(claim: Json) -> Usage:
    spec = claim.get("spec") or {}
    usage: Usage = {"persistentvolumeclaims": _ONE}
    annotations = claim["metadata"].get("annotations") or {}
    name = annotations.get(_CLASS_ANNOTATION) or spec.get("storageClassName")
    prefix = f"{name}.storageclass.storage.k8s.io/"
    if name:
        usage[prefix + "persistentvolumeclaims"] = _ONE
    size = _resources(spec, "requests").get("storage")
    if size is not None:
        allocated = ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage", "0")
        largest = size if quantity.cmp(size, allocated) >= 0 else allocated
        whole = quantity.parse(largest)
        whole = Quantity(whole.value * quantity.NANOS, whole.format)  # a quota counts bytes, rounded up
        usage["requests.storage"] = whole
        if name:
            usage[prefix + "requests.storage"] = whole
    return usage


def _devices(claim: Json, now: float | None, around: Surroundings | None) -> Usage:
    """The most devices of each class that a claim may get: by the class, and by the extended resources that stand for
    it. Of those, what the pod that it was made for has been charged with is not charged again."""
    most: dict[str, int] = {}
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        one_of: dict[str, int] = {}  # of the alternatives, one is taken
        for one in request.get("firstAvailable") or [request.get("exactly") or {}]:
            if name := one.get("deviceClassName"):
                one_of[name] = max(one_of.get(name, 0), _number_of_devices(one))
        for name, number in one_of.items():
            most[name] = most.get(name, 0) + number
    usage: Usage = {_DEVICES.format(name): quantity.parse(str(number)) for name, number in most.items()}
    extended: Usage = {}
    for name, number in most.items():
        _add(extended, {_IMPLICIT.format(name): str(number)})
        if around is not None and (resource := around.extended(name)):
            extended[f"requests.{resource}"] = quantity.parse(str(number))
    pod = _charged_pod(claim, around) if around is not None else None
    return usage | (more(extended, _pod(pod, now)) if pod is not None else extended)


def _charged_pod(claim: Json, around: Surroundings) -> Json | None:
    """The pod whose extended resources a claim is for: what the claim says of itself must be what the pod says, or
    while it says nothing the claim must be the pod's first."""
    metadata = claim.get("metadata") or {}
    if (metadata.get("annotations") or {}).get(_EXTENDED) != "true":
        return None
    owner, namespace = _owning_pod(claim), metadata.get("namespace", "")
    pod = around.pod(namespace, owner["name"]) if owner is not None else None
    if pod is None or owner is None or pod["metadata"].get("uid") != owner.get("uid"):
        return None
    said = (pod.get("status") or {}).get("extendedResourceClaimStatus")
    if said is not None:
        return pod if said.get("resourceClaimName") == metadata.get("name") else None

    def age(one: Json) -> tuple[str, str]:
        return one["metadata"].get("creationTimestamp") or "~", one["metadata"].get("name") or ""

    for other in around.claims(namespace):
        rival = _owning_pod(other)
        marked = (other["metadata"].get("annotations") or {}).get(_EXTENDED) == "true"
        if marked and rival is not None and rival.get("uid") == owner.get("uid") and age(other) < age(claim):
            return None
    return pod


def _owning_pod(claim: Json) -> Json | None:
    for owner in (claim.get("metadata") or {}).get("ownerReferences") or ():
        if owner.get("controller"):
            found: Json = owner
            return found if (owner.get("kind"), owner.get("apiVersion")) == ("Pod", "v1") else None
    return None


def _number_of_devices(request: Json) -> int:
    mode = request.get("allocationMode") or "ExactCount"
    if mode == "All":
        return _MOST_DEVICES
    return int(request.get("count") or 1) if mode == "ExactCount" else 0


def more(usage: Usage, before: Usage) -> Usage:
    """What is used beyond what was used before, without what is not."""
    grown = {name: quantity.sub(amount, before.get(name, "0")) for name, amount in usage.items()}
    return {name: amount for name, amount in grown.items() if amount.nanos > 0}


def terminating(pod: Json) -> bool:
    """Whether it has a deadline: the scope `Terminating`."""
    return (pod.get("spec") or {}).get("activeDeadlineSeconds") is not None


def matches(quota: Json, resource: Resource, obj: Json) -> bool:
    """Whether the scopes of the quota include the object."""
    spec = quota.get("spec") or {}
    scopes: list[Json] = [{"scopeName": s, "operator": "Exists"} for s in spec.get("scopes") or ()]
    scopes += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    if not scopes:
        return True
    if (resource.group, resource.name) == ("", "persistentvolumeclaims"):
        return all(_claim_in_scope(scope, obj) for scope in scopes)
    if (resource.group, resource.name) != ("", "pods"):
        return False
    return all(_in_scope(scope, obj) for scope in scopes)


def _claim_in_scope(scope: Json, claim: Json) -> bool:
    """Claims are in one scope: that of a VolumeAttributesClass they have, are getting, or ask for."""
    if scope.get("scopeName") != "VolumeAttributesClass":
        return False
    status = claim.get("status") or {}
    classes: list[str | None] = [
        (claim.get("spec") or {}).get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    ]
    return any(_selected(scope, name) for name in filter(None, classes)) or (not any(classes) and _selected(scope, ""))


def _in_scope(scope: Json, pod: Json) -> bool:
    spec, name = pod.get("spec") or {}, scope.get("scopeName")
    if name == "Terminating":
        return terminating(pod)
    if name == "NotTerminating":
        return not terminating(pod)
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
