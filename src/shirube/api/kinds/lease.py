"""Leases: who holds a lock, or is alive.

Follows coordination's ``ValidateLease``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import invalid, not_supported, required
from shirube.api.validation.numbers import NOT_NEGATIVE

_STRATEGIES = ["OldestEmulationVersion"]


class LeaseStrategy(Strategy):
    allow_unconditional_update = False
    allow_create_on_update = True

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate(obj["spec"])


def _validate(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        causes.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    transitions = spec.get("leaseTransitions")
    if transitions is not None and transitions < 0:
        causes.append(invalid("spec.leaseTransitions", transitions, NOT_NEGATIVE))
    strategy, preferred = spec.get("strategy"), spec.get("preferredHolder")
    if strategy is not None:
        # upstream names the field once more below itself
        at = "spec.strategy.strategy"
        if "/" in strategy:
            causes.extend(invalid(at, strategy, m) for m in names.is_qualified_name(strategy))
        elif strategy not in _STRATEGIES:
            causes.append(not_supported(at, strategy, _STRATEGIES))
    if preferred and not strategy:
        causes.append(required("spec.strategy", "must be specified when `preferredHolder` is specified"))
    return causes
