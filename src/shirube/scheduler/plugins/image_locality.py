"""ImageLocality: nodes that hold the pod's images, weighed by size and by how many nodes hold them.

Images are those of containers and of image volumes.
"""

from __future__ import annotations

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import MAX_SCORE, Score
from shirube.scheduler.pod import PodInfo

_MIB = 1024 * 1024
_LEAST, _MOST_PER_IMAGE = 23 * _MIB, 1000 * _MIB


class ImageLocality(Score):
    name = "ImageLocality"

    def score(self, pod: PodInfo, nodes: NodeColumns, mask: Bools) -> Ints | int | None:
        total: Ints | None = None
        for image in pod.shape.images:
            rows = nodes.image_rows.get(with_tag(image))
            if not rows:
                continue
            if total is None:
                total = np.zeros(nodes.size, dtype=np.int64)
            spread = len(rows) / len(nodes)
            for at, size in rows.items():
                total[at] += int(size * spread)
        if total is None:
            return None
        most = _MOST_PER_IMAGE * len(pod.shape.images)
        return MAX_SCORE * (np.clip(total, _LEAST, most) - _LEAST) // (most - _LEAST)


def with_tag(image: str) -> str:
    """An image without tag or digest means its `latest`."""
    return image if image.rfind(":") > image.rfind("/") else image + ":latest"
