"""autoscaling/v1: horizontal autoscaling as it was first served; stored as autoscaling/v2."""

from __future__ import annotations

from shirube.api.groups.row import STATUS, GroupTable, Row

TABLE = GroupTable(
    "autoscaling",
    "v1",
    (
        Row(
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
            short="hpa",
            categories="all",
            sub=(STATUS,),
            stored_in="autoscaling/v2",
        ),
    ),
)
