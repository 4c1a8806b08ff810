"""PodDisruptionBudgets: how many pods must stay when others are evicted.

Follows policy's ``ValidatePodDisruptionBudgetSpec``.
"""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import invalid, not_supported
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.numbers import (
    validate_at_most_all,
    validate_int_or_percent,
    validate_not_negative,
)

_POLICIES = ["AlwaysAllow", "IfHealthyBudget"]
_COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


class PodDisruptionBudgetStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {})

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate(obj["spec"])

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        validate_not_negative(causes, obj.get("status") or {}, _COUNTS, "status")
        return causes


def _validate(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        causes.append(invalid("spec", dict(spec), "minAvailable and maxUnavailable cannot be both set"))
    for field, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            validate_int_or_percent(causes, value, f"spec.{field}")
            validate_at_most_all(causes, value, f"spec.{field}")
    causes.extend(validate_label_selector(spec.get("selector"), "spec.selector"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _POLICIES:
        causes.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, _POLICIES))
    return causes
