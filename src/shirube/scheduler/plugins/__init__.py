"""The default plugins in upstream's order: filters (the first that refuses a node names the reason), then scores."""

from __future__ import annotations

from shirube.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from shirube.scheduler.plugins.dynamic_resources import DynamicResources
from shirube.scheduler.plugins.framework import Filter, Plugin, Score
from shirube.scheduler.plugins.image_locality import ImageLocality
from shirube.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from shirube.scheduler.plugins.node_affinity import NodeAffinity
from shirube.scheduler.plugins.node_name import NodeName
from shirube.scheduler.plugins.node_ports import NodePorts
from shirube.scheduler.plugins.node_resources_fit import NodeResourcesFit
from shirube.scheduler.plugins.node_unschedulable import NodeUnschedulable
from shirube.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from shirube.scheduler.plugins.pod_topology_spread import PodTopologySpread
from shirube.scheduler.plugins.taint_toleration import TaintToleration
from shirube.scheduler.plugins.volume_binding import VolumeBinding
from shirube.scheduler.plugins.volume_restrictions import VolumeRestrictions
from shirube.scheduler.plugins.volume_zone import VolumeZone

FILTERS: tuple[type[Filter], ...] = (
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    NodeVolumeLimits,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
    DynamicResources,
)
SCORES: tuple[tuple[type[Score], int], ...] = (
    (TaintToleration, 3),
    (NodeAffinity, 2),
    (NodeResourcesFit, 1),
    (PodTopologySpread, 2),
    (InterPodAffinity, 2),
    (NodeResourcesBalancedAllocation, 1),
    (ImageLocality, 1),
    (DynamicResources, 1),
)
__all__ = ["FILTERS", "SCORES", "Filter", "Plugin", "Score"]
