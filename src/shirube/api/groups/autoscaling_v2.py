"""autoscaling/v2: horizontal autoscaling."""

from __future__ import annotations

from shirube.api.groups.row import STATUS, GroupTable, Row

TABLE = GroupTable(
    "autoscaling",
    "v2",
    (
        Row(
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
            short="hpa",
            categories="all",
            sub=(STATUS,),
        ),
    ),
)
