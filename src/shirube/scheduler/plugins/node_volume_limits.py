"""NodeVolumeLimits: no more volumes of a CSI driver than its CSINode says that the node can attach."""

from __future__ import annotations

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import Filter, Groups, same
from shirube.scheduler.plugins.volumes import claims_of, class_name
from shirube.scheduler.pod import PodInfo


class NodeVolumeLimits(Filter):
    name = "NodeVolumeLimits"

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        return bool(pod.shape.volumes) and bool(nodes.around.csi_nodes) and bool(_attached(pod, nodes))

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits = np.ones(nodes.size, dtype=np.bool_)
        wanted = _attached(pod, nodes)
        drivers = {driver for driver, _ in wanted}
        for name, csi_node in nodes.around.csi_nodes.items():
            at = nodes.index(name)
            limits = {
                d["name"]: d["allocatable"]["count"]
                for d in csi_node["spec"].get("drivers") or []
                if d["name"] in drivers and (d.get("allocatable") or {}).get("count") is not None
            }
            if at is None or not limits:
                continue
            held = {a for p in nodes.rows[at].pods.values() if p.shape.volumes for a in _attached(p, nodes)}
            after = held | wanted
            fits[at] = all(
                sum(d == driver for d, _ in after) <= limit
                for driver, limit in limits.items()
                if any(d == driver and (d, v) not in held for d, v in wanted)
            )
        return fits

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        return same("node(s) exceed max volume count", rows, resolvable=True)


def _attached(pod: PodInfo, nodes: NodeColumns) -> set[tuple[str, str]]:
    """(driver, volume) of what the pod's volumes attach; claims that wait count by their class' driver."""
    found = set()
    around = nodes.around
    for volume in pod.shape.volumes:
        if driver := (volume.get("csi") or {}).get("driver"):
            found.add((driver, f"{pod.uid}/{volume['name']}"))
    for name, claim, _ in claims_of(pod, around):
        if claim is None:
            continue
        bound = around.volumes.get(claim["spec"].get("volumeName", ""))
        if bound is not None:
            csi = bound["spec"].get("csi")
            if csi:
                found.add((csi["driver"], csi["volumeHandle"]))
        elif kind := around.classes.get(class_name(claim)):
            found.add((kind.get("provisioner", ""), f"{pod.namespace}/{name}"))
    return found
