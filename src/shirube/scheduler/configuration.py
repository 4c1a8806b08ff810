"""`KubeSchedulerConfiguration` v1 files: profiles, plugins on and off, weights, arguments.

    profiles = load(path).profiles

What a file asks for and this scheduler does not have (plugins it does not know, extenders that bind or preempt) is
refused with the path of the field, never ignored. `percentageOfNodesToScore` and `parallelism` are accepted and without
effect: every node is considered.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shirube.api.decode import yaml_body
from shirube.api.errors import ApiError
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
_PREEMPTION = "DefaultPreemption"
# What is always so, by whatever name a file mentions it.
_BUILT_IN = {"PrioritySort", "DefaultBinder", "SchedulingGates", _PREEMPTION, "VolumeBinding", "DynamicResources"}
_POINTS = (
    "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "permit",
    "preBind", "bind", "postBind", "multiPoint",
)  # fmt: skip


class ConfigurationError(ValueError):
    """The file cannot be used; the message names the field."""


@dataclass(slots=True)
class Configuration:
    profiles: dict[str, Profile] = field(default_factory=lambda: {DEFAULT_NAME: Profile.default()})
    initial_backoff: float = 1.0
    longest_backoff: float = 10.0
    leader_elect: bool | None = None
    extenders: list[Extender] = field(default_factory=list)


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
    found = Configuration(
        initial_backoff=float(document.get("podInitialBackoffSeconds", 1)),
        longest_backoff=float(document.get("podMaxBackoffSeconds", 10)),
        leader_elect=(document.get("leaderElection") or {}).get("leaderElect"),
    )
    if found.initial_backoff <= 0 or found.longest_backoff < found.initial_backoff:
        raise ConfigurationError("podInitialBackoffSeconds must be greater than 0 and at most podMaxBackoffSeconds")
    found.extenders = [_extender(e, f"extenders[{i}]") for i, e in enumerate(document.get("extenders") or [])]
    profiles = document.get("profiles") or [{}]
    found.profiles = {}
    for i, profile in enumerate(profiles):
        made = _profile(profile, f"profiles[{i}]")
        if made.name in found.profiles:
            raise ConfigurationError(f"profiles[{i}].schedulerName: there is another profile called {made.name}")
        found.profiles[made.name] = made
    return found


def _extender(entry: Object, at: str) -> Extender:
    for verb in ("preemptVerb", "bindVerb"):
        if entry.get(verb):
            raise ConfigurationError(f"{at}.{verb}: extenders can filter and prioritize here, nothing else")
    if not str(entry.get("urlPrefix", "")).startswith(("http://", "https://")):
        raise ConfigurationError(f"{at}.urlPrefix: must be an http or https URL")
    if entry.get("prioritizeVerb") and int(entry.get("weight") or 0) <= 0:
        raise ConfigurationError(f"{at}.weight: must be positive for an extender that prioritizes")
    tls = None
    if given := entry.get("tlsConfig"):
        data = base64.b64decode(given.get("caData") or "").decode() or None
        tls = ssl.create_default_context(cafile=given.get("caFile") or None, cadata=data)
        if given.get("insecure"):
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        if given.get("certFile"):
            tls.load_cert_chain(given["certFile"], given.get("keyFile"))
    return Extender(
        url=entry["urlPrefix"],
        filter_verb=entry.get("filterVerb", ""),
        prioritize_verb=entry.get("prioritizeVerb", ""),
        weight=int(entry.get("weight") or 1),
        seconds=_seconds(entry.get("httpTimeout", "5s"), f"{at}.httpTimeout"),
        names_only=bool(entry.get("nodeCacheCapable")),
        ignorable=bool(entry.get("ignorable")),
        managed=frozenset(r["name"] for r in entry.get("managedResources") or []),
        tls=tls,
    )


def _seconds(duration: Any, at: str) -> float:
    """A Go duration of one unit."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0}
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)", str(duration))
    if match is None:
        raise ConfigurationError(f"{at}: must be a duration such as 5s or 200ms")
    return float(match[1]) * units[match[2]]


def _profile(profile: Object, at: str) -> Profile:
    args = _arguments(profile.get("pluginConfig") or [], f"{at}.pluginConfig")
    made = _plugins(args, at)
    filters = {p.name for p in made.values() if isinstance(p, Filter)}
    weights = {kind.name: weight for kind, weight in SCORES}
    preempts = True
    points = profile.get("plugins") or {}
    for point in points:
        if point not in _POINTS:
            raise ConfigurationError(f"{at}.plugins.{point}: no such extension point")
    # Of multiPoint first: what a single point says of a plugin wins over it.
    for point in ("multiPoint", *(p for p in _POINTS if p != "multiPoint")):
        part = points.get(point) or {}
        off = _names(part.get("disabled") or (), made, f"{at}.plugins.{point}.disabled")
        if point in ("multiPoint", "filter"):
            filters -= off
        if point in ("multiPoint", "score"):
            weights = {name: weight for name, weight in weights.items() if name not in off}
        if point in ("multiPoint", "postFilter") and _PREEMPTION in off:
            preempts = False
        for entry in part.get("enabled") or ():
            (name,) = _names([entry], made, f"{at}.plugins.{point}.enabled")
            plugin = made.get(name)
            if point in ("multiPoint", "filter") and isinstance(plugin, Filter):
                filters.add(name)
            if point in ("multiPoint", "score") and isinstance(plugin, Score):
                weights[name] = int(entry.get("weight") or _default_weight(name))
            if point in ("multiPoint", "postFilter") and name == _PREEMPTION:
                preempts = True
    return Profile(
        name=profile.get("schedulerName") or DEFAULT_NAME,
        filters=[p for kind in FILTERS if isinstance(p := made[kind.name], Filter) and p.name in filters],
        scores=[
            (p, weights[kind.name])
            for kind, _ in SCORES
            if kind.name in weights and isinstance(p := made[kind.name], Score)
        ],
        preempts=preempts,
    )


def _default_weight(name: str) -> int:
    return next((weight for kind, weight in SCORES if kind.name == name), 1)


def _names(entries: Iterable[Object], made: dict[str, Plugin], at: str) -> set[str]:
    found: set[str] = set()
    for entry in entries:
        name = entry.get("name", "")
        if name == "*":
            return {*made, *_BUILT_IN}
        if name not in made and name not in _BUILT_IN:
            raise ConfigurationError(f"{at}: there is no plugin called {name!r}; there are {', '.join(sorted(made))}")
        found.add(name)
    return found


def _arguments(entries: list[Object], at: str) -> dict[str, Object]:
    found: dict[str, Object] = {}
    for entry in entries:
        name = entry.get("name", "")
        if name in found:
            raise ConfigurationError(f"{at}: {name} is configured twice")
        found[name] = entry.get("args") or {}
    return found


def _plugins(args: dict[str, Object], at: str) -> dict[str, Plugin]:
    """One instance of every plugin, with its arguments."""
    made: dict[str, Plugin] = {kind.name: kind() for kind in (*FILTERS, *(kind for kind, _ in SCORES))}
    for name, given in args.items():
        try:
            if name == NodeResourcesFit.name:
                made[name] = NodeResourcesFit(given)
            elif name == NodeResourcesBalancedAllocation.name:
                made[name] = NodeResourcesBalancedAllocation(given)
            elif name == InterPodAffinity.name:
                made[name] = InterPodAffinity(given)
            elif name == NodeAffinity.name:
                made[name] = NodeAffinity(given.get("addedAffinity"))
            elif name == PodTopologySpread.name:
                made[name] = _spread(given)
            elif name not in made and name not in _BUILT_IN:
                raise ConfigurationError(f"there is no plugin called {name!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{at}.pluginConfig: {name}: {error}") from error
    return made


def _spread(args: Object) -> PodTopologySpread:
    if (args.get("defaultingType") or "System") == "System":
        if args.get("defaultConstraints"):
            raise ConfigurationError("defaultConstraints need defaultingType List")
        return PodTopologySpread(SYSTEM_DEFAULTS)
    constraints = []
    for constraint in args.get("defaultConstraints") or []:
        if "labelSelector" in constraint:
            raise ConfigurationError(
                "defaultConstraints must not have a labelSelector: it follows from the pod's owner"
            )
        hard = constraint["whenUnsatisfiable"] == "DoNotSchedule"
        constraints.append(Spread(constraint["topologyKey"], int(constraint["maxSkew"]), hard, None, 1, True, False))
    return PodTopologySpread(tuple(constraints), system=False)
