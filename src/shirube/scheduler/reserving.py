"""What a decision takes besides room on a node: volumes and devices, chosen here and written before the pod is bound.

`reserve` is pure but for the inventory of devices, where the choice is assumed at once; whoever cannot bind the pod
after all calls `give_back`.
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
    if devices is not None:
        for key, allocation in devices.assumed(pod):
            nodes.around.devices.assume(key, allocation)
    return Plan(volumes, devices)


def give_back(pod: PodInfo, nodes: NodeColumns, plan: Plan) -> bool:
    """What was only assumed; whether devices came free."""
    if plan.devices is None:
        return False
    freed = [nodes.around.devices.forget(key) for key, _ in plan.devices.assumed(pod)]
    return any(freed)
