"""Which events may help a pod that fits nowhere: one table, a row a plugin. Pure.

A pod waits for a change in what its refusing plugins looked at. A hint looks closer: a node's new shape must satisfy
the plugin there, a pod that left must have been in the way. What no hint speaks of does not wake the pod.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile
from shirube.scheduler.extender import EXTENDER
from shirube.scheduler.plugins.node_ports import conflict
from shirube.scheduler.plugins.volume_restrictions import share
from shirube.scheduler.pod import PodInfo

NODE, NODE_REMOVED, POD_REMOVED, POD_ASSIGNED, STORAGE, NAMESPACE, NOMINATION, DEVICES, CLAIM = KINDS = (
    "node",
    "node-removed",
    "pod-removed",  # or smaller, or no longer one that a term selects
    "pod-assigned",  # or now one that a term selects
    "storage",
    "namespace",
    "nomination",
    "devices",  # a slice or a class of them
    "claim",  # to devices
)


class Event(NamedTuple):
    kind: str
    row: int = -1  # of the node concerned
    pod: PodInfo | None = None  # the pod that came or went
    key: str = ""  # of a claim to devices or of an object of storage, as namespace/name
    freed: bool = False  # whether a claim gave devices back
    table: str = ""  # of storage, as `Surroundings` calls it
    labels: Mapping[str, str] | None = None  # of a node that went


Hint = Callable[[PodInfo, Event, NodeColumns], bool]


def always(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    return True


def _ports_freed(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    return event.pod is not None and conflict(pod.shape.ports, event.pod.shape.ports)


def _volumes_freed(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    """The pod that left used a disk or a claim of this one."""
    return event.pod is not None and share(pod, event.pod)


def _detached(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    return event.pod is not None and bool(event.pod.shape.volumes)


def _storage_concerns(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    """Of claims only the pod's own; of volumes, classes and drivers any, for a pod that has claims."""
    claims = [f"{pod.namespace}/{v['claim']}" for v in pod.shape.volumes if "claim" in v]
    return event.key in claims if event.table == "claims" else bool(claims)


def _attachable(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    """A node's limits, or what the pod would attach there."""
    return event.table in ("csi_nodes", "volumes") or _storage_concerns(pod, event, nodes)


def _lost_domain(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    """The node that went was in a domain that a hard constraint counts."""
    keys = [s.topology_key for s in pod.shape.spread if s.hard]
    return not keys or any(key in (event.labels or {}) for key in keys)


def _spread_counts(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    """The pod that came or went is one of those that a hard constraint counts."""
    other = event.pod
    if other is None or other.namespace != pod.namespace:
        return False
    constraints = [s for s in pod.shape.spread if s.hard]
    if not constraints:
        return True  # the cluster's defaults
    return any(s.matcher is not None and s.matcher.selector.matches(other.shape.labels) for s in constraints)


def _kept_away(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    """The pod that went kept this one away, or was kept away from by it."""
    other, namespaces = event.pod, nodes.around.namespaces
    if other is None:
        return False
    return any(
        t.matcher.matches(other.namespace, other.shape.labels, namespaces) for t in pod.shape.anti_affinity
    ) or any(t.matcher.matches(pod.namespace, pod.shape.labels, namespaces) for t in other.shape.anti_affinity)


def _company(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    """The pod that came is one that this one wants to be near."""
    other, namespaces = event.pod, nodes.around.namespaces
    return other is not None and any(
        t.matcher.matches(other.namespace, other.shape.labels, namespaces) for t in pod.shape.affinity
    )


def _has_domain(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    """The node has a label that a constraint or term is about."""
    labels, shape = nodes.rows[event.row].labels, pod.shape
    keys = [s.topology_key for s in shape.spread] + [t.topology_key for t in (*shape.affinity, *shape.anti_affinity)]
    return not keys or any(key in labels for key in keys)


def _claim_concerns(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    """Devices came free, or it is a claim of the pod's own."""
    return event.freed or any(event.key == f"{pod.namespace}/{claim}" for claim, _ in pod.claims)


def _provides(pod: PodInfo, event: Event, nodes: NodeColumns) -> bool:
    """A class of devices now has what the pod asks for as an extended resource."""
    return any(r.resource in nodes.around.devices.extended for r in pod.shape.extended)


# For NODE a plugin without a hint is asked itself whether it accepts the node now; so is NodeResourcesFit for pods.
HINTS: Mapping[str, Mapping[str, Hint]] = {
    "NodePorts": {POD_REMOVED: _ports_freed},
    "NodeResourcesFit": {NOMINATION: always, DEVICES: _provides},
    "VolumeRestrictions": {POD_REMOVED: _volumes_freed, STORAGE: _storage_concerns},
    "NodeVolumeLimits": {POD_REMOVED: _detached, STORAGE: _attachable},
    "VolumeBinding": {STORAGE: _storage_concerns},
    "VolumeZone": {STORAGE: _storage_concerns},
    "PodTopologySpread": {
        POD_REMOVED: _spread_counts,
        POD_ASSIGNED: _spread_counts,
        NODE: _has_domain,
        NODE_REMOVED: _lost_domain,
    },
    "InterPodAffinity": {POD_REMOVED: _kept_away, POD_ASSIGNED: _company, NODE: _has_domain, NAMESPACE: always},
    "DynamicResources": {DEVICES: always, CLAIM: _claim_concerns},
}


def concerned(event: Event) -> frozenset[str] | None:
    """Plugins that the event may mean something to; None for all."""
    if event.kind == NODE:
        return None
    found = {name for name, hints in HINTS.items() if event.kind in hints}
    return frozenset(found | {"NodeResourcesFit", EXTENDER} if event.kind == POD_REMOVED else found)


CONCERNED = {kind: concerned(Event(kind)) for kind in KINDS}


def helps(pod: PodInfo, refused_by: frozenset[str], event: Event, nodes: NodeColumns, profile: Profile) -> bool:
    """Whether a pod that these plugins refused everywhere should be tried again after an event."""
    if not refused_by:  # there was no node at all
        return event.kind == NODE
    if EXTENDER in refused_by and event.kind in (NODE, POD_REMOVED):
        return True  # nobody knows what it looked at
    for plugin in profile.filters:
        if plugin.name not in refused_by:
            continue
        hint = HINTS.get(plugin.name, {}).get(event.kind)
        if hint is not None:
            if hint(pod, event, nodes):
                return True
        elif (
            event.row >= 0
            and (event.kind == NODE or (event.kind == POD_REMOVED and plugin.name == "NodeResourcesFit"))
            and (not plugin.applies(pod, nodes) or plugin.accepts(pod, nodes, event.row))
        ):
            return True
    return False
