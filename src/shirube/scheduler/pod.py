"""What the scheduler needs to know of a pod, read once when the pod arrives. Pure.

A `Shape` is everything that pods of one template have in common; it is interned, so that a thousand replicas share
one and the plugins can remember results by it. A `PodInfo` is one pod: its name, and its shape.

Requests follow upstream's `PodRequests`: the sum of containers and sidecars, or the largest moment while init
containers run, whichever is more, plus overhead; pod-level resources win where they are set (KEP-2837), and while a
pod is resized in place the larger of what is asked and what is given counts (KEP-1287).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from shirube.api import quantity
from shirube.scheduler.matching import Matcher, pod_matcher, spread_matcher

Object = dict[str, Any]
Port = tuple[str, str, int]  # (host IP, protocol, port)

CPU, MEMORY, EPHEMERAL, PODS = "cpu", "memory", "ephemeral-storage", "pods"
# What a container without requests is counted as when scores (not filters) compare nodes.
_DEFAULT_CPU = 100
_DEFAULT_MEMORY = 200 * 1024 * 1024
# Amounts are clamped so that sums and the scores' products stay inside 64 bits, whatever somebody writes.
_MOST = 2**54


class Term(NamedTuple):
    """One pod (anti-)affinity term: pods that `matcher` selects, within a domain of `topology_key`."""

    matcher: Matcher
    topology_key: str


class PodClaim(NamedTuple):
    """A ResourceClaim of the pod by name; None while a generated one has not been made."""

    claim: str | None
    generated: bool


class ExtendedRequest(NamedTuple):
    """An amount of an extended resource, as the claim for it would name the request (KEP-5004)."""

    container: str
    container_number: int  # init containers first
    position: int  # of the resource among the container's requests
    resource: str
    amount: int
    init: bool  # runs before the others, not beside them


class Spread(NamedTuple):
    """One topology spread constraint. `matcher` is None for the cluster's defaults, which select as the owner does."""

    topology_key: str
    max_skew: int
    hard: bool
    matcher: Matcher | None
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


@dataclass(slots=True, eq=False, weakref_slot=True)
class Shape:
    """What pods of one template share. Amounts: CPU in milli-cores, everything else in its own unit."""

    namespace: str
    labels: dict[str, str]
    owner: tuple[str, str]  # (kind, name) of the controller
    priority: int
    preempts: bool  # preemptionPolicy is not Never
    scheduler_name: str
    gates: tuple[str, ...]
    requests: dict[str, int]
    nonzero_cpu: int
    nonzero_memory: int
    selector: dict[str, str]
    required_terms: list[Object] | None
    preferred_terms: list[Object]
    tolerations: list[Object]
    ports: frozenset[Port]
    affinity: tuple[Term, ...]
    anti_affinity: tuple[Term, ...]
    preferred_pods: tuple[tuple[Term, int], ...]  # weights are negative for anti-affinity
    spread: tuple[Spread, ...]
    volumes: list[Object]
    images: tuple[str, ...]  # of containers and image volumes
    extended: tuple[ExtendedRequest, ...]
    fit_key: tuple[Any, ...]
    node_key: tuple[str, ...]  # pods with this in common are answered alike by what depends on the node object alone
    class_key: tuple[Any, ...]  # … and with this in common they count alike for other pods' affinity and spread


@dataclass(slots=True)
class PodInfo:
    """A pod to place, or placed."""

    key: str
    uid: str
    name: str
    namespace: str
    shape: Shape
    node_name: str = ""  # the node that its spec names
    started: str = ""  # when it started (RFC 3339; "" not yet): among equals the younger is preempted
    terminating: bool = False
    nominated: str = ""
    claims: tuple[PodClaim, ...] = ()
    resized: tuple[tuple[str, int], ...] = ()  # what resizing in place adds to the shape's requests

    @property
    def priority(self) -> int:
        return self.shape.priority

    @property
    def requests(self) -> dict[str, int]:
        if not self.resized:
            return self.shape.requests
        total = dict(self.shape.requests)
        _add(total, dict(self.resized))
        return total


def key_of(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


_SPEC = (
    "nodeSelector", "affinity", "tolerations", "schedulerName", "priority", "preemptionPolicy", "overhead",
    "resources", "schedulingGates", "topologySpreadConstraints",
)  # fmt: skip
_METADATA = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp", "creationTimestamp")
_VOLUMES = (
    "name", "persistentVolumeClaim", "ephemeral", "csi", "gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd",
)  # fmt: skip
_shapes: weakref.WeakValueDictionary[bytes, Shape] = weakref.WeakValueDictionary()


def project(pod: Object) -> Object:
    """The part of a pod that the scheduler keeps in memory; its `info` is shared with all pods of its template."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    slim: Object = {
        "metadata": {k: metadata[k] for k in _METADATA if k in metadata},
        "node": pod["spec"].get("nodeName", ""),
        "phase": status.get("phase", ""),
        "conditions": [c for c in status.get("conditions") or [] if c["type"] == "PodScheduled"],
    }
    try:
        slim["info"] = read(pod)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        slim["info"], slim["unreadable"] = None, str(error)
        slim["scheduler_name"] = pod["spec"].get("schedulerName", "")
    return slim


def read(pod: Object) -> PodInfo:
    """A pod as the plugins want it. Raises ValueError for quantities and selectors that are none."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    shape = shape_of(pod)
    return PodInfo(
        key=key_of(pod),
        uid=metadata["uid"],
        name=metadata["name"],
        namespace=shape.namespace,
        shape=shape,
        node_name=pod["spec"].get("nodeName", ""),
        started=status.get("startTime", ""),
        terminating="deletionTimestamp" in metadata,
        nominated=status.get("nominatedNodeName", ""),
        claims=_claims(pod["spec"], status),
        resized=_resized(pod["spec"], status),
    )


def shape_of(pod: Object) -> Shape:
    metadata, spec = pod["metadata"], pod["spec"]
    labels = metadata.get("labels") or {}
    owner = next(
        ((o["kind"], o["name"]) for o in metadata.get("ownerReferences") or [] if o.get("controller")), ("", "")
    )
    kept: Object = {k: spec[k] for k in _SPEC if k in spec}
    kept["containers"] = [_container(c) for c in spec.get("containers") or []]
    if spec.get("initContainers"):
        kept["initContainers"] = [_container(c) for c in spec["initContainers"]]
    if images := [
        v["image"]["reference"] for v in spec.get("volumes") or [] if (v.get("image") or {}).get("reference")
    ]:
        kept["volumeImages"] = images
    volumes = _volumes(metadata["name"], spec)
    identity = [metadata["namespace"], labels, owner, kept, volumes]
    name = orjson.dumps(identity, option=orjson.OPT_NON_STR_KEYS)
    shape = _shapes.get(name)
    if shape is None:
        shape = _shapes[name] = _parse(metadata["namespace"], labels, owner, kept, volumes)
    return shape


def _container(container: Object) -> Object:
    kept: Object = {k: container[k] for k in ("resources", "restartPolicy", "image") if k in container}
    if ports := [p for p in container.get("ports") or [] if p.get("hostPort")]:
        kept["ports"] = ports
    if any(_is_extended(r) for r in ((container.get("resources") or {}).get("requests") or ())):
        kept["name"] = container.get("name", "")
    return kept


def _claims(spec: Object, status: Object) -> tuple[PodClaim, ...]:
    """Those that the pod needs: for a generated one the controller may have said that there is none."""
    made = {s["name"]: s.get("resourceClaimName") for s in status.get("resourceClaimStatuses") or []}
    found = []
    for one in spec.get("resourceClaims") or []:
        if one.get("resourceClaimName"):
            found.append(PodClaim(one["resourceClaimName"], False))
        elif one["name"] not in made or made[one["name"]]:
            found.append(PodClaim(made.get(one["name"]), True))
    return tuple(found)


def _is_extended(resource: str) -> bool:
    """Named by somebody's domain, as devices are; `kubernetes.io/` is none."""
    domain, slash, _ = resource.partition("/")
    own = domain == "kubernetes.io" or domain.endswith(".kubernetes.io")
    return bool(slash) and (not own or domain == "deviceclass.resource.kubernetes.io")


def _extended(spec: Object) -> Iterator[ExtendedRequest]:
    first = spec.get("initContainers") or []
    for index, container in enumerate([*first, *(spec.get("containers") or [])]):
        asked = (container.get("resources") or {}).get("requests") or {}
        init = index < len(first) and container.get("restartPolicy") != "Always"
        for position, resource in enumerate(sorted(asked)):
            if _is_extended(resource) and (count := quantity.value(asked[resource])) > 0:
                yield ExtendedRequest(container.get("name", ""), index, position, resource, min(count, _MOST), init)


def _volumes(pod_name: str, spec: Object) -> list[Object]:
    found = []
    for volume in spec.get("volumes") or []:
        kept = {k: volume[k] for k in _VOLUMES if k in volume}
        if len(kept) < 2:
            continue
        if "ephemeral" in kept:
            kept = {"name": volume["name"], "claim": f"{pod_name}-{volume['name']}", "ephemeral": True}
        elif "persistentVolumeClaim" in kept:
            kept = {"name": volume["name"], "claim": volume["persistentVolumeClaim"]["claimName"]}
        found.append(kept)
    return found


def _parse(
    namespace: str, labels: dict[str, str], owner: tuple[str, str], spec: Object, volumes: list[Object]
) -> Shape:
    affinity = spec.get("affinity") or {}
    node_affinity = affinity.get("nodeAffinity") or {}
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    required_terms = None if required is None else required.get("nodeSelectorTerms") or []
    preferred_terms = node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
    selector, tolerations = spec.get("nodeSelector") or {}, spec.get("tolerations") or []
    total = requests(spec)
    nonzero_cpu, nonzero_memory = _nonzero(spec)
    hard, anti = (
        tuple(_term(t, namespace, labels) for t in (affinity.get(kind) or {}).get(f"required{_IGNORED}") or [])
        for kind in ("podAffinity", "podAntiAffinity")
    )
    preferred_pods = tuple(
        (_term(t["podAffinityTerm"], namespace, labels), sign * int(t["weight"]))
        for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1))
        for t in (affinity.get(kind) or {}).get(f"preferred{_IGNORED}") or []
    )
    containers = [*spec["containers"], *(spec.get("initContainers") or [])]
    return Shape(
        namespace=namespace,
        labels=labels,
        owner=owner,
        priority=spec.get("priority") or 0,
        preempts=spec.get("preemptionPolicy") != "Never",
        scheduler_name=spec.get("schedulerName", "default-scheduler"),
        gates=tuple(g["name"] for g in spec.get("schedulingGates") or []),
        requests=total,
        nonzero_cpu=nonzero_cpu,
        nonzero_memory=nonzero_memory,
        selector=selector,
        required_terms=required_terms,
        preferred_terms=preferred_terms,
        tolerations=tolerations,
        ports=frozenset(_host_ports(containers)),
        affinity=hard,
        anti_affinity=anti,
        preferred_pods=preferred_pods,
        spread=tuple(_spread(c, namespace, labels) for c in spec.get("topologySpreadConstraints") or []),
        volumes=volumes,
        images=(*(c.get("image", "") for c in containers), *spec.get("volumeImages", ())),
        extended=tuple(_extended(spec)),
        fit_key=(*sorted(total.items()), nonzero_cpu, nonzero_memory),
        node_key=tuple(repr(p) for p in (selector, required_terms, preferred_terms, tolerations)),
        class_key=(
            namespace,
            tuple(sorted(labels.items())),
            tuple((t.matcher.key, t.topology_key) for t in hard),
            tuple((t.matcher.key, t.topology_key) for t in anti),
            tuple((t.matcher.key, t.topology_key, w) for t, w in preferred_pods),
        ),
    )


_IGNORED = "DuringSchedulingIgnoredDuringExecution"


def _term(term: Object, namespace: str, labels: dict[str, str]) -> Term:
    return Term(pod_matcher(term, namespace, labels), term["topologyKey"])


def _spread(constraint: Object, namespace: str, labels: dict[str, str]) -> Spread:
    return Spread(
        topology_key=constraint["topologyKey"],
        max_skew=int(constraint["maxSkew"]),
        hard=constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        matcher=spread_matcher(constraint, namespace, labels),
        min_domains=int(constraint.get("minDomains") or 1),
        honor_affinity=constraint.get("nodeAffinityPolicy", "Honor") == "Honor",
        honor_taints=constraint.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


# Resources


def amounts(resources: Object | None) -> dict[str, int]:
    """`requests` as integers; nothing is negative or beyond what a machine could have."""
    found = {}
    for name, text in (resources or {}).items():
        amount = quantity.milli(text) if name == CPU else quantity.value(text)
        found[name] = min(max(amount, 0), _MOST)
    return found


def requests(spec: Object) -> dict[str, int]:
    """The pod's effective requests."""
    running: dict[str, int] = {}
    for container in spec.get("containers") or []:
        _add(running, amounts((container.get("resources") or {}).get("requests")))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or []:
        own = amounts((container.get("resources") or {}).get("requests"))
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            _add(running, own)
            own = {}
        at_that_time = dict(sidecars)
        _add(at_that_time, own)
        for name, amount in at_that_time.items():
            peak[name] = max(peak.get(name, 0), amount)
    total = {name: max(running.get(name, 0), peak.get(name, 0)) for name in running.keys() | peak.keys()}
    total.update(amounts((spec.get("resources") or {}).get("requests")))
    _add(total, amounts(spec.get("overhead")))
    return {name: min(amount, _MOST) for name, amount in sorted(total.items())}


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _nonzero(spec: Object) -> tuple[int, int]:
    """Requests for the scores: as `requests`, but a container that asks for nothing counts as a small one."""

    def with_defaults(container: Object) -> Object:
        own = (container.get("resources") or {}).get("requests") or {}
        # Milli-cores and bytes as text, so that one reading of quantities serves both.
        return {**container, "resources": {"requests": {CPU: f"{_DEFAULT_CPU}m", MEMORY: str(_DEFAULT_MEMORY), **own}}}

    padded = {**spec, "containers": [with_defaults(c) for c in spec.get("containers") or []]}
    padded["initContainers"] = [with_defaults(c) for c in spec.get("initContainers") or []]
    total = requests(padded)
    return total.get(CPU, 0), total.get(MEMORY, 0)


def _resized(spec: Object, status: Object) -> tuple[tuple[str, int], ...]:
    """What a resize in place holds beyond the spec's requests: until it is done the larger of both is taken."""
    more: dict[str, int] = {}
    desired = {
        c["name"]: (c.get("resources") or {}).get("requests") for c in spec.get("containers") or [] if "name" in c
    }
    infeasible = any(
        c.get("type") == "PodResizePending" and c.get("reason") == "Infeasible" for c in status.get("conditions") or []
    )
    for container in status.get("containerStatuses") or []:
        given = container.get("allocatedResources") or (container.get("resources") or {}).get("requests")
        asked = desired.get(container.get("name"))
        if not given or given == asked or container.get("name") not in desired:
            continue
        wanted = amounts(asked)
        for name, amount in amounts(given).items():
            # An infeasible resize will not happen: what is given counts, more or less.
            difference = amount - wanted.get(name, 0)
            if name in (CPU, MEMORY) and (difference > 0 or infeasible):
                more[name] = more.get(name, 0) + difference
    return tuple(sorted(more.items()))


def _host_ports(containers: list[Object]) -> list[Port]:
    anywhere = "0.0.0.0"  # noqa: S104 - the wildcard of host ports
    return [
        (port.get("hostIP") or anywhere, port.get("protocol", "TCP"), port["hostPort"])
        for container in containers
        for port in container.get("ports") or []
    ]
