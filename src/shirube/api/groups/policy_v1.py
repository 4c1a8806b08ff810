"""policy/v1: disruption budgets."""

from __future__ import annotations

from shirube.api.groups.row import STATUS, GroupTable, Row

TABLE = GroupTable("policy", "v1", (Row("poddisruptionbudgets", "PodDisruptionBudget", short="pdb", sub=(STATUS,)),))
