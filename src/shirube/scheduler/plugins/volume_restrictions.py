"""VolumeRestrictions: claims for one pod only (ReadWriteOncePod, KEP-2485), and disks for one pod of a node."""

from __future__ import annotations

from typing import Any

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import Filter, Groups, first_of
from shirube.scheduler.plugins.volumes import claims_of, modes
from shirube.scheduler.pod import PodInfo

Object = dict[str, Any]
_DISKS = {
    "gcePersistentDisk": ("pdName",),
    "awsElasticBlockStore": ("volumeID",),
    "iscsi": ("iqn",),
    "rbd": ("pool", "image"),
}


class VolumeRestrictions(Filter):
    name = "VolumeRestrictions"

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        return bool(pod.shape.volumes) and (bool(_disks(pod)) or bool(_exclusive(pod, nodes)))

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        return self._disks_free(pod, nodes) & self._claims_free(pod, nodes)

    def _claims_free(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        taken = any(nodes.counts.claim_users(pod.namespace, name) for name in _exclusive(pod, nodes))
        return np.full(nodes.size, not taken, dtype=np.bool_)

    def _disks_free(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits = np.ones(nodes.size, dtype=np.bool_)
        wanted = _disks(pod)
        if wanted:
            for at in nodes.indexes():
                held = [d for other in nodes.rows[at].pods.values() if other.shape.volumes for d in _disks(other)]
                fits[at] = not any(name == n and not (ro and r) for name, ro in wanted for n, r in held)
        return fits

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        everywhere = np.ones(nodes.size, dtype=np.bool_)
        taken = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
        free = self._disks_free(pod, nodes)
        return first_of(rows, [("node(s) had no available disk", True, ~free), (taken, True, everywhere)])


def _exclusive(pod: PodInfo, nodes: NodeColumns) -> list[str]:
    return [n for n, c, _ in claims_of(pod, nodes.around) if c is not None and "ReadWriteOncePod" in modes(c)]


def share(one: PodInfo, other: PodInfo) -> bool:
    """Whether two pods have a disk or a claim in common."""
    claims = {(one.namespace, v["claim"]) for v in one.shape.volumes if "claim" in v}
    disks = {name for name, _ in _disks(one)}
    return any((other.namespace, v.get("claim")) in claims for v in other.shape.volumes) or any(
        name in disks for name, _ in _disks(other)
    )


def _disks(pod: PodInfo) -> list[tuple[tuple[str, ...], bool]]:
    """(what names the disk, whether it is mounted read-only)"""
    return [
        ((kind, *(str(volume[kind].get(k, "")) for k in keys)), bool(volume[kind].get("readOnly")))
        for volume in pod.shape.volumes
        for kind, keys in _DISKS.items()
        if kind in volume
    ]
