"""`KubeSchedulerConfiguration` v1 files: profiles, plugins on and off, weights, arguments, extenders.

    profiles = load(path).profiles

Every field is known (`configuration_schema`) and what a file asks for and this scheduler does not have is refused with
the path of the field, never ignored. Without effect, because there is nothing here for them to change, are
`parallelism`, `percentageOfNodesToScore` (every node is considered), profiling, `delayCacheUntilActive`,
`filterTimeout` (searches for devices are bounded in steps) and of `clientConnection` all but the kubeconfig.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from shirube.api.decode import yaml_body
from shirube.api.errors import ApiError
from shirube.scheduler.configuration_schema import ARGUMENTS, FIELDS, POINTS, FieldError, check, seconds
from shirube.scheduler.decide import DEFAULT_NAME, Profile
from shirube.scheduler.extender import Extender
from shirube.scheduler.plugins import FILTERS, SCORES
from shirube.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from shirube.scheduler.plugins.framework import Filter, Plugin, Score
from shirube.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from shirube.scheduler.plugins.node_affinity import NodeAffinity
from shirube.scheduler.plugins.node_resources_fit import NodeResourcesFit
from shirube.scheduler.plugins.pod_topology_spread import SYSTEM_DEFAULTS, PodTopologySpread
from shirube.scheduler.pod import Spread

Object = dict[str, Any]
_KIND, _VERSION = "KubeSchedulerConfiguration", "kubescheduler.config.k8s.io/v1"
_PREEMPTION, _BINDER, _SORT = "DefaultPreemption", "DefaultBinder", "PrioritySort"
# What is no filter or score, by whatever name a file mentions it.
_BUILT_IN = {_SORT, _BINDER, "SchedulingGates", _PREEMPTION, "VolumeBinding", "DynamicResources"}
_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")


class ConfigurationError(ValueError):
    """The file cannot be used; the message names the field."""


@dataclass(slots=True)
class Leadership:
    """Seconds, and the Lease."""

    elect: bool | None = None
    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0
    name: str = "kube-scheduler"
    namespace: str = "kube-system"


@dataclass(slots=True)
class Configuration:
    profiles: dict[str, Profile] = field(default_factory=lambda: {DEFAULT_NAME: Profile.default()})
    initial_backoff: float = 1.0
    longest_backoff: float = 10.0
    leadership: Leadership = field(default_factory=Leadership)
    extenders: list[Extender] = field(default_factory=list)
    kubeconfig: Path | None = None


def load(path: Path) -> Configuration:
    try:
        document = yaml_body(path.read_bytes())
    except (OSError, ApiError) as error:
        raise ConfigurationError(f"cannot read scheduler configuration {path}: {error}") from error
    try:
        return parse(document)
    except ConfigurationError as error:
        raise ConfigurationError(f"cannot use scheduler configuration {path}: {error}") from error


def parse(document: Any) -> Configuration:
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != (_VERSION, _KIND):
        raise ConfigurationError(f"it must be a {_KIND} of {_VERSION}")
    try:
        check(document, FIELDS)
    except FieldError as error:
        raise ConfigurationError(str(error)) from error
    document = _without_nulls(document)
    found = Configuration(
        initial_backoff=float(document.get("podInitialBackoffSeconds") or 1),
        longest_backoff=float(document.get("podMaxBackoffSeconds") or 10),
        leadership=_leadership(document.get("leaderElection") or {}),
    )
    if found.longest_backoff < found.initial_backoff:
        raise ConfigurationError("podMaxBackoffSeconds: must not be less than podInitialBackoffSeconds")
    if path := (document.get("clientConnection") or {}).get("kubeconfig"):
        found.kubeconfig = Path(path)
    found.extenders = [_extender(e, f"extenders[{i}]") for i, e in enumerate(document.get("extenders") or [])]
    binders = [e for e in found.extenders if e.bind_verb]
    if len(binders) > 1:
        raise ConfigurationError("extenders: only one extender can implement bind")
    ignored = sorted({r for e in found.extenders for r in e.ignored})
    found.profiles = {}
    for i, profile in enumerate(document.get("profiles") or [{}]):
        made = _profile(profile, f"profiles[{i}]", ignored)
        if made.name in found.profiles:
            raise ConfigurationError(f"profiles[{i}].schedulerName: there is another profile called {made.name}")
        found.profiles[made.name] = made
    return found


def _without_nulls(value: Any) -> Any:
    """A field of null is one that is left out."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def _leadership(entry: Object) -> Leadership:
    default = Leadership()
    found = Leadership(
        entry.get("leaderElect"),
        seconds(entry.get("leaseDuration", "15s")) or 0.0,
        seconds(entry.get("renewDeadline", "10s")) or 0.0,
        seconds(entry.get("retryPeriod", "2s")) or 0.0,
        entry.get("resourceName") or default.name,
        entry.get("resourceNamespace") or default.namespace,
    )
    if found.elect is False:
        return found
    if not found.lease_duration > found.renew_deadline > found.retry_period > 0:
        raise ConfigurationError(
            "leaderElection: leaseDuration must be greater than renewDeadline, and that greater than retryPeriod"
        )
    if entry.get("resourceLock", "leases") != "leases":
        raise ConfigurationError('leaderElection.resourceLock: must be "leases"')
    return found


def _extender(entry: Object, at: str) -> Extender:
    url = entry.get("urlPrefix", "")
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{at}.urlPrefix: must be an http or https URL")
    if entry.get("prioritizeVerb") and (entry.get("weight") or 0) <= 0:
        raise ConfigurationError(f"{at}.weight: must be positive for an extender that prioritizes")
    if entry.get("enableHTTPS") and url.startswith("http://"):
        raise ConfigurationError(f"{at}.enableHTTPS: urlPrefix says http")
    managed = entry.get("managedResources") or []
    for i, resource in enumerate(managed):
        if "/" not in (resource.get("name") or ""):
            raise ConfigurationError(f"{at}.managedResources[{i}].name: must be an extended resource, as domain/name")
    return Extender(
        url=url,
        filter_verb=entry.get("filterVerb", ""),
        prioritize_verb=entry.get("prioritizeVerb", ""),
        preempt_verb=entry.get("preemptVerb", ""),
        bind_verb=entry.get("bindVerb", ""),
        weight=entry.get("weight") or 1,
        seconds=seconds(entry.get("httpTimeout", "5s")) or 5.0,
        names_only=bool(entry.get("nodeCacheCapable")),
        ignorable=bool(entry.get("ignorable")),
        managed=frozenset(r["name"] for r in managed),
        ignored=frozenset(r["name"] for r in managed if r.get("ignoredByScheduler")),
        tls=_tls(entry.get("tlsConfig") or {}, f"{at}.tlsConfig") if url.startswith("https://") else None,
        server_name=(entry.get("tlsConfig") or {}).get("serverName", ""),
    )


def _tls(given: Object, at: str) -> ssl.SSLContext:
    try:
        data = base64.b64decode(given.get("caData") or "", validate=True).decode() or None
        made = ssl.create_default_context(cafile=given.get("caFile") or None, cadata=data)
        if given.get("insecure"):
            if data or given.get("caFile"):
                raise ConfigurationError(f"{at}.insecure: there is no sense in a CA beside it")
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        if given.get("certData"):
            with tempfile.NamedTemporaryFile() as pair:  # the only way in for ssl; nobody else may read it
                pair.write(base64.b64decode(given["certData"]) + b"\n" + base64.b64decode(given.get("keyData") or ""))
                pair.flush()
                made.load_cert_chain(pair.name)
        elif given.get("certFile"):
            made.load_cert_chain(given["certFile"], given.get("keyFile"))
    except (OSError, ValueError, binascii.Error) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"{at}: cannot use the certificates: {error}") from error
    return made


# Profiles


def _profile(profile: Object, at: str, ignored: list[str]) -> Profile:
    args = _arguments(profile.get("pluginConfig") or [], f"{at}.pluginConfig")
    made = _plugins(args, ignored)
    filters = [kind.name for kind in FILTERS]
    weights = {kind.name: weight for kind, weight in SCORES}
    built_in = {_PREEMPTION: "postFilter", _SORT: "queueSort", _BINDER: "bind"}
    on = set(built_in)
    points = profile.get("plugins") or {}
    # Of multiPoint first: what a single point says of a plugin wins over it.
    for point in ("multiPoint", *(p for p in POINTS if p != "multiPoint")):
        part, path = points.get(point) or {}, f"{at}.plugins.{point}"
        off = _names(part.get("disabled") or (), made, f"{path}.disabled")
        if point in ("multiPoint", "filter"):
            filters = [name for name in filters if name not in off]
        if point in ("multiPoint", "score"):
            weights = {name: weight for name, weight in weights.items() if name not in off}
        on -= {name for name in off if point in ("multiPoint", built_in.get(name))}
        for i, entry in enumerate(part.get("enabled") or ()):
            (name,) = _names([entry], made, f"{path}.enabled[{i}]")
            plugin = made.get(name)
            if point in ("multiPoint", "filter") and isinstance(plugin, Filter) and name not in filters:
                filters.append(name)
            if point in ("multiPoint", "score") and isinstance(plugin, Score):
                weights[name] = entry.get("weight") or _default_weight(name)
            if point in ("multiPoint", built_in.get(name)):
                on.add(name)
    for name in (_SORT, _BINDER):
        if name not in on:
            raise ConfigurationError(f"{at}.plugins.{built_in[name]}: one plugin is needed, and {name} is the only one")
    preemption, volumes, devices = (args.get(n, {}) for n in (_PREEMPTION, "VolumeBinding", "DynamicResources"))
    return Profile(
        name=profile.get("schedulerName") or DEFAULT_NAME,
        filters=[p for name in filters if isinstance(p := made[name], Filter)],
        scores=[
            (p, weights[kind.name])
            for kind, _ in SCORES
            if kind.name in weights and isinstance(p := made[kind.name], Score)
        ],
        preempts=_PREEMPTION in on,
        candidates_percentage=preemption.get("minCandidateNodesPercentage", 10),
        least_candidates=preemption.get("minCandidateNodesAbsolute", 100),
        volume_seconds=float(volumes.get("bindTimeoutSeconds", 600)),
        device_seconds=seconds(devices.get("bindingTimeout", "10m")) or 600.0,
    )


def _default_weight(name: str) -> int:
    return next((weight for kind, weight in SCORES if kind.name == name), 1)


def _names(entries: Iterable[Object], made: dict[str, Plugin], at: str) -> set[str]:
    found: set[str] = set()
    for entry in entries:
        name = entry.get("name", "")
        if name == "*" and at.endswith("disabled"):
            return {*made, *_BUILT_IN}
        if name not in made and name not in _BUILT_IN:
            known = ", ".join(sorted({*made, *_BUILT_IN}))
            raise ConfigurationError(f"{at}: there is no plugin called {name!r}; there are {known}")
        found.add(name)
    return found


def _arguments(entries: list[Object], at: str) -> dict[str, Object]:
    """By plugin, each checked on its own."""
    found: dict[str, Object] = {}
    for i, entry in enumerate(entries):
        name, path = entry.get("name", ""), f"{at}[{i}]"
        args = entry.get("args") or {}
        if name in found:
            raise ConfigurationError(f"{path}: {name} is configured twice")
        if name not in ARGUMENTS:
            raise ConfigurationError(f"{path}: {name!r} takes no arguments; those that do are {', '.join(ARGUMENTS)}")
        try:
            check(args, ARGUMENTS[name], f"{path}.args")
            if args.get("kind", f"{name}Args") != f"{name}Args":
                raise FieldError(f"{path}.args.kind: must be {name}Args")
            if args.get("apiVersion", _VERSION) != _VERSION:
                raise FieldError(f"{path}.args.apiVersion: must be {_VERSION}")
            _check_more(name, args)
        except FieldError as error:
            raise ConfigurationError(str(error)) from error
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}.args.{error}") from error
        found[name] = args
    return found


def _check_more(name: str, args: Object) -> None:
    """What the kinds of fields do not say."""
    if name == NodeResourcesFit.name:
        strategy = args.get("scoringStrategy") or {}
        kind = strategy.get("type") or _STRATEGIES[0]
        if kind not in _STRATEGIES:
            raise ConfigurationError(f"scoringStrategy.type: must be one of {', '.join(_STRATEGIES)}, not {kind!r}")
        shape = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or []
        steps = [p.get("utilization", 0) for p in shape]
        if kind == _STRATEGIES[2] and not shape:
            raise ConfigurationError("scoringStrategy.requestedToCapacityRatio.shape: at least one point is needed")
        if any(a >= b for a, b in pairwise(steps)):
            raise ConfigurationError("scoringStrategy.requestedToCapacityRatio.shape: utilization must rise")
    if name == "VolumeBinding" and args.get("shape"):
        raise ConfigurationError("shape: volumes are not scored by their capacity here")
    if name == _PREEMPTION and args.get("minCandidateNodesPercentage") == 0 == args.get("minCandidateNodesAbsolute"):
        raise ConfigurationError("minCandidateNodesAbsolute: must not be 0 when the percentage is")


def _plugins(args: dict[str, Object], ignored: list[str]) -> dict[str, Plugin]:
    """One instance of every plugin, with its arguments; `ignored` resources are left to extenders."""
    made: dict[str, Plugin] = {kind.name: kind() for kind in (*FILTERS, *(kind for kind, _ in SCORES))}
    fit = args.get(NodeResourcesFit.name, {})
    try:
        made[NodeResourcesFit.name] = NodeResourcesFit(
            {**fit, "ignoredResources": [*(fit.get("ignoredResources") or ()), *ignored]}
        )
        if given := args.get(NodeResourcesBalancedAllocation.name):
            made[NodeResourcesBalancedAllocation.name] = NodeResourcesBalancedAllocation(given)
        if given := args.get(InterPodAffinity.name):
            made[InterPodAffinity.name] = InterPodAffinity(given)
        if given := args.get(NodeAffinity.name):
            made[NodeAffinity.name] = NodeAffinity(given.get("addedAffinity"))
        if given := args.get(PodTopologySpread.name):
            made[PodTopologySpread.name] = _spread(given)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"pluginConfig: {error}") from error
    return made


def _spread(args: Object) -> PodTopologySpread:
    kind = args.get("defaultingType") or "System"
    if kind not in ("System", "List"):
        raise ConfigurationError(f"PodTopologySpread: defaultingType must be System or List, not {kind!r}")
    if kind == "System":
        if args.get("defaultConstraints"):
            raise ConfigurationError("PodTopologySpread: defaultConstraints need defaultingType List")
        return PodTopologySpread(SYSTEM_DEFAULTS)
    constraints, seen = [], set()
    for i, constraint in enumerate(args.get("defaultConstraints") or []):
        at = f"PodTopologySpread: defaultConstraints[{i}]"
        for needed in ("maxSkew", "topologyKey", "whenUnsatisfiable"):
            if not constraint.get(needed):
                raise ConfigurationError(f"{at}.{needed}: is needed")
        if "labelSelector" in constraint:
            raise ConfigurationError(f"{at}.labelSelector: must not be set: it follows from the pod's owner")
        when, key = constraint["whenUnsatisfiable"], constraint["topologyKey"]
        if when not in ("DoNotSchedule", "ScheduleAnyway"):
            raise ConfigurationError(f"{at}.whenUnsatisfiable: must be DoNotSchedule or ScheduleAnyway, not {when!r}")
        if (key, when) in seen:
            raise ConfigurationError(f"{at}: there is another one of {key} and {when}")
        seen.add((key, when))
        constraints.append(Spread(key, constraint["maxSkew"], when == "DoNotSchedule", None, 1, True, False))
    return PodTopologySpread(tuple(constraints), system=False)
