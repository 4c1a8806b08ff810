"""VolumeZone: nodes in the zone and region that a bound volume's labels name."""

from __future__ import annotations

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import Filter, Groups, same
from shirube.scheduler.plugins.volumes import claims_of
from shirube.scheduler.pod import PodInfo

_STABLE = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_KEYS = (*_STABLE, *_STABLE.values())


class VolumeZone(Filter):
    name = "VolumeZone"

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        return bool(self._wanted(pod, nodes))

    def _wanted(self, pod: PodInfo, nodes: NodeColumns) -> list[tuple[str, set[str]]]:
        found = []
        for _, claim, _ in claims_of(pod, nodes.around):
            volume = nodes.around.volumes.get((claim or {}).get("spec", {}).get("volumeName", ""))
            labels = (volume or {}).get("metadata", {}).get("labels") or {}
            found += [(key, set(labels[key].split("__"))) for key in _KEYS if key in labels]
        return found

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits = np.ones(nodes.size, dtype=np.bool_)
        zoned = np.zeros(nodes.size, dtype=np.bool_)
        for key in _KEYS:
            zoned |= nodes.label(key).codes >= 0
        for key, values in self._wanted(pod, nodes):
            here = np.zeros(nodes.size, dtype=np.bool_)
            for name in {key, _STABLE.get(key, key)}:
                column = nodes.label(name)
                codes = [column.code_of[v] for v in values if v in column.code_of]
                here |= np.isin(column.codes, codes)
            fits &= here
        return fits | ~zoned  # a cluster without zones has nothing to compare with

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        return same("node(s) had no available volume zone", rows, resolvable=False)
