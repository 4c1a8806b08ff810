"""What `shirube doctor` found: the cause, its effect on a cluster and the remedy, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    severity: Literal["error", "warning"]  # errors keep a cluster from working
    cause: str
    effect: str
    remedy: str
