"""batch/v1: work that ends."""

from __future__ import annotations

from shirube.api.groups.row import STATUS, GroupTable, Row

TABLE = GroupTable(
    "batch",
    "v1",
    (
        Row("cronjobs", "CronJob", short="cj", categories="all", sub=(STATUS,)),
        Row("jobs", "Job", categories="all", sub=(STATUS,)),
    ),
)
