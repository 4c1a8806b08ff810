"""events.k8s.io/v1: events in their newer shape; stored as core v1 events."""

from __future__ import annotations

from shirube.api.groups.row import GroupTable, Row

TABLE = GroupTable("events.k8s.io", "v1", (Row("events", "Event", short="ev", stored_in="v1"),))
