"""What a series of probe results means. Pure.

Follows https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/: a readiness probe
starts out failing, a liveness probe succeeding, a startup probe undecided; `failureThreshold` failures or
`successThreshold` successes in a row turn it over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STARTUP, READINESS, LIVENESS = "startup", "readiness", "liveness"
KINDS = (STARTUP, READINESS, LIVENESS)

# A container that is not up yet is looked at more often than its period says, so that it serves sooner; what
# these extra looks find counts only when it is good. Seconds until the first one; then doubling.
FIRST_EXTRA_LOOK = 0.1


@dataclass(frozen=True, slots=True)
class Timing:
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> Timing:
        return cls(
            float(probe.get("initialDelaySeconds") or 0),
            float(probe.get("periodSeconds") or 10),
            float(probe.get("timeoutSeconds") or 1),
            int(probe.get("successThreshold") or 1),
            int(probe.get("failureThreshold") or 3),
        )


@dataclass(slots=True)
class Verdict:
    """The standing of one probe of one container."""

    kind: str
    timing: Timing
    passed: bool = field(init=False)
    _last: bool | None = None
    _run: int = 0
    _extra: float = FIRST_EXTRA_LOOK

    def __post_init__(self) -> None:
        self.passed = self.kind == LIVENESS

    def observe(self, success: bool, *, extra: bool = False) -> bool:
        """Count a result; whether the verdict is (again) reached by it. A failing extra look is not counted."""
        if extra and not success:
            return False
        self._run = self._run + 1 if success == self._last else 1
        self._last = success
        needed = self.timing.success_threshold if success else self.timing.failure_threshold
        if self._run < needed:
            return False
        self.passed = success
        return True

    def next_extra_look(self, until_next: float) -> float | None:
        """Seconds to an extra look, or None when the next regular one comes first or none is due."""
        if self.kind == LIVENESS or self.passed or self._last:
            return None
        wait, self._extra = self._extra, self._extra * 2
        return wait if wait < until_next else None
