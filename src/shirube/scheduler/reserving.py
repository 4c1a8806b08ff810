"""What a decision takes besides room on a node: volumes and devices, chosen here and written before the pod is bound.

What `reserve` chooses is assumed at once, so that the next decision sees it. When the pod is bound or cannot be,
`give_back` ends that: by then the API says it, or it is not so.
"""

from __future__ import annotations

from typing import NamedTuple

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile
from shirube.scheduler.plugins.dynamic_resources import DevicePlan, DynamicResources
from shirube.scheduler.plugins.volume_binding import VolumeBinding, VolumePlan
from shirube.scheduler.pod import PodInfo


class Plan(NamedTuple):
    volumes: VolumePlan | None = None
    devices: DevicePlan | None = None


def reserve(pod: PodInfo, nodes: NodeColumns, node: str, profile: Profile, chance: Chance) -> Plan:
    """Raises AllocationError when the devices that a filter saw are not there any more."""
    at = nodes.index(node)
    volumes, devices = None, None
    for plugin in profile.filters:
        if at is None or not plugin.applies(pod, nodes):
            continue
        if isinstance(plugin, VolumeBinding):
            wanted = plugin.plan(pod, nodes, at)
            volumes = wanted if wanted.bind or wanted.provision else None
        elif isinstance(plugin, DynamicResources):
            devices = plugin.plan(pod, nodes, at, chance)
    around = nodes.around
    if volumes is not None:
        around.chosen_volumes.update({volume: f"{pod.namespace}/{claim}" for claim, volume in volumes.bind})
        around.chosen_nodes.update({f"{pod.namespace}/{claim}": node for claim in volumes.provision})
    if devices is not None:
        for key, allocation in devices.assumed(pod):
            around.devices.assume(key, allocation)
    return Plan(volumes, devices)


def give_back(pod: PodInfo, nodes: NodeColumns, plan: Plan) -> bool:
    """What is still only assumed; whether devices came free."""
    around = nodes.around
    if plan.volumes is not None:
        for claim, volume in plan.volumes.bind:
            if around.chosen_volumes.get(volume) == f"{pod.namespace}/{claim}":
                del around.chosen_volumes[volume]
        for claim in plan.volumes.provision:
            around.chosen_nodes.pop(f"{pod.namespace}/{claim}", None)
    if plan.devices is None:
        return False
    freed = [around.devices.forget(key) for key, _ in plan.devices.assumed(pod)]
    return any(freed)
